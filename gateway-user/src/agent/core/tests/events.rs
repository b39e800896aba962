//! Events of IKE become calls of the datapath; events of the datapath become calls of IKE or log lines.

use super::*;
use crate::datapath::EngineEvent;

async fn bench_with_key() -> (tempfile::TempDir, Bench) {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    bench.set_key("VNet2", "correct horse").await.unwrap();
    bench.sent();
    bench.calls();
    (dir, bench)
}

fn apply(bench: &mut Bench, event: Event) {
    bench.core.apply_event(bench.now, event);
}

#[tokio::test]
async fn sa_events_reach_the_datapath_as_they_are() {
    let (_dir, mut bench) = bench_with_key().await;
    let peer = PeerId(1);
    apply(&mut bench, Event::InstallInbound { peer, sa: esp_sa(0xc0ff_ee01) });
    apply(&mut bench, Event::InstallOutbound { peer, sa: esp_sa(2) });
    apply(&mut bench, Event::RemoveOutbound { peer, spi: 2 });
    apply(&mut bench, Event::RemoveInbound { peer, spi: 0xc0ff_ee01 });
    assert_eq!(
        bench.calls(),
        [
            "install_inbound 1 c0ffee01",
            "install_outbound 1 00000002",
            "remove_outbound 1 00000002",
            "remove_inbound 1 c0ffee01",
        ]
    );
    let sa = &bench.core.dataplane.installed[0];
    assert_eq!(
        (sa.aead, sa.key.as_slice(), sa.salt, sa.esn),
        (Aead::ChaCha20Poly1305, &[7; 32][..], [1, 2, 3, 4], true)
    );
    assert_eq!((sa.local, sa.remote), ("192.0.2.1:4500".parse().unwrap(), "192.0.2.2:4500".parse().unwrap()));
    assert!(!sa.udp_encapsulation && sa.soft_bytes < sa.hard_bytes && sa.hard_bytes == 100_000_000_000);
}

#[tokio::test]
async fn source_ports_spread_only_where_no_nat_depends_on_them() {
    let (_dir, mut bench) = bench_with_key().await;
    let in_udp = || EspSa { udp_encapsulation: true, ..esp_sa(5) };
    let mut spreads = |wanted, sa| {
        bench.core.settings.peering.udp_port_entropy = wanted;
        apply(&mut bench, Event::InstallOutbound { peer: PeerId(1), sa });
        bench.core.dataplane.installed.pop().unwrap().udp_port_entropy
    };
    assert!(spreads(true, in_udp()));
    assert!(!spreads(false, in_udp()), "nobody asked for it");
    assert!(!spreads(true, esp_sa(5)), "there are no ports");
    assert!(!spreads(true, EspSa { behind_nat: true, ..in_udp() }), "the NAT in front of us maps one port");
    let remote = "192.0.2.2:1024".parse().unwrap();
    assert!(!spreads(true, EspSa { remote, ..in_udp() }), "a NAT in front of the peer gave it another port");
}

#[tokio::test]
async fn algorithms_keep_their_names() {
    let (_dir, mut bench) = bench_with_key().await;
    for (theirs, ours, len) in [
        (EspAead::Aes128Gcm16, Aead::Aes128Gcm, 16),
        (EspAead::Aes256Gcm16, Aead::Aes256Gcm, 32),
        (EspAead::ChaCha20Poly1305, Aead::ChaCha20Poly1305, 32),
        (EspAead::Aes128Gcm16Iiv, Aead::Aes128Gcm, 16),
        (EspAead::Aes256Gcm16Iiv, Aead::Aes256Gcm, 32),
        (EspAead::ChaCha20Poly1305Iiv, Aead::ChaCha20Poly1305, 32),
    ] {
        let sa = EspSa { aead: theirs, key: vec![1; len].into(), ..esp_sa(5) };
        apply(&mut bench, Event::InstallInbound { peer: PeerId(1), sa });
        let installed = bench.core.dataplane.installed.pop().unwrap();
        assert_eq!((installed.aead, installed.implicit_iv), (ours, theirs.implicit_iv()));
    }
}

#[tokio::test]
async fn state_changes_are_events_with_numbers() {
    let (_dir, mut bench) = bench_with_key().await;
    let before = bench.events().len();
    let change =
        |state, reason: &str| Event::StateChanged { peer: PeerId(1), state, reason: reason.to_owned() };
    apply(&mut bench, change(PeerState::Connected, "established"));
    apply(&mut bench, change(PeerState::Connected, "established"));
    apply(&mut bench, change(PeerState::NotConnected, "the peer deleted the SA"));
    let events = bench.events().split_off(before);
    assert_eq!(
        events,
        [
            (202, "connection VNet1-VNet2 is Connected: established".to_owned()),
            (200, "connection VNet1-VNet2 is NotConnected: the peer deleted the SA".to_owned()),
        ]
    );
}

#[tokio::test]
async fn what_the_datapath_refuses_takes_the_connection_down_and_is_tried_again() {
    let (_dir, mut bench) = bench_with_key().await;
    bench.core.dataplane.refuse = Some("no SA slot is free");
    apply(&mut bench, Event::InstallInbound { peer: PeerId(1), sa: esp_sa(1) });
    let connected =
        Event::StateChanged { peer: PeerId(1), state: PeerState::Connected, reason: String::new() };
    apply(&mut bench, connected);
    bench.core.drain(bench.now);
    let status = bench.connection("VNet2").await;
    assert_eq!(
        status.last_error.as_deref(),
        Some("the datapath cannot install an inbound SA: no SA slot is free")
    );
    assert!(bench.events().iter().any(|(number, _)| *number == 220));
    assert_eq!(status.state, ConnectionState::NotConnected);

    let retry = bench.now + DATAPATH_RETRY;
    assert!(bench.core.next_timeout().is_some_and(|at| at <= retry));
    bench.sent();
    bench.now = retry;
    bench.core.handle_timeout(retry);
    assert!(!bench.sent().is_empty(), "IKE tries again");
}

#[tokio::test]
async fn an_sa_between_ipv6_addresses_reaches_the_datapath_as_it_is() {
    let (_dir, mut bench) = bench_with_key().await;
    let (local, remote) = ("[2001:db8::2]:4500".parse().unwrap(), "[2001:db8::1]:4500".parse().unwrap());
    apply(&mut bench, Event::InstallInbound { peer: PeerId(1), sa: EspSa { local, remote, ..esp_sa(1) } });
    let installed = &bench.core.dataplane.installed[0];
    assert_eq!((installed.local, installed.remote), (local, remote));
}

#[tokio::test]
async fn reports_on_unknown_tunnels_do_no_harm() {
    let (_dir, mut bench) = bench_with_key().await;
    for tunnel in [None, Some(TunnelId(9))] {
        let report = DatapathEvent { kind: EventKind::HardLifetime, tunnel, spi: Some(1), source: None };
        bench.core.handle_datapath_event(bench.now, report);
    }
    assert!(bench.calls().is_empty() && bench.sent().is_empty());
    assert_eq!(bench.connection("VNet2").await.state, ConnectionState::Connecting);
}

#[tokio::test]
async fn the_error_of_a_refused_sa_goes_with_the_next_attempt() {
    let (_dir, mut bench) = bench_with_key().await;
    let connected =
        || Event::StateChanged { peer: PeerId(1), state: PeerState::Connected, reason: String::new() };
    let refuse = |bench: &mut Bench| {
        bench.core.dataplane.refuse = Some("no SA slot is free");
        apply(bench, Event::InstallInbound { peer: PeerId(1), sa: esp_sa(1) });
        bench.core.drain(bench.now);
        bench.core.dataplane.refuse = None;
        bench.sent();
    };
    // The peer's own attempt succeeds first, then the retry is due.
    refuse(&mut bench);
    apply(&mut bench, connected());
    bench.retry().await;
    assert_eq!(bench.connection("VNet2").await.last_error, None);

    // A new key is an attempt at once; one that changes nothing for IKE too.
    for key in ["another horse", "another horse"] {
        refuse(&mut bench);
        bench.set_key("VNet2", key).await.unwrap();
        assert_eq!(bench.connection("VNet2").await.last_error, None);
        assert!(!bench.sent().is_empty(), "IKE tries again");
    }
}

/// Collects what is logged.
#[derive(Clone, Default)]
struct LogLines(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_lost_connection_is_a_warning_and_one_that_was_ended_is_not() {
    let (_dir, mut bench) = bench_with_key().await;
    let lines = LogLines::default();
    let writer = lines.clone();
    let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _log = tracing::subscriber::set_default(log);
    let change = |state, reason: &str| Event::StateChanged { peer: PeerId(1), state, reason: reason.into() };
    apply(&mut bench, change(PeerState::Connected, "first"));
    apply(&mut bench, change(PeerState::Connecting, "lost"));
    apply(&mut bench, change(PeerState::Connected, "second"));
    bench.core.held.insert("VNet2".to_owned());
    apply(&mut bench, change(PeerState::NotConnected, "ended"));
    bench.core.dataplane.refuse = Some("no slot");
    apply(&mut bench, Event::InstallInbound { peer: PeerId(1), sa: esp_sa(1) });

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for (reason, level) in
        [("first", "INFO"), ("lost", "WARN"), ("second", "INFO"), ("ended", "INFO"), ("no slot", "WARN")]
    {
        let line =
            text.lines().find(|line| line.contains(reason)).unwrap_or_else(|| panic!("{reason}: {text}"));
        assert!(line.contains(level), "{line}");
    }
}

#[tokio::test]
async fn a_peer_whose_esp_has_no_sa_here_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    bench.set_key("VNet2", "correct horse").await.unwrap();
    bench.sent();
    for (source, told) in [("192.0.2.99", false), ("192.0.2.2", true)] {
        let (kind, spi) = (EventKind::UnknownSpi, Some(0x1234_5678));
        let source = Some(source.parse().unwrap());
        bench.core.handle_datapath_event(bench.now, DatapathEvent { kind, tunnel: None, spi, source });
        let sent = bench.sent();
        assert_eq!(!sent.is_empty(), told);
        assert!(sent.iter().all(|sent| sent.remote == "192.0.2.2:500".parse().unwrap()));
        assert!(sent.iter().all(|sent| sent.payload.ends_with(&0x1234_5678_u32.to_be_bytes())));
    }
}

#[tokio::test]
async fn changes_of_the_engine_become_events() {
    let (_dir, mut bench) = bench_with_key().await;
    let before = bench.events().len();
    let reason = "signal: 9".to_owned();
    bench.core.handle_engine_event(EngineEvent::WorkersRun { count: 2 });
    bench.core.handle_engine_event(EngineEvent::WorkerEnded { number: 1, reason: reason.clone() });
    bench.core.handle_engine_event(EngineEvent::WorkerRuns { number: 1, pid: 77 });
    bench.core.handle_engine_event(EngineEvent::FellBack { reason });
    let events = bench.events().split_off(before);
    let numbers: Vec<_> = events.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [230, 232, 233, 231]);
    assert!(events[1].1.contains("worker 1") && events[1].1.contains("signal: 9"), "{events:?}");
    assert!(events[2].1.contains("process 77"), "{events:?}");
}
