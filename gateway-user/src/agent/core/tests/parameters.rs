//! Parameters of single connections.

use std::net::IpAddr;

use super::*;
use crate::api::command::Configure;
use crate::api::types::{ParametersDocument, Source};

fn document() -> ParametersDocument {
    ParametersDocument::default()
}

async fn configure(
    bench: &mut Bench,
    site: &str,
    parameters: ParametersDocument,
    replace: bool,
) -> Result<(), Refusal> {
    bench
        .change(|reply| {
            Change::Configure(site.to_owned(), Box::new(Configure { parameters, replace }), reply)
        })
        .await
}

#[tokio::test]
async fn identities_are_sent_and_demanded_as_they_were_set() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let before = bench.connection("VNet2").await.parameters;
    assert_eq!((before.local_id.value.as_str(), before.remote_id.value.as_str()), ("192.0.2.1", "any"));
    let names = ParametersDocument {
        local_id: Some("gw1.example".to_owned()),
        remote_id: Some("C=DE, O=Example, CN=gw2".to_owned()),
        ..document()
    };
    configure(&mut bench, "VNet2", names, false).await.unwrap();
    assert!(!bench.sent().is_empty(), "negotiated anew");
    let after = bench.connection("VNet2").await.parameters;
    assert_eq!(after.local_id.value, "gw1.example");
    assert_eq!(
        (after.remote_id.value.as_str(), after.remote_id.source),
        ("C=DE, O=Example, CN=gw2", Source::Connection)
    );
    let wrong = ParametersDocument { local_id: Some(String::new()), ..document() };
    let error = configure(&mut bench, "VNet2", wrong, false).await.unwrap_err();
    assert!(
        matches!(&error, Refusal::Invalid { details, .. } if details[0].contains("local_id")),
        "{error:?}"
    );
}

fn esp(proposal: &str) -> ParametersDocument {
    ParametersDocument { esp_proposals: Some(vec![proposal.to_owned()]), ..document() }
}

/// VNet1 connected to VNet2 and VNet3, both with keys, and IKE asked for nothing new.
async fn bench(directory: &Path) -> Bench {
    let mut bench = Bench::start(directory, "VNet1", &netcfg_xml(&["192.0.2.2", "192.0.2.3"])).await;
    bench.set_key("VNet2", "key2").await.unwrap();
    bench.set_key("VNet3", "key3").await.unwrap();
    bench.sent();
    bench
}

fn destinations(bench: &mut Bench) -> Vec<IpAddr> {
    bench.sent().iter().map(|sent| sent.remote.ip()).collect()
}

#[tokio::test]
async fn a_change_renegotiates_only_its_connection_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    configure(&mut bench, "VNet2", esp("aes128gcm16-noesn"), false).await.unwrap();
    let addresses = destinations(&mut bench);
    assert!(!addresses.is_empty(), "VNet2 is negotiated anew");
    assert!(addresses.iter().all(|address| *address == IpAddr::from([192, 0, 2, 2])), "{addresses:?}");
    let told = "parameters of connection VNet1-VNet2 changed".to_owned();
    assert!(bench.events().contains(&(212, told)), "{:?}", bench.events());
    drop(bench);

    let xml = netcfg_xml(&["192.0.2.2", "192.0.2.3"]);
    let mut bench = Bench::start(dir.path(), "VNet1", &xml).await;
    let parameters = bench.connection("VNet2").await.parameters;
    assert_eq!(parameters.esp_proposals.value, ["aes128gcm16-noesn"]);
    assert_eq!(parameters.esp_proposals.source, Source::Connection);
    assert_eq!(bench.connection("VNet3").await.parameters.esp_proposals.source, Source::Profile);
}

#[tokio::test]
async fn what_changes_nothing_touches_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    configure(&mut bench, "VNet2", esp("aes128gcm16-noesn"), false).await.unwrap();
    bench.sent();
    let file = dir.path().join("VNet1/parameters.json");
    std::fs::remove_file(&file).unwrap();
    let events = bench.events().len();
    configure(&mut bench, "VNet2", esp("aes128gcm16-noesn"), false).await.unwrap();
    configure(&mut bench, "VNet3", document(), true).await.unwrap();
    assert!(destinations(&mut bench).is_empty());
    assert_eq!(bench.events().len(), events);
    assert!(!file.exists(), "nothing is written");
}

#[tokio::test]
async fn what_is_not_named_stays_unless_all_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    configure(&mut bench, "VNet2", esp("aes128gcm16-noesn"), false).await.unwrap();
    configure(&mut bench, "VNet2", ParametersDocument { dpd: Some(20), ..document() }, false).await.unwrap();
    let parameters = bench.connection("VNet2").await.parameters;
    let sources = (parameters.esp_proposals.source, parameters.dpd.source);
    assert_eq!((sources, parameters.dpd.value), ((Source::Connection, Source::Connection), 20));
    configure(&mut bench, "VNet2", ParametersDocument { dpd: Some(30), ..document() }, true).await.unwrap();
    let parameters = bench.connection("VNet2").await.parameters;
    let sources = (parameters.esp_proposals.source, parameters.dpd.source);
    assert_eq!((sources, parameters.dpd.value), ((Source::Profile, Source::Connection), 30));
}

#[tokio::test]
async fn wrong_values_are_named_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let wrong = ParametersDocument { dpd: Some(1), mode: Some("both".to_owned()), ..esp("aes128gcm16") };
    let error = configure(&mut bench, "VNet2", wrong, false).await.unwrap_err();
    let Refusal::Invalid { message, details } = &error else { panic!("{error:?}") };
    assert_eq!(message, "2 parameters are not accepted");
    assert!(details[0].contains("mode: \"both\"") && details[1].contains("from 9 to 3600"), "{details:?}");
    assert_eq!(bench.connection("VNet2").await.parameters.esp_proposals.source, Source::Profile);
    assert!(destinations(&mut bench).is_empty());
    let unknown = configure(&mut bench, "VNet9", document(), false).await.unwrap_err();
    assert!(matches!(unknown, Refusal::NotFound(_)), "{unknown:?}");
}

#[tokio::test]
async fn parameters_are_forgotten_with_their_connection() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    configure(&mut bench, "VNet3", esp("aes128gcm16-noesn"), false).await.unwrap();
    bench.apply(&netcfg_xml(&["192.0.2.2"])).await.unwrap();
    let stored = Store::open(dir.path(), "VNet1").unwrap().load_parameters().unwrap();
    assert!(stored.is_empty(), "{stored:?}");
    bench.apply(&netcfg_xml(&["192.0.2.2", "192.0.2.3"])).await.unwrap();
    assert_eq!(bench.connection("VNet3").await.parameters.esp_proposals.source, Source::Profile);
}

#[tokio::test]
async fn a_responder_waits_for_its_peer() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let responder = ParametersDocument { mode: Some("responder".to_owned()), ..document() };
    configure(&mut bench, "VNet2", responder.clone(), false).await.unwrap();
    drop(bench);
    let xml = netcfg_xml(&["192.0.2.2", "192.0.2.3"]);
    let mut bench = Bench::start(dir.path(), "VNet1", &xml).await;
    let addresses = destinations(&mut bench);
    assert!(!addresses.is_empty(), "VNet3 is tried");
    assert!(!addresses.contains(&IpAddr::from([192, 0, 2, 2])), "{addresses:?}");
}

#[tokio::test]
async fn a_connection_on_demand_is_begun_by_a_packet() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let on_demand = ParametersDocument { mode: Some("on-demand".to_owned()), ..document() };
    configure(&mut bench, "VNet2", on_demand, false).await.unwrap();
    drop(bench);
    let xml = netcfg_xml(&["192.0.2.2", "192.0.2.3"]);
    let mut bench = Bench::start(dir.path(), "VNet1", &xml).await;
    let peer = IpAddr::from([192, 0, 2, 2]);
    assert!(!destinations(&mut bench).contains(&peer), "nothing before the first packet");
    assert_eq!(bench.connection("VNet2").await.state, ConnectionState::NotConnected);

    let packet = |tunnel| DatapathEvent {
        kind: EventKind::NoOutboundSa,
        tunnel: Some(TunnelId(tunnel)),
        spi: None,
        source: Some([10, 1, 0, 1].into()),
    };
    // The other connection is not on demand: its packets change nothing.
    bench.core.handle_datapath_event(bench.now, packet(2));
    assert!(destinations(&mut bench).is_empty());
    bench.core.handle_datapath_event(bench.now, packet(1));
    assert_eq!(destinations(&mut bench), [peer]);
    assert_eq!(bench.connection("VNet2").await.state, ConnectionState::Connecting);

    // Taken down by command, it stays down whatever the packets want.
    bench.change(|reply| Change::Disconnect("VNet2".to_owned(), reply)).await.unwrap();
    destinations(&mut bench);
    bench.core.handle_datapath_event(bench.now, packet(1));
    assert!(destinations(&mut bench).is_empty());
}

#[tokio::test]
async fn traffic_selectors_can_be_the_prefixes_of_both_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let selectors = |bench: &Bench| {
        let config = bench.core.peer("VNet2").unwrap();
        [config.local_selectors, config.remote_selectors]
            .map(|ranges| ranges.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
    };
    assert_eq!(selectors(&bench), ["0.0.0.0/0", "0.0.0.0/0"]);
    let prefixes = ParametersDocument { traffic_selectors: Some("prefixes".to_owned()), ..document() };
    configure(&mut bench, "VNet2", prefixes, false).await.unwrap();
    assert_eq!(selectors(&bench), ["10.1.0.0/16", "10.2.0.0/16"]);
    assert!(!bench.sent().is_empty(), "negotiated anew");
}

/// VNet1 with parameters for both connections, which are taken down.
async fn bench_with_settings(directory: &Path) -> Bench {
    let mut bench = bench(directory).await;
    for site in ["VNet2", "VNet3"] {
        configure(&mut bench, site, esp("aes128gcm16-noesn"), false).await.unwrap();
        bench.change(|reply| Change::Disconnect(site.to_owned(), reply)).await.unwrap();
    }
    bench
}

#[tokio::test]
async fn however_many_connections_go_each_file_is_written_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench_with_settings(dir.path()).await;
    let (reply, mut answer) = oneshot::channel();
    let change = Change::ApplyNetcfg(netcfg_xml(&[]), reply);
    bench.core.handle_command(bench.now, Command::Change(change));
    let mut written = Vec::new();
    while let Some(write) = bench.core.next_write() {
        written.push(format!("{write:?}"));
        bench.core.handle_written(bench.now, write.run());
    }
    bench.write_all().await;
    assert_eq!(answer.try_recv().unwrap().unwrap().removed, ["VNet2", "VNet3"]);
    let files = ["netcfg.xml", "held.json", "parameters.json"];
    assert!(written.iter().zip(files).all(|(write, file)| write.contains(file)), "{written:?}");
    assert_eq!(written.len(), files.len(), "{written:?}");
    let store = Store::open(dir.path(), "VNet1").unwrap();
    assert!(store.load_held().unwrap().is_empty() && store.load_parameters().unwrap().is_empty());
}

#[tokio::test]
async fn a_connection_that_went_while_no_agent_ran_is_forgotten_too() {
    let dir = tempfile::tempdir().unwrap();
    drop(bench_with_settings(dir.path()).await);
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    bench.write_all().await;
    assert_eq!(bench.connection("VNet2").await.parameters.esp_proposals.source, Source::Connection);
    drop(bench);
    let store = Store::open(dir.path(), "VNet1").unwrap();
    let (held, parameters) = (store.load_held().unwrap(), store.load_parameters().unwrap());
    assert_eq!((held.len(), held.contains("VNet2")), (1, true));
    assert_eq!((parameters.len(), parameters.contains_key("VNet2")), (1, true));
}

#[tokio::test]
async fn a_gateway_that_cannot_start_forgets_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(bench_with_settings(dir.path()).await);
    let mut bench = Bench::prepare(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"]));
    bench.core.dataplane.broken_tunnels = BTreeSet::from([1]);
    assert!(bench.core.start(bench.now).await.is_err());
    assert!(bench.core.next_write().is_none());
}

#[tokio::test]
async fn an_identity_that_was_forced_to_be_a_name_is_one_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let names = ParametersDocument {
        local_id: Some("@192.0.2.1".to_owned()),
        remote_id: Some("@CN=gw2".to_owned()),
        ..document()
    };
    configure(&mut bench, "VNet2", names, false).await.unwrap();
    let before = bench.core.parameters["VNet2"].clone();
    drop(bench);
    let stored = Store::open(dir.path(), "VNet1").unwrap().load_parameters().unwrap();
    assert_eq!(stored["VNet2"], before);
}
