//! Two cores that negotiate with each other.

use std::time::Duration;

use super::*;
use crate::api::command::Rekey;

/// VNet1 and VNet2, each with the other's key.
async fn pair(directory: &Path, keys: [&str; 2]) -> [Bench; 2] {
    pair_of(directory, keys, [1; 2]).await
}

/// The same, started with `--child-sas` so.
pub(super) async fn pair_of(directory: &Path, keys: [&str; 2], child_sas: [u16; 2]) -> [Bench; 2] {
    let xml = netcfg_xml(&["192.0.2.2"]);
    let prepare = |index: usize| {
        let mut settings = settings(["VNet1", "VNet2"][index]);
        settings.peering.child_sas = child_sas[index];
        Bench::prepare_with(directory, settings, &xml)
    };
    let [mut one, mut two] = [0, 1].map(prepare);
    for bench in [&mut one, &mut two] {
        bench.core.start(bench.now).await.unwrap();
    }
    // Without a peer that answers, VNet1 would wait for its first retransmission.
    two.set_key("VNet1", keys[1]).await.unwrap();
    two.sent();
    one.set_key("VNet2", keys[0]).await.unwrap();
    [one, two]
}

/// Delivers datagrams until none is under way.
pub(super) fn settle(benches: &mut [Bench; 2]) {
    loop {
        let mut delivered = false;
        for index in 0..2 {
            for transmit in benches[index].sent() {
                delivered = true;
                let other = &mut benches[1 - index];
                other.core.handle_datagram(other.now, transmit.remote, transmit.local, &transmit.payload);
            }
        }
        if !delivered {
            return;
        }
    }
}

#[tokio::test]
async fn two_gateways_connect_rekey_and_part() {
    let dir = tempfile::tempdir().unwrap();
    let mut benches = pair(dir.path(), ["correct horse", "correct horse"]).await;
    settle(&mut benches);
    let [one, two] = &mut benches;
    let (here, there) = (one.connection("VNet2").await, two.connection("VNet1").await);
    assert_eq!((here.state, there.state), (ConnectionState::Connected, ConnectionState::Connected));
    assert_eq!(here.inbound_spi, there.outbound_spi);
    assert_eq!(here.outbound_spi, there.inbound_spi);
    assert_eq!(here.esp_algorithm.as_deref(), Some("chacha20poly1305-esn"));
    assert!(here.ike_proposal.as_deref().is_some_and(|name| name.starts_with("aes256gcm16-prfsha384-")));
    let (sent, received) = (&one.core.dataplane.installed, &two.core.dataplane.installed);
    let key = |installed: &[SaConfig], spi: &Option<String>| {
        let sa = installed.iter().find(|sa| Some(format!("{:08x}", sa.spi)) == *spi).expect("installed");
        (sa.key.clone(), sa.salt)
    };
    assert_eq!(key(sent, &here.outbound_spi), key(received, &here.outbound_spi));

    let tunnel = Some(TunnelId(1));
    let soft = DatapathEvent { kind: EventKind::SoftLifetime, tunnel, spi: None, source: None };
    one.core.handle_datapath_event(one.now, soft);
    settle(&mut benches);
    let [one, _] = &mut benches;
    let rekeyed = one.connection("VNet2").await;
    assert_eq!((rekeyed.state, rekeyed.rekeys), (ConnectionState::Connected, 1));
    assert_ne!(rekeyed.outbound_spi, here.outbound_spi);

    let [one, _] = &mut benches;
    let spi = u32::from_str_radix(&rekeyed.outbound_spi.expect("connected"), 16).unwrap();
    let moved = Event::OutboundMoved { peer: PeerId(1), spi, remote: "192.0.2.2:1024".parse().unwrap() };
    one.core.apply_event(one.now, moved);
    one.core.drain(one.now);
    settle(&mut benches);
    let [one, _] = &mut benches;
    assert_eq!(one.connection("VNet2").await.rekeys, 2, "the successor has the new address");

    one.core.begin_stop(one.now);
    settle(&mut benches);
    let [one, two] = &mut benches;
    let farewell_ends = one.now + Duration::from_secs(2);
    assert!(one.core.next_timeout().is_none_or(|at| at > farewell_ends), "the farewell is confirmed");
    assert_ne!(two.connection("VNet1").await.state, ConnectionState::Connected);
    let installs = |call: &&String| call.starts_with("install_inbound");
    let calls = one.calls();
    assert_eq!(calls.iter().filter(installs).count(), 3, "{calls:?}");
}

#[tokio::test]
async fn lifetimes_are_followed_by_a_rekey_and_other_reports_by_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut benches = pair(dir.path(), ["correct horse", "correct horse"]).await;
    settle(&mut benches);
    let mut rekeys = 0;
    for kind in [
        EventKind::SoftLifetime,
        EventKind::NoOutboundSa,
        EventKind::HardLifetime,
        EventKind::UnknownSpi,
        EventKind::AuthenticationFailed,
    ] {
        let status = benches[0].connection("VNet2").await;
        let spi = if kind == EventKind::SoftLifetime { status.outbound_spi } else { status.inbound_spi };
        let spi = spi.map(|spi| u32::from_str_radix(&spi, 16).unwrap());
        let report = DatapathEvent { kind, tunnel: Some(TunnelId(1)), spi, source: None };
        benches[0].core.handle_datapath_event(benches[0].now, report);
        settle(&mut benches);
        rekeys += u64::from(matches!(kind, EventKind::SoftLifetime | EventKind::HardLifetime));
        let status = benches[0].connection("VNet2").await;
        assert_eq!((status.state, status.rekeys), (ConnectionState::Connected, rekeys), "{kind:?}");
        // An SA that has been replaced needs no other successor.
        let late = DatapathEvent { spi: Some(1), ..report };
        benches[0].core.handle_datapath_event(benches[0].now, late);
        settle(&mut benches);
        assert_eq!(benches[0].connection("VNet2").await.rekeys, rekeys, "{kind:?}");
    }
}

#[tokio::test]
async fn different_keys_do_not_connect_and_say_so() {
    let dir = tempfile::tempdir().unwrap();
    let mut benches = pair(dir.path(), ["correct horse", "wrong horse"]).await;
    settle(&mut benches);
    let [one, _] = &mut benches;
    one.now += Duration::from_secs(1);
    let status = one.connection("VNet2").await;
    assert_ne!(status.state, ConnectionState::Connected);
    let error = status.last_error.expect("a reason");
    assert!(error.to_lowercase().contains("authentication"), "{error}");
    assert!(one.core.dataplane.installed.is_empty());
}

#[tokio::test]
async fn either_sa_is_rekeyed_by_command() {
    let dir = tempfile::tempdir().unwrap();
    let mut benches = pair(dir.path(), ["correct horse", "correct horse"]).await;
    let rekey = |what| move |reply| Command::Rekey("VNet2".to_owned(), what, reply);
    let error = benches[0].ask(rekey(Rekey::Ike)).await.unwrap_err();
    assert!(matches!(&error, Refusal::Conflict(message) if message.contains("not connected")), "{error:?}");
    settle(&mut benches);
    let before = benches[0].connection("VNet2").await;
    assert_eq!((before.ike_rekeys, before.ike_established_seconds), (Some(0), Some(0)));
    assert!(before.ike_rekey_in_seconds.is_some_and(|left| (20_000..=28_800).contains(&left)), "{before:?}");

    benches[0].ask(rekey(Rekey::Ike)).await.unwrap();
    settle(&mut benches);
    let after = benches[0].connection("VNet2").await;
    assert_eq!((after.state, after.ike_rekeys, after.rekeys), (ConnectionState::Connected, Some(1), 0));
    assert_ne!(after.ike_spis, before.ike_spis);
    assert_eq!(after.outbound_spi, before.outbound_spi, "the Child SA goes on");

    benches[0].ask(rekey(Rekey::Child)).await.unwrap();
    settle(&mut benches);
    let last = benches[0].connection("VNet2").await;
    assert_eq!((last.ike_rekeys, last.rekeys), (Some(1), 1));
    assert_eq!(last.ike_spis, after.ike_spis);
}
