//! strongSwan over IPv6, with networks of both families behind both gateways.

use crate::support::{KEY, PATIENCE, SITE, VNET, no_wrong_drops, start_charon};
use anyhow::ensure;
use std::time::Duration;
use testbed::strongswan::{Daemon, Peering};
use testbed::traffic::{EchoClient, UdpEcho};
use testbed::{Family, GatewayOptions, ping, scenario_in};

#[test]
fn both_families_pass_a_tunnel_over_ipv6() {
    let name = "both_families_pass_a_tunnel_over_ipv6";
    scenario_in(
        name,
        |lab| lab.sites(2).dual_stack(),
        |lab| {
            let (ours, theirs) = (lab.site(1), lab.site(2));
            let near = (theirs.wan_address_of(Family::V6), theirs.prefix());
            let far = (ours.wan_address_of(Family::V6), ours.prefix());
            let mut peering = Peering::new(SITE, (near.0, &near.1), (far.0, &far.1), KEY);
            peering.local_selectors.push(theirs.prefix_v6());
            peering.remote_selectors.push(ours.prefix_v6());
            let charon = start_charon(lab, 2, &Daemon::default(), &peering)?;
            let netcfg = lab.dual_stack_netcfg(Family::V6);
            let agent = lab.start_agent_with(1, &netcfg, &GatewayOptions::default())?;
            agent.vgw().set_key(VNET, SITE, KEY)?;
            let status = agent.wait_connected(SITE, PATIENCE)?;
            charon.wait_settled(SITE, PATIENCE)?;
            ensure!(status["peer"] == near.0.to_string(), "{status}");
            ensure!(status["peer_identity"] == near.0.to_string(), "{status}");
            let selectors = serde_json::json!([theirs.prefix(), theirs.prefix_v6()]);
            ensure!(status["remote_selectors"] == selectors, "{status}");
            for family in Family::ALL {
                for (near, far) in [(ours, theirs), (theirs, ours)] {
                    let target = far.host_address_of(family);
                    let report = ping(&near.host, &format!("{} -c 3 -i 0.2 -W 3 {target}", family.option()))?;
                    ensure!(report.received == 3, "{family:?}: {}", report.text);
                    let echo = UdpEcho::start(&far.host, target)?;
                    let mut client =
                        EchoClient::connect(&near.host, near.host_address_of(family), echo.address())?;
                    for size in [0, 1, 15, 16, 17, 100, 500, 1000, 1300] {
                        client.exchange(size, Duration::from_secs(5))?;
                    }
                }
            }
            agent.vgw().text(&["connection", "rekey", VNET, SITE])?;
            charon.wait_settled(SITE, PATIENCE)?;
            let report =
                ping(&ours.host, &format!("-6 -c 3 -i 0.2 -W 3 {}", theirs.host_address_of(Family::V6)))?;
            ensure!(report.received == 3, "after a rekey: {}", report.text);
            no_wrong_drops(&agent.vgw().connection(SITE)?)
        },
    );
}
