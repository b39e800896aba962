//! Replacing the network configuration.

use super::*;
use crate::api::types::LocalNetworkChange;

#[tokio::test]
async fn only_what_changed_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2", "192.0.2.3"])).await;
    bench.set_key("VNet2", "key2").await.unwrap();
    bench.set_key("VNet3", "key3").await.unwrap();
    bench.sent();
    bench.calls();

    // VNet2 stays, VNet3 moves to another address and prefix, VNet4 comes.
    let xml = netcfg_xml(&["192.0.2.2", "192.0.2.33", "192.0.2.4"]).replace("10.3.0.0/16", "10.33.0.0/16");
    let report = bench.apply(&xml).await.unwrap();
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let expected = ApplyReport {
        added: names(&["VNet4"]),
        changed: names(&["VNet3"]),
        removed: Vec::new(),
        unchanged: names(&["VNet2"]),
    };
    assert_eq!(report, expected);
    assert_eq!(
        bench.calls(),
        ["set_tunnel 2 []", "set_tunnel 2 [10.33.0.0/16]", "set_tunnel 3 [10.4.0.0/16]"]
    );
    assert_eq!(bench.connection("VNet3").await.peer, Some("192.0.2.33".parse().unwrap()));
    let destinations: Vec<_> = bench.sent().iter().map(|transmit| transmit.remote.ip()).collect();
    assert!(!destinations.contains(&"192.0.2.2".parse().unwrap()), "{destinations:?}");

    // VNet4 and VNet3 go; the number of VNet3 is free again.
    let report = bench.apply(&netcfg_xml(&["192.0.2.2"])).await.unwrap();
    assert_eq!(report.removed, ["VNet3", "VNet4"]);
    assert_eq!(bench.calls(), ["remove_tunnel 2", "remove_tunnel 3"]);
    assert!(bench.core.endpoint.status(PeerId(2)).is_none());
    bench.apply(&netcfg_xml(&["192.0.2.2", "192.0.2.3"])).await.unwrap();
    assert_eq!(bench.calls(), ["set_tunnel 2 [10.3.0.0/16]"]);
    assert_eq!(bench.connection("VNet3").await.last_error, None, "the key was kept");
    let reused = |(number, message): &(u16, String)| *number == 211 && message.contains("VNet1-VNet3");
    assert_eq!(bench.events().iter().filter(|event| reused(event)).count(), 1, "{:?}", bench.events());
}

#[tokio::test]
async fn a_prefix_can_move_from_one_site_to_another() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench =
        Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2", "192.0.2.3", "192.0.2.4"])).await;
    bench.calls();
    let xml = netcfg_xml(&["192.0.2.2", "192.0.2.3", "192.0.2.4"])
        .replace("10.3.0.0/16", "swapped")
        .replace("10.4.0.0/16", "10.3.0.0/16")
        .replace("swapped", "10.4.0.0/16");
    bench.apply(&xml).await.unwrap();
    assert_eq!(
        bench.calls(),
        ["set_tunnel 2 []", "set_tunnel 3 []", "set_tunnel 2 [10.4.0.0/16]", "set_tunnel 3 [10.3.0.0/16]"]
    );
}

#[tokio::test]
async fn an_invalid_file_changes_nothing_and_reports_everything() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    bench.calls();
    let before = bench.ask(Command::ExportNetcfg).await.unwrap();
    let broken = netcfg_xml(&["192.0.2.2"]).replace("10.1.0.0/24", "banana").replace("\"Front\"", "\"a b\"");
    let Refusal::Invalid { message, details } = bench.apply(&broken).await.unwrap_err() else {
        panic!("an invalid file is invalid")
    };
    assert!(message.contains("errors"), "{message}");
    assert!(details.iter().any(|detail| detail.contains("banana")), "{details:?}");
    assert!(details.iter().any(|detail| detail.contains("a b")), "{details:?}");
    assert_eq!(bench.ask(Command::ExportNetcfg).await.unwrap(), before);
    assert!(bench.calls().is_empty());
}

#[tokio::test]
async fn the_gateway_of_a_running_agent_cannot_be_taken_away() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    let renamed = netcfg_xml(&["192.0.2.2"]).replace("VNet1", "VNet7");
    let error = bench.apply(&renamed).await.unwrap_err().to_string();
    assert!(error.contains("no VNet VNet1") && error.contains("stop the agent first"), "{error}");
    let moved = netcfg_xml(&["192.0.2.2"]).replace("10.1.", "10.77.");
    let error = bench.apply(&moved).await.unwrap_err().to_string();
    assert!(error.contains("address space of VNet VNet1 cannot change"), "{error}");
}

#[tokio::test]
async fn a_placeholder_is_replaced_and_the_tunnel_comes_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["0.0.0.0"])).await;
    bench.set_key("VNet2", "key2").await.unwrap();
    assert!(bench.sent().is_empty());
    let change = LocalNetworkChange { gateway_address: "192.0.2.2".parse().unwrap() };
    let set = |name: &str| {
        let name = name.to_owned();
        let change = change.clone();
        move |reply| Change::SetLocalNetwork(name, change, reply)
    };
    let error = bench.change(set("VNet9")).await.unwrap_err();
    assert!(matches!(&error, Refusal::NotFound(message) if message.contains("VNet1, VNet2")), "{error:?}");

    let report = bench.change(set("VNet2")).await.unwrap();
    assert_eq!(report.changed, ["VNet2"]);
    assert_eq!(bench.sent()[0].remote, "192.0.2.2:500".parse().unwrap());
    let stored = Store::open(dir.path(), "VNet1").unwrap().load_netcfg().unwrap().unwrap();
    assert!(stored.contains("<VPNGatewayAddress>192.0.2.2<"), "{stored}");
    let sites = bench.ask(Command::LocalNetworks).await.unwrap();
    assert_eq!(sites[1].gateway_address, Some(change.gateway_address));
}

#[tokio::test]
async fn vnets_and_gateway_are_shown() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    let vnets = bench.ask(Command::Vnets).await.unwrap();
    assert_eq!((vnets[0].name.as_str(), vnets[0].gateway_state), ("VNet1", Some(GatewayState::Provisioned)));
    assert_eq!((vnets[1].name.as_str(), vnets[1].gateway_state), ("VNet2", None));
    assert_eq!(vnets[0].sites, ["VNet2"]);
    let gateway = bench.ask(Command::Gateway).await.unwrap();
    assert_eq!((gateway.connections, gateway.max_connections), (1, 3));
    assert_eq!(gateway.address_space, ["10.1.0.0/16"]);
}

#[tokio::test]
async fn another_order_of_prefixes_is_no_change() {
    let dir = tempfile::tempdir().unwrap();
    let prefixes = |first: &str, second: &str| {
        let element = |prefix: &str| format!("<AddressPrefix>{prefix}</AddressPrefix>");
        let both = element(first) + &element(second);
        // VNet1 is the local network, VNet3 a remote one.
        netcfg_xml(&["192.0.2.2", "192.0.2.3"]).replace(&element("10.3.0.0/16"), &both).replace(
            &element("10.1.0.0/16"),
            &(element("10.1.0.0/16") + &element(&first.replace("10.3", "10.4"))),
        )
    };
    let mut bench = Bench::start(dir.path(), "VNet1", &prefixes("10.3.0.0/16", "10.33.0.0/16")).await;
    bench.calls();
    let swapped = prefixes("10.3.0.0/16", "10.33.0.0/16")
        .replace("10.3.0.0", "one")
        .replace("10.33.0.0", "10.3.0.0")
        .replace("one", "10.33.0.0")
        .replace("10.1.0.0/16", "one")
        .replace("10.4.0.0/16", "10.1.0.0/16")
        .replace("one", "10.4.0.0/16");
    let report = bench.apply(&swapped).await.unwrap();
    assert_eq!((report.unchanged.len(), report.changed.len()), (2, 0), "{report:?}");
    assert!(bench.calls().is_empty());
}
