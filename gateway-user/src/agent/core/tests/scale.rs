//! As many connections as a gateway is made for.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::*;

const CONNECTIONS: u32 = 10_000;
const PREFIXES_EACH: u32 = 10;

/// VNet1 connected to the sites of these numbers, each with ten prefixes of 16 addresses.
fn xml(numbers: impl Iterator<Item = u32>) -> String {
    let (mut sites, mut references) = (String::new(), String::new());
    for number in numbers {
        let peer = Ipv4Addr::from_bits(Ipv4Addr::new(172, 16, 0, 1).to_bits() + number);
        write!(sites, "<LocalNetworkSite name=\"S{number}\"><AddressSpace>").unwrap();
        for index in 0..PREFIXES_EACH {
            let offset = 16 * (number * PREFIXES_EACH + index);
            let network = Ipv4Addr::from_bits(Ipv4Addr::new(10, 64, 0, 0).to_bits() + offset);
            write!(sites, "<AddressPrefix>{network}/28</AddressPrefix>").unwrap();
        }
        let end = "</VPNGatewayAddress></LocalNetworkSite>";
        write!(sites, "</AddressSpace><VPNGatewayAddress>{peer}{end}").unwrap();
        write!(references, "<LocalNetworkSiteRef name=\"S{number}\"/>").unwrap();
    }
    let xml = netcfg_xml(&[]);
    let xml =
        xml.replace("<ConnectionsToLocalNetwork></", &format!("<ConnectionsToLocalNetwork>{references}</"));
    xml.replace("<LocalNetworkSites>", &format!("<LocalNetworkSites>{sites}"))
}

fn count(calls: &[String], what: &str) -> usize {
    calls.iter().filter(|call| call.starts_with(what)).count()
}

#[tokio::test]
async fn ten_thousand_connections_with_a_hundred_thousand_prefixes_come_change_and_go() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { max_connections: CONNECTIONS, ..settings("VNet1") };
    let mut bench = Bench::prepare_with(dir.path(), settings, &xml(0..CONNECTIONS));
    bench.core.start(bench.now).await.unwrap();
    let calls = bench.calls();
    assert_eq!(count(&calls, "set_tunnel"), CONNECTIONS as usize);
    let prefixes: usize = calls.iter().map(|call| call.matches("/28").count()).sum();
    assert_eq!(prefixes, (CONNECTIONS * PREFIXES_EACH) as usize);
    assert_eq!(bench.status().await.connections.len(), CONNECTIONS as usize);

    // Every second connection goes, and as many others come, under their numbers.
    let half = CONNECTIONS / 2;
    let others = (0..CONNECTIONS).step_by(2).chain(CONNECTIONS..CONNECTIONS + half);
    let report = bench.apply(&xml(others)).await.unwrap();
    let numbers = [report.unchanged.len(), report.changed.len(), report.removed.len(), report.added.len()];
    assert_eq!(numbers, [half as usize, 0, half as usize, half as usize]);
    let calls = bench.calls();
    assert_eq!([count(&calls, "remove_tunnel"), count(&calls, "set_tunnel")], [half as usize; 2]);
    let ids: BTreeSet<u32> = bench.core.connections.values().map(|connection| connection.id).collect();
    assert_eq!(ids, (1..=CONNECTIONS).collect());

    let report = bench.apply(&xml(std::iter::empty())).await.unwrap();
    assert_eq!(report.removed.len(), CONNECTIONS as usize);
    assert_eq!(bench.calls().len(), CONNECTIONS as usize);
}
