//! Routers may fragment a connection's packets if it says so.

use crate::support::{exercise, no_wrong_drops, with_both_engines};
use anyhow::{Result, ensure};
use std::time::Duration;
use testbed::traffic::{EchoClient, UdpEcho};
use testbed::{Lab, ping};

/// What the way between the gateways carries.
const NARROW: u32 = 1300;

#[test]
fn a_narrow_way_fragments_what_may_be_fragmented_and_loses_the_rest() {
    with_both_engines(
        "a_narrow_way_fragments_what_may_be_fragmented_and_loses_the_rest",
        2,
        |lab, options| {
            let agents = lab.establish(options)?;
            for site in lab.sites() {
                let (network, port) = (site.wan_address(), site.inet_port());
                lab.inet.ip(&format!("route add {network}/32 dev {port} mtu {NARROW}"))?;
            }
            // The largest packet that the tunnel takes.
            ensure!(largest_ping(lab, "-M do")? == 0, "DF is set");
            // The router's ICMP errors quote ESP, which anybody could have done: the kernel believes none.
            let route = lab.site(1).gateway.ip(&format!("route get {}", lab.site(2).wan_address()))?;
            ensure!(!route.contains("mtu"), "{route}");
            for (agent, peer) in agents.iter().zip(["VNet2", "VNet1"]) {
                let own = if peer == "VNet2" { "VNet1" } else { "VNet2" };
                agent.vgw().text(&["connection", "configure", own, peer, "--df", "copy"])?;
            }
            ensure!(largest_ping(lab, "-M do")? == 0, "DF is copied");
            ensure!(largest_ping(lab, "-M dont")? == 3, "no DF is copied");
            for (agent, own, peer) in [(&agents[0], "VNet1", "VNet2"), (&agents[1], "VNet2", "VNet1")] {
                agent.vgw().text(&["connection", "configure", own, peer, "--df", "clear"])?;
            }
            ensure!(largest_ping(lab, "-M do")? == 3, "DF is cleared");
            let (near, far) = (lab.site(1), lab.site(2));
            let echo = UdpEcho::start(&far.host, far.host_address())?;
            let mut client = EchoClient::connect(&near.host, near.host_address(), echo.address())?;
            client.exchange(4000, Duration::from_secs(5))?;
            exercise(lab, 1, 2)?;
            no_wrong_drops(&agents)?;
            Ok(agents)
        },
    );
}

/// How many of three echo requests that fill a tunnel's MTU are answered.
fn largest_ping(lab: &Lab, discovery: &str) -> Result<u32> {
    let target = lab.site(2).host_address();
    // The far host must not answer with what it has learned about the way.
    let report = ping(&lab.site(1).host, &format!("{discovery} -c 3 -i 0.2 -W 1 -s 1410 {target}"))?;
    Ok(report.received)
}
