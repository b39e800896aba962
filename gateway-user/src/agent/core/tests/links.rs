//! Interfaces and addresses that change.

use std::net::IpAddr;

use super::*;
use crate::datapath::{LinkEvent, LinkNews, LinkStats};

#[tokio::test]
async fn connections_are_made_anew_from_another_address() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    bench.set_key("VNet2", "correct horse").await.unwrap();
    let locals = |bench: &mut Bench| -> Vec<IpAddr> {
        bench.sent().iter().map(|transmit| transmit.local.ip()).collect()
    };
    assert_eq!(locals(&mut bench), [IpAddr::from([192, 0, 2, 1])]);
    bench.calls();
    let other = IpAddr::from([192, 0, 2, 9]).into();
    bench.core.handle_links(bench.now, &LinkNews::default(), other).await;
    assert_eq!(bench.calls(), ["set_wan_addresses 192.0.2.9"]);
    assert!(locals(&mut bench).contains(&IpAddr::from([192, 0, 2, 9])));
    assert!(
        bench.events().contains(&(245, "WAN address of wan0 is 192.0.2.9 now, it was 192.0.2.1".to_owned()))
    );
    assert_eq!(bench.connection("VNet2").await.parameters.local_id.value, "192.0.2.9");

    bench.core.handle_links(bench.now, &LinkNews::default(), other).await;
    assert!(bench.calls().is_empty() && bench.sent().is_empty(), "nothing changed");
}

#[tokio::test]
async fn an_address_that_the_datapath_refuses_is_not_taken() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    bench.set_key("VNet2", "correct horse").await.unwrap();
    bench.sent();
    bench.core.dataplane.refuse = Some("no room");
    let other = IpAddr::from([192, 0, 2, 9]).into();
    bench.core.handle_links(bench.now, &LinkNews::default(), other).await;
    let before = IpAddr::from([192, 0, 2, 1]).into();
    assert_eq!((bench.core.wan_addresses(), bench.sent().len()), (before, 0));
    let told = "the gateway's address stays 192.0.2.1, though wan0 has 192.0.2.9: no room";
    assert!(bench.events().contains(&(220, told.to_owned())), "{:?}", bench.events());
}

#[tokio::test]
async fn what_happens_to_interfaces_is_told_and_shown() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    let interface = || "lan0".to_owned();
    let reason = || "no memory".to_owned();
    bench.core.dataplane.link_events = vec![
        LinkEvent::Gone { interface: interface() },
        LinkEvent::Failed { interface: interface(), reason: reason() },
        LinkEvent::Returned { interface: interface(), index: 7 },
        LinkEvent::MacChanged { interface: interface(), mac: [2, 0, 0, 0, 0, 255] },
        LinkEvent::MtuChanged { interface: interface(), mtu: 1400, tunnel_mtu: None },
        LinkEvent::MtuChanged { interface: "wan0".to_owned(), mtu: 1400, tunnel_mtu: Some(1338) },
        LinkEvent::WentGeneric { reason: reason() },
    ];
    let addresses = bench.core.wan_addresses();
    bench.core.handle_links(bench.now, &LinkNews::default(), addresses).await;
    let events = bench.events();
    let told: Vec<_> = events.iter().rev().take(7).rev().map(|(number, text)| (*number, &**text)).collect();
    assert_eq!(
        told,
        [
            (240, "interface lan0 is gone; its traffic waits for it to come back"),
            (243, "interface lan0 is there again, but carries nothing: no memory"),
            (241, "interface lan0 is there again, with index 7"),
            (242, "MAC address of interface lan0 is 02:00:00:00:00:ff now"),
            (242, "MTU of interface lan0 is 1400 now"),
            (242, "MTU of interface wan0 is 1400 now, that of the tunnels 1338"),
            (244, "XDP runs in generic mode on all interfaces from now on: no memory"),
        ]
    );
    let missing = LinkStats {
        interface: interface(),
        is_lan: true,
        mtu: 1500,
        problem: Some("there is no interface of this name".to_owned()),
        ..LinkStats::default()
    };
    bench.core.dataplane.stats.links = vec![missing];
    let shown = serde_json::to_value(&bench.status().await.interfaces).unwrap();
    assert_eq!(
        shown,
        serde_json::json!([{
            "name": "lan0", "wan": false, "lan": true, "index": null, "mtu": 1500,
            "problem": "there is no interface of this name"
        }])
    );
}
