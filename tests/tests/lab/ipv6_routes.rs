//! What a gateway does to the kernel's IPv6, and what it leaves behind.

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use testbed::{Family, GatewayOptions, Lab, scenario, scenario_in};

/// The gateway's IPv6 routes with `what` in them.
fn routes(lab: &Lab, what: &str) -> Result<Vec<String>> {
    let text = lab.site(1).gateway.ip("-6 route show")?;
    Ok(text.lines().filter(|line| line.contains(what)).map(str::to_owned).collect())
}

#[test]
fn ipv6_prefixes_lead_into_the_tunnel_and_nowhere_else() {
    scenario_in(
        "ipv6_prefixes_lead_into_the_tunnel_and_nowhere_else",
        |lab| lab.sites(2).dual_stack(),
        |lab| {
            let gateway = &lab.site(1).gateway;
            let mut agent =
                lab.start_agent_with(1, &lab.dual_stack_netcfg(Family::V6), &GatewayOptions::default())?;
            let to_tunnel = routes(lab, "dev vgw0")?;
            ensure!(to_tunnel.len() == 1, "nothing but the one prefix: {to_tunnel:?}");
            for part in ["fd00:2::/48", "src fd00:1:0:1::1", "mtu lock 1418"] {
                ensure!(to_tunnel[0].contains(part), "no {part} in {to_tunnel:?}");
            }
            let closed = routes(lab, "unreachable")?;
            ensure!(
                closed.len() == 2 && closed.iter().all(|route| route.contains("4294967295")),
                "{closed:?}"
            );
            let addresses = gateway.ip("-6 address show dev vgw0")?;
            ensure!(addresses.trim().is_empty(), "{addresses}");
            let forwarding =
                gateway.enter(|| std::fs::read_to_string("/proc/sys/net/ipv6/conf/all/forwarding"))??;
            ensure!(forwarding.trim() == "1", "{forwarding}");
            let status = agent.vgw().status()?;
            ensure!(
                status["wan_address_v6"] == lab.site(1).wan_address_of(Family::V6).to_string(),
                "{status}"
            );
            ensure!(status["drops"].as_object().is_none_or(serde_json::Map::is_empty), "{status}");

            agent.stop(Signal::SIGTERM)?;
            ensure!(routes(lab, "dev vgw0")?.is_empty());
            let refused = gateway.ip("-6 route get fd00:2::1");
            ensure!(refused.is_err(), "in the clear: {refused:?}");

            // Another configuration without the prefix opens it again.
            let netcfg = lab.netcfg();
            agent = lab.start_agent_with(1, &netcfg, &GatewayOptions::default())?;
            ensure!(routes(lab, "fd00:")?.iter().all(|route| !route.contains("unreachable")));
            agent.stop(Signal::SIGTERM)
        },
    );
}

#[test]
fn a_gateway_without_ipv6_takes_sites_that_have_it() {
    scenario("a_gateway_without_ipv6_takes_sites_that_have_it", 2, |lab| {
        let mut netcfg = lab.netcfg();
        netcfg.local_sites[1].prefixes.push("fd00:2::/48".to_owned());
        netcfg.vnets[1].prefixes.push("fd00:2::/48".to_owned());
        let agents = lab.establish_with(&netcfg, &GatewayOptions::default());
        let agents = agents?;
        lab.wait_reachable(1, 2)?;
        ensure!(routes(lab, "dev vgw0")?.is_empty());
        let status = agents[0].vgw().connection("VNet2")?;
        ensure!(status["mtu"] == 1438 && status["last_error"].is_null(), "{status}");
        Ok(())
    });
}

#[test]
fn addresses_that_no_peer_finds_are_refused() {
    scenario_in(
        "addresses_that_no_peer_finds_are_refused",
        |lab| lab.sites(1).dual_stack(),
        |lab| {
            for (given, complaint) in [
                (&["fe80::1"][..], "link-local"),
                (&["192.0.2.77"], "no address of this machine"),
                (&["192.0.2.2", "10.1.1.1"], "one family"),
            ] {
                let wan_addresses = given.iter().map(|address| (*address).to_owned()).collect();
                let options = GatewayOptions { wan_addresses, ..GatewayOptions::default() };
                let said = lab.start_refused(1, &lab.netcfg(), &options)?;
                ensure!(said.contains(complaint) && said.contains(given[0]), "{said}");
            }
            let only_v6 = lab.site(1).wan_address_of(Family::V6).to_string();
            let options =
                GatewayOptions { wan_addresses: vec![only_v6.clone()], ..GatewayOptions::default() };
            let agent = lab.start_agent(1, &options)?;
            let status = agent.vgw().status()?;
            ensure!(status["wan_address"].is_null() && status["wan_address_v6"] == only_v6, "{status}");
            Ok(())
        },
    );
}
