//! Ten thousand connections with a hundred thousand prefixes, one of which carries traffic.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, ensure};
use testbed::{Agent, GatewayOptions, Lab, LocalSite, NetCfg, Site, scenario};

/// Connections besides the one that carries traffic.
const CONNECTIONS: u32 = 10_000;
const PREFIXES_EACH: u32 = 10;

#[test]
fn a_tunnel_works_among_ten_thousand_and_prefixes_come_move_and_go() {
    scenario("a_tunnel_works_among_ten_thousand_and_prefixes_come_move_and_go", 2, |lab| {
        let options = GatewayOptions { max_connections: Some(CONNECTIONS + 1), ..GatewayOptions::default() };
        let agents = [
            lab.start_agent_with(1, &netcfg(lab, 0), &options)?,
            lab.start_agent(2, &GatewayOptions::default())?,
        ];
        lab.set_keys(&agents, "a key of ten thousand")?;
        lab.wait_connected(&agents[1..])?;
        lab.wait_reachable(1, 2)?;
        expect_routes(lab.site(1), CONNECTIONS * PREFIXES_EACH + 1)?;
        let status = agents[0].vgw().status()?;
        let connections = status["connections"].as_array().context("no connections")?;
        ensure!(connections.len() == CONNECTIONS as usize + 1, "{} connections", connections.len());

        // Every prefix moves to the neighbouring connection.
        apply(lab, &agents[0], &netcfg(lab, PREFIXES_EACH))?;
        expect_routes(lab.site(1), CONNECTIONS * PREFIXES_EACH + 1)?;
        lab.wait_reachable(1, 2)?;

        apply(lab, &agents[0], &lab.netcfg())?;
        expect_routes(lab.site(1), 1)?;
        lab.wait_reachable(1, 2)
    });
}

/// The laboratory's configuration with many more connections of VNet1. Connection `n` has ten prefixes from number `10 n + first`
/// on; behind the last one come those that the first connection does not have.
fn netcfg(lab: &Lab, first: u32) -> NetCfg {
    let mut netcfg = lab.netcfg();
    let nth = |start: Ipv4Addr, number: u32| Ipv4Addr::from_bits(start.to_bits() + number);
    for number in 0..CONNECTIONS {
        let prefix = |index: u32| {
            let place = (number * PREFIXES_EACH + index + first) % (CONNECTIONS * PREFIXES_EACH);
            format!("{}/28", nth(Ipv4Addr::new(10, 64, 0, 0), 16 * place))
        };
        let name = format!("Branch{number}");
        netcfg.local_sites.push(LocalSite {
            name: name.clone(),
            prefixes: (0..PREFIXES_EACH).map(prefix).collect(),
            gateway_address: nth(Ipv4Addr::new(198, 18, 0, 1), number).to_string(),
        });
        netcfg.vnets[0].connections.push(name);
    }
    netcfg
}

fn apply(lab: &Lab, agent: &Agent, netcfg: &NetCfg) -> Result<()> {
    let file = lab.directory().join("changed.xml");
    fs::write(&file, netcfg.to_xml())?;
    agent.vgw().text(&["netcfg", "apply", &file.display().to_string()]).map(drop)
}

/// The gateway's kernel has so many routes to the tunnel interface, and as many that close their prefixes, besides that of the VNet.
fn expect_routes(site: &Site, expected: u32) -> Result<()> {
    for (kind, expected) in [("dev vgw0", expected), ("type unreachable", expected + 1)] {
        let routes = site.gateway.ip(&format!("route show proto 202 {kind}"))?.lines().count();
        ensure!(routes == expected as usize, "{routes} routes {kind}, not {expected}");
    }
    Ok(())
}
