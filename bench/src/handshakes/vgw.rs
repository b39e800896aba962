//! The gateway's agent as responder: one VNet with as many connections as there are initiators.

use std::net::Ipv4Addr;

use anyhow::Result;
use testbed::{LocalSite, NetCfg, VNet};

use super::network::{FIRST_INITIATOR, FIRST_NETWORK, LAN, Network, VNET, WAN};
use super::responder::Responder;
use crate::agent::{Agent, Launch};

const NAME: &str = "Bench";

/// Starts the agent with `connections` connections and waits until all tunnels are set up.
///
/// # Errors
/// The agent does not come up; the error quotes its log.
pub(super) fn start(network: &Network, connections: u32, psk: &str) -> Result<Responder> {
    let most = connections.max(10).to_string();
    let options = [
        ["--max-connections", &most],
        ["--dpd", "3600"],
        ["--ike-proposal", "aes256gcm16-prfsha256-x25519"],
        ["--esp-proposal", "aes256gcm16"],
    ];
    let agent = Agent::start(&Launch {
        namespace: &network.responder,
        vnet: NAME,
        wan: WAN,
        lan: LAN,
        directory: &network.directory().join(format!("vgw-{connections}")),
        pin_root: &network.scope.pin_root(),
        netcfg: &configuration(connections),
        psk,
        mode: Some("responder"),
        options: &options.concat().into_iter().map(str::to_owned).collect::<Vec<_>>(),
    })?;
    let (process, client) = agent.into_parts();
    Ok(Responder::new(process, move || client.connected()))
}

/// One site per initiator.
fn configuration(connections: u32) -> NetCfg {
    let nth = |first: Ipv4Addr, number: u32| Ipv4Addr::from_bits(first.to_bits() + number);
    let site = |number| LocalSite {
        name: site_name(number),
        prefixes: vec![format!("{}/29", nth(FIRST_NETWORK, 8 * number))],
        gateway_address: nth(FIRST_INITIATOR, number).to_string(),
    };
    let vnet = VNet {
        name: NAME.to_owned(),
        prefixes: vec![VNET.to_owned()],
        subnets: vec![("GatewaySubnet".to_owned(), "10.1.255.0/27".to_owned())],
        connections: (0..connections).map(site_name).collect(),
    };
    NetCfg { local_sites: (0..connections).map(site).collect(), vnets: vec![vnet] }
}

fn site_name(number: u32) -> String {
    format!("Site{number}")
}
