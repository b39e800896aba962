//! Keys, connect and disconnect, status.

use gateway_common::{BudgetCounters, TunnelCounters};

use super::*;
use crate::datapath::{BandwidthLimit, BudgetStats, EngineStats, LaneStats, TunnelStats, WorkerStats};
use crate::model::{Engine, WorkerState};
use crate::worker::CopyMode;

#[tokio::test]
async fn a_connection_waits_for_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    assert_eq!(bench.calls(), ["set_tunnel 1 [10.2.0.0/16]", "settle"]);
    let before = bench.connection("VNet2").await;
    assert_eq!(before.state, ConnectionState::NotConnected);
    assert_eq!(
        before.last_error.as_deref(),
        Some("no shared key is set: run `vgw connection set-key VNet1 VNet2`")
    );
    assert!(bench.core.endpoint.status(PeerId(1)).is_none(), "IKE does not know the peer");

    bench.set_key("VNet2", "correct horse").await.unwrap();
    assert!(bench.core.endpoint.status(PeerId(1)).is_some(), "IKE knows the peer");
    let first = &bench.sent()[0];
    assert_eq!(first.remote, "192.0.2.2:500".parse().unwrap());
    let after = bench.connection("VNet2").await;
    assert_eq!((after.state, after.last_error), (ConnectionState::Connecting, None));
}

#[tokio::test]
async fn keys_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let xml = netcfg_xml(&["192.0.2.2"]);
    let mut bench = Bench::start(dir.path(), "VNet1", &xml).await;
    bench.set_key("VNet2", "correct horse").await.unwrap();
    drop(bench);
    let mut bench = Bench::start(dir.path(), "VNet1", &xml).await;
    let key = bench.ask(|reply| Command::GetKey("VNet2".to_owned(), reply)).await.unwrap();
    assert_eq!(key.expose(), "correct horse");
    assert!(bench.core.endpoint.status(PeerId(1)).is_some());
}

#[tokio::test]
async fn reset_key_sets_what_it_returns() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    let site = || "VNet2".to_owned();
    let missing = bench.ask(|reply| Command::GetKey(site(), reply)).await.unwrap_err();
    assert!(matches!(missing, Refusal::NotFound(message) if message.contains("no shared key is set")));
    let made = bench.change(|reply| Change::ResetKey(site(), reply)).await.unwrap();
    let kept = bench.ask(|reply| Command::GetKey(site(), reply)).await.unwrap();
    assert_eq!(made.expose(), kept.expose());
    let events = bench.events();
    assert!(events.contains(&(210, "shared key of connection VNet1-VNet2 changed".to_owned())), "{events:?}");
    assert!(events.iter().all(|(_, message)| !message.contains(made.expose())));
}

#[tokio::test]
async fn unknown_sites_are_refused_with_the_known_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2", "192.0.2.3"])).await;
    let error = bench.set_key("VNet9", "key").await.unwrap_err();
    let expected = "VNet VNet1 has no connection to VNet9; its connections lead to VNet2, VNet3";
    assert_eq!(error, Refusal::NotFound(expected.to_owned()));
}

#[tokio::test]
async fn a_key_that_cannot_be_stored_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    std::fs::create_dir(dir.path().join("VNet1/keys.new")).unwrap();
    let error = bench.set_key("VNet2", "correct horse").await.unwrap_err();
    assert!(matches!(&error, Refusal::Failed(message) if message.contains("keys.json")), "{error:?}");
    assert!(!error.to_string().contains("horse"));
    assert!(bench.core.endpoint.status(PeerId(1)).is_none());
}

#[tokio::test]
async fn connect_says_what_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["0.0.0.0"])).await;
    let error = bench.change(|reply| Change::Connect("VNet2".to_owned(), reply)).await.unwrap_err();
    let message = error.to_string();
    assert!(message.contains("gateway address of site VNet2 is a placeholder"), "{message}");
    assert!(message.contains("no shared key is set"), "{message}");
    bench.set_key("VNet2", "correct horse").await.unwrap();
    let status = bench.connection("VNet2").await;
    assert_eq!(status.last_error.as_deref(), Some("gateway address of site VNet2 is a placeholder"));
    assert_eq!((status.state, status.peer), (ConnectionState::NotConnected, None));
}

#[tokio::test]
async fn a_disconnected_connection_stays_down_when_its_key_changes() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    bench.set_key("VNet2", "correct horse").await.unwrap();
    bench.change(|reply| Change::Disconnect("VNet2".to_owned(), reply)).await.unwrap();
    assert_eq!(bench.connection("VNet2").await.state, ConnectionState::NotConnected);
    bench.sent();
    bench.set_key("VNet2", "another horse").await.unwrap();
    assert_eq!(bench.connection("VNet2").await.state, ConnectionState::NotConnected);
    assert!(bench.sent().is_empty(), "nothing is tried");
    bench.change(|reply| Change::Connect("VNet2".to_owned(), reply)).await.unwrap();
    assert_eq!(bench.connection("VNet2").await.state, ConnectionState::Connecting);
    assert!(!bench.sent().is_empty());
}

#[tokio::test]
async fn a_disconnected_connection_stays_down_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let xml = netcfg_xml(&["192.0.2.2", "192.0.2.3"]);
    let mut bench = Bench::start(dir.path(), "VNet1", &xml).await;
    for site in ["VNet2", "VNet3"] {
        bench.set_key(site, "correct horse").await.unwrap();
        bench.change(|reply| Change::Disconnect(site.to_owned(), reply)).await.unwrap();
    }
    // VNet3 goes and comes back: a new connection.
    bench.apply(&netcfg_xml(&["192.0.2.2"])).await.unwrap();
    bench.apply(&xml).await.unwrap();
    drop(bench);

    let mut bench = Bench::start(dir.path(), "VNet1", &xml).await;
    assert_eq!(bench.connection("VNet2").await.state, ConnectionState::NotConnected);
    assert_eq!(bench.connection("VNet3").await.state, ConnectionState::Connecting);
    let destinations: Vec<_> = bench.sent().iter().map(|sent| sent.remote.ip()).collect();
    assert!(!destinations.contains(&"192.0.2.2".parse().unwrap()), "{destinations:?}");
    bench.change(|reply| Change::Connect("VNet2".to_owned(), reply)).await.unwrap();
    drop(bench);

    let mut bench = Bench::start(dir.path(), "VNet1", &xml).await;
    assert_eq!(bench.connection("VNet2").await.state, ConnectionState::Connecting);
}

#[tokio::test]
async fn what_cannot_be_remembered_is_not_done() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    bench.set_key("VNet2", "correct horse").await.unwrap();
    std::fs::create_dir(dir.path().join("VNet1/held.new")).unwrap();
    let error = bench.change(|reply| Change::Disconnect("VNet2".to_owned(), reply)).await.unwrap_err();
    assert!(matches!(&error, Refusal::Failed(message) if message.contains("held.json")), "{error:?}");
    assert_eq!(bench.connection("VNet2").await.state, ConnectionState::Connecting);
}

#[tokio::test]
async fn a_refused_connect_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    bench.change(|reply| Change::Disconnect("VNet2".to_owned(), reply)).await.unwrap();
    let error = bench.change(|reply| Change::Connect("VNet2".to_owned(), reply)).await.unwrap_err();
    assert!(matches!(&error, Refusal::Conflict(message) if message.contains("no shared key")), "{error:?}");
    bench.set_key("VNet2", "correct horse").await.unwrap();
    assert_eq!(bench.connection("VNet2").await.state, ConnectionState::NotConnected, "still taken down");
}

#[tokio::test]
async fn the_own_address_is_no_peer() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.1"])).await;
    bench.set_key("VNet2", "correct horse").await.unwrap();
    let error = bench.connection("VNet2").await.last_error;
    assert_eq!(error.as_deref(), Some("gateway address 192.0.2.1 of site VNet2 is this gateway's own"));
    assert!(bench.core.endpoint.status(PeerId(1)).is_none());
}

#[tokio::test]
async fn status_has_the_promised_shape() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    bench.core.dataplane.stats = DatapathStatsOf { counters: counters(), rate: 100_000_000 }.into();
    let json = serde_json::to_value(bench.status().await).unwrap();
    let esp = concat!(
        "chacha20poly1305-aes256gcm16-aes128gcm16-chacha20poly1305iiv-aes256gcm16iiv-aes128gcm16iiv-",
        "x25519-ecp384-ecp256-modp2048-esn-noesn"
    );
    let engine = serde_json::json!({
        "wanted": "auto", "running": "xsk", "reason": null,
        "workers": [{
            "number": 0, "pid": 77, "cpu": 1, "cpu_time_ns": 88, "state": "running", "restarts": 0, "last_error": null,
            "lanes": [{ "interface": "wan0", "queue": 0, "mode": "zero-copy", "full": 2, "stalled": 3, "handed_over": 40, "exchanged": 30 }]
        }]
    });
    let parameters = serde_json::json!({
        "mode": { "value": "default", "source": "profile" },
        "auth": { "value": "psk", "source": "profile" },
        "local_id": { "value": "192.0.2.1", "source": "profile" },
        "remote_id": { "value": "any", "source": "profile" },
        "ike_proposals": {
            "value": ["aes256gcm16-aes128gcm16-prfsha384-prfsha256-prfsha512-x25519-ecp384-ecp256-modp2048"],
            "source": "profile"
        },
        "esp_proposals": { "value": [esp], "source": "profile" },
        "traffic_selectors": { "value": "any", "source": "profile" },
        "ike_lifetime": { "value": 28_800, "source": "profile" },
        "child_lifetime": { "value": 3600, "source": "profile" },
        "dpd": { "value": 45, "source": "profile" },
        "child_sas": { "value": 1, "source": "profile" },
        "replay_window": { "value": 8160, "source": "profile" },
        "dscp": { "value": "copy", "source": "profile" },
        "df": { "value": "set", "source": "profile" },
        "weight": { "value": 1, "source": "profile" },
        "guarantee": { "value": "none", "source": "profile" },
        "ceiling": { "value": "none", "source": "profile" }
    });
    let connection = serde_json::json!({
        "name": "VNet1-VNet2", "site": "VNet2", "state": "NotConnected", "peer": "192.0.2.2", "peer_name": null,
        "last_error": "no shared key is set: run `vgw connection set-key VNet1 VNet2`",
        "ike_proposal": null, "ike_spis": null, "ike_established_seconds": null, "ike_rekey_in_seconds": null,
        "ike_rekeys": null, "ike_fragmentation": null, "peer_identity": null, "authentication": null, "nat_detected": null,
        "local_selectors": null, "remote_selectors": null, "esp_algorithm": null, "inbound_spi": null, "outbound_spi": null,
        "bytes_in": 2, "bytes_out": 4, "packets_in": 1, "packets_out": 3,
        "marked_in": 5, "marked_out": 6,
        "established_seconds": null, "rekey_in_seconds": null, "queue_sas": [], "queue_sas_agreed": null, "rekeys": 0, "mtu": 1438,
        "drops": { "replayed": 2 },
        "parameters": parameters
    });
    assert_eq!(
        json,
        serde_json::json!({
            "vnet": "VNet1", "clock_ns": 77, "state": "Provisioned", "engine": engine, "xdp_mode": "native", "wan_address": "192.0.2.1",
            "wan_address_v6": null,
            "budget": {
                "rate_bits": 100_000_000, "direction": "separate", "passed_bytes": 12, "dropped_bytes": 26,
                "outbound": {
                    "passed_packets": 1, "passed_bytes": 2, "marked_packets": 3, "marked_bytes": 4,
                    "dropped_packets": 5, "dropped_bytes": 6
                },
                "inbound": {
                    "passed_packets": 0, "passed_bytes": 10, "marked_packets": 0, "marked_bytes": 0,
                    "dropped_packets": 0, "dropped_bytes": 20
                }
            },
            "key_log": null, "ike_sas": 0,
            "connections": [connection],
            "drops": { "replayed": 2, "unknown_spi": 9 }
        })
    );
}

#[tokio::test]
async fn one_connection_is_shown_without_reading_the_counters_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    bench.core.dataplane.stats = DatapathStatsOf { counters: counters(), rate: 1 }.into();
    let shown = bench.connection("VNet2").await;
    assert_eq!((shown.bytes_in, shown.packets_out, shown.mtu), (2, 3, Some(1438)));
    assert_eq!(bench.core.dataplane.reads_of_all.get(), 0);
    assert_eq!(bench.status().await.connections[0], shown);
    assert_eq!(bench.core.dataplane.reads_of_all.get(), 1);
}

/// The numbers of the tests above.
struct DatapathStatsOf {
    counters: TunnelCounters,
    rate: u64,
}

impl From<DatapathStatsOf> for crate::datapath::DatapathStats {
    fn from(of: DatapathStatsOf) -> Self {
        let tunnel =
            TunnelStats { counters: of.counters, drops: BTreeMap::from([("replayed", 2)]), mtu: 1438 };
        Self {
            read_ns: 77,
            tunnels: BTreeMap::from([(TunnelId(1), tunnel)]),
            drops: BTreeMap::from([("unknown_spi", 9)]),
            budget: BudgetStats {
                limit: BandwidthLimit { rate: Some(of.rate), is_separate: true },
                outbound: BudgetCounters {
                    passed_packets: 1,
                    passed_bytes: 2,
                    marked_packets: 3,
                    marked_bytes: 4,
                    dropped_packets: 5,
                    dropped_bytes: 6,
                },
                inbound: BudgetCounters { passed_bytes: 10, dropped_bytes: 20, ..BudgetCounters::default() },
            },
            xdp_mode: "native".to_owned(),
            engine: EngineStats { running: Engine::Xsk, workers: vec![worker()], ..EngineStats::default() },
        }
    }
}

fn counters() -> TunnelCounters {
    TunnelCounters { in_packets: 1, in_bytes: 2, out_packets: 3, out_bytes: 4, in_marked: 5, out_marked: 6 }
}

fn worker() -> WorkerStats {
    let lane = LaneStats {
        interface: "wan0".to_owned(),
        queue: 0,
        mode: Some(CopyMode::ZeroCopy),
        handed_over: 40,
        exchanged: 30,
        full: 2,
        stalled: 3,
    };
    WorkerStats {
        pid: Some(77),
        cpu: Some(1),
        cpu_time_ns: Some(88),
        state: WorkerState::Running,
        lanes: vec![lane],
        ..WorkerStats::default()
    }
}

#[tokio::test]
async fn a_stopping_gateway_answers_but_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    bench.core.begin_stop(bench.now);
    assert_eq!(bench.status().await.state, GatewayState::Deprovisioning);
    let error = bench.set_key("VNet2", "key").await.unwrap_err();
    assert_eq!(error, Refusal::Conflict("the gateway of VNet VNet1 is Deprovisioning".to_owned()));
    let numbers: Vec<_> = bench.events().into_iter().map(|(number, _)| number).collect();
    assert_eq!(numbers, [213, 102, 103]);
}
