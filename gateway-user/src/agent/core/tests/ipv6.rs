//! Peers with IPv6 addresses, and address spaces of both families.

use std::net::IpAddr;

use super::connect::settle;
use super::*;
use crate::datapath::WanAddresses;

/// The usual configuration with the VNets' gateways at 2001:db8::n, and fd00:n::/48 in their address spaces.
fn dual_stack() -> String {
    let mut xml = netcfg_xml(&["2001:db8::2"]).replace("192.0.2.1", "2001:db8::1");
    for number in [1, 2] {
        let prefix = format!("<AddressPrefix>10.{number}.0.0/16</AddressPrefix>");
        let both = format!("{prefix}<AddressPrefix>fd00:{number}::/48</AddressPrefix>");
        xml = xml.replace(&prefix, &both);
    }
    xml
}

fn dual_settings(vnet: &str, number: u8) -> Settings {
    let wan_addresses = WanAddresses {
        v4: Some([192, 0, 2, number].into()),
        v6: Some(format!("2001:db8::{number}").parse().unwrap()),
    };
    Settings { wan_addresses, ..settings(vnet) }
}

#[tokio::test]
async fn two_gateways_connect_over_ipv6_for_both_families() {
    let dir = tempfile::tempdir().unwrap();
    let mut benches = [("VNet1", 1), ("VNet2", 2)]
        .map(|(vnet, number)| Bench::prepare_with(dir.path(), dual_settings(vnet, number), &dual_stack()));
    for (bench, site) in benches.iter_mut().zip(["VNet2", "VNet1"]) {
        bench.core.start(bench.now).await.unwrap();
        bench.set_key(site, "correct horse").await.unwrap();
        assert_eq!(bench.calls()[0].split_once(' ').unwrap().0, "set_tunnel");
    }
    settle(&mut benches);
    let [one, _] = &mut benches;
    let status = one.connection("VNet2").await;
    assert_eq!((status.state, status.last_error), (ConnectionState::Connected, None));
    assert_eq!(status.peer, Some("2001:db8::2".parse().unwrap()));
    assert_eq!((status.peer_identity.as_deref(), status.nat_detected), (Some("2001:db8::2"), Some(false)));
    assert_eq!(
        status.parameters.local_id.value, "2001:db8::1",
        "the identity is the address that the peer sees"
    );
    let both = Some(vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()]);
    assert_eq!((&status.local_selectors, &status.remote_selectors), (&both, &both));
    let sa = &one.core.dataplane.installed[0];
    let addresses = [sa.local, sa.remote].map(|address| address.ip().to_string());
    assert_eq!(addresses, ["2001:db8::1", "2001:db8::2"]);
}

#[tokio::test]
async fn a_peer_that_wants_one_family_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    let only_v4 = dual_stack().replace("<AddressPrefix>fd00:1::/48</AddressPrefix>", "");
    let mut benches = [("VNet1", 1, &dual_stack()), ("VNet2", 2, &only_v4)]
        .map(|(vnet, number, xml)| Bench::prepare_with(dir.path(), dual_settings(vnet, number), xml));
    for bench in &mut benches {
        bench.core.start(bench.now).await.unwrap();
    }
    // VNet1 asks: VNet2 does not know that it has IPv6.
    benches[1].set_key("VNet1", "correct horse").await.unwrap();
    benches[1].sent();
    benches[0].set_key("VNet2", "correct horse").await.unwrap();
    settle(&mut benches);
    let status = benches[0].connection("VNet2").await;
    assert_eq!(status.state, ConnectionState::Connected);
    assert_eq!(status.remote_selectors, Some(vec!["0.0.0.0/0".to_owned()]));
    let error = status.last_error.unwrap();
    assert_eq!(error, "peer narrowed the traffic selectors to 0.0.0.0/0 === 0.0.0.0/0");
}

#[tokio::test]
async fn prefixes_of_both_families_reach_the_datapath_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    bench.calls();
    bench.apply(&dual_stack().replace("2001:db8::2", "192.0.2.2")).await.unwrap_err();
    let xml = netcfg_xml(&["192.0.2.2"]);
    let site = "<AddressPrefix>10.2.0.0/16</AddressPrefix></AddressSpace>";
    let both =
        "<AddressPrefix>fd00:2::/48</AddressPrefix><AddressPrefix>10.2.0.0/16</AddressPrefix></AddressSpace>";
    bench.apply(&xml.replace(site, both)).await.unwrap();
    assert_eq!(bench.calls(), ["set_tunnel 1 [10.2.0.0/16 fd00:2::/48]"]);
}

#[tokio::test]
async fn a_peer_of_a_family_that_the_gateway_has_no_address_of_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["2001:db8::2"])).await;
    bench.set_key("VNet2", "correct horse").await.unwrap();
    assert!(bench.sent().is_empty());
    let error = bench.connection("VNet2").await.last_error.unwrap();
    assert_eq!(error, "gateway address 2001:db8::2 of site VNet2 is IPv6, this gateway's is IPv4");
    drop(bench);

    let own: IpAddr = "2001:db8::1".parse().unwrap();
    let only_v6 = Settings { wan_addresses: own.into(), ..settings("VNet1") };
    let mut bench = Bench::prepare_with(dir.path(), only_v6, &netcfg_xml(&["192.0.2.2"]));
    bench.core.start(bench.now).await.unwrap();
    let error = bench.connection("VNet2").await.last_error.unwrap();
    assert_eq!(error, "gateway address 192.0.2.2 of site VNet2 is IPv4, this gateway's is IPv6");
    let status = bench.status().await;
    assert_eq!((status.wan_address, status.wan_address_v6.map(IpAddr::V6)), (None, Some(own)));
    bench.apply(&netcfg_xml(&["2001:db8::1"])).await.unwrap();
    let error = bench.connection("VNet2").await.last_error.unwrap();
    assert_eq!(error, "gateway address 2001:db8::1 of site VNet2 is this gateway's own");
}
