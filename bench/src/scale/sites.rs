//! The sites at the far ends of thousands of tunnels.

use std::net::Ipv4Addr;

use testbed::{LocalSite, NetCfg, VNet};

use super::PREFIXES_EACH;

/// Prefixes have 16 addresses each.
pub(super) const PREFIX_LENGTH: u32 = 28;
/// Prefix 0; the others follow without gaps.
const FIRST_PREFIX: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 0);
/// Address of the peer of tunnel 0; the others follow.
const FIRST_PEER: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// Name of the VNet.
pub(super) const VNET: &str = "Bench";

/// The prefix with this number.
pub(super) fn prefix(number: u32) -> Ipv4Addr {
    nth(FIRST_PREFIX, number << (32 - PREFIX_LENGTH))
}

/// The peer of the tunnel with this number.
pub(super) fn peer(number: u32) -> Ipv4Addr {
    nth(FIRST_PEER, number)
}

/// A VNet with so many connections. Site `n` has prefixes `10 n` up to `10 n + 9`, of which `choose` may take others.
pub(super) fn configuration(connections: u32, choose: impl Fn(u32) -> Option<u32>) -> NetCfg {
    let name = |number: u32| format!("Site{number}");
    let site = |number: u32| LocalSite {
        name: name(number),
        prefixes: (number * PREFIXES_EACH..(number + 1) * PREFIXES_EACH)
            .filter_map(&choose)
            .map(|prefix_number| format!("{}/{PREFIX_LENGTH}", prefix(prefix_number)))
            .collect(),
        gateway_address: peer(number).to_string(),
    };
    let vnet = VNet {
        name: VNET.to_owned(),
        prefixes: vec!["10.1.0.0/16".to_owned()],
        subnets: vec![("GatewaySubnet".to_owned(), "10.1.255.0/27".to_owned())],
        connections: (0..connections).map(name).collect(),
    };
    NetCfg { local_sites: (0..connections).map(site).collect(), vnets: vec![vnet] }
}

fn nth(first: Ipv4Addr, number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(first.to_bits() + number)
}
