//! An agent that ends and starts again reconnects by itself, keys and configuration included.

use crate::support::{exercise, no_wrong_drops_in};
use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use std::time::Duration;
use testbed::{Capture, GatewayOptions, Lab, PacketClass, ping, poll_until, scenario};

#[test]
fn an_orderly_restart_reconnects() {
    scenario("an_orderly_restart_reconnects", 2, |lab| restart(lab, Signal::SIGTERM));
}

#[test]
fn a_killed_agent_reconnects() {
    scenario("a_killed_agent_reconnects", 2, |lab| restart(lab, Signal::SIGKILL));
}

fn restart(lab: &Lab, signal: Signal) -> Result<()> {
    let mut agents = lab.establish(&GatewayOptions::default())?;
    exercise(lab, 1, 2)?;
    let old = agents[0].vgw().connection("VNet2")?["inbound_spi"].clone();
    agents[0].restart(signal)?;
    lab.wait_connected(&agents)?;
    // The peer may show the old connection for a moment; both must agree on new SAs in the end.
    poll_until(Duration::from_secs(30), "both ends agree on new SAs", || {
        let near = agents[0].vgw().connection("VNet2")?;
        let far = agents[1].vgw().connection("VNet1")?;
        ensure!(near["inbound_spi"].is_string() && near["inbound_spi"] != old, "old SA: {near}");
        ensure!(near["inbound_spi"] == far["outbound_spi"], "{near} {far}");
        ensure!(near["outbound_spi"] == far["inbound_spi"], "{near} {far}");
        Ok(Some(()))
    })?;
    exercise(lab, 1, 2)?;
    exercise(lab, 2, 1)?;
    no_wrong_drops_in(&agents[0].vgw().connection("VNet2")?, &agents)
}

#[test]
fn an_orderly_end_leaves_only_closed_routes() {
    scenario("an_orderly_end_leaves_only_closed_routes", 2, |lab| {
        let mut agents = lab.establish(&GatewayOptions::default())?;
        let pins = lab.scope().pin_root().join("VNet1");
        let gateway = &lab.site(1).gateway;
        assert!(
            pins.exists() && gateway.ip("link show vgw0").is_ok(),
            "the agent has pins and a tunnel interface"
        );
        agents[0].stop(Signal::SIGTERM)?;
        assert!(!pins.exists(), "{} is left behind", pins.display());
        let links = gateway.ip("link show")?;
        assert!(!links.contains("vgw0") && !links.contains("xdp"), "{links}");
        let routes = gateway.ip("route show")?;
        assert!(routes.contains("unreachable 10.2.0.0/16"), "{routes}");
        assert!(!routes.contains("vgw0"), "{routes}");
        Ok(())
    });
}

#[test]
fn nothing_crosses_the_internet_in_the_clear_without_an_agent() {
    scenario("nothing_crosses_the_internet_in_the_clear_without_an_agent", 2, |lab| {
        let mut agents = lab.establish(&GatewayOptions::default())?;
        exercise(lab, 1, 2)?;
        let site = lab.site(1);
        let routes = site.gateway.ip("route show")?;
        assert!(
            routes.contains("default via"),
            "the gateway could forward anything to the internet: {routes}"
        );
        let capture = Capture::start(&lab.inet, &site.inet_port(), b"no payload of this test")?;
        for signal in [Signal::SIGTERM, Signal::SIGKILL] {
            std::thread::scope(|scope| {
                let pings = format!("-c 40 -i 0.1 -W 1 {}", lab.site(2).host_address());
                let pinging = scope.spawn(move || ping(&site.host, &pings));
                agents[0].stop(signal)?;
                // Long enough for packets to arrive at a gateway without an agent.
                std::thread::sleep(Duration::from_millis(500));
                agents[0].start_again()?;
                let report = pinging.join().expect("ping does not panic")?;
                ensure!(report.received > 0, "{}", report.text);
                Ok::<_, anyhow::Error>(())
            })?;
            lab.wait_connected(&agents)?;
        }
        let wire = capture.stop();
        assert_eq!(wire.count(PacketClass::Plaintext), 0, "{:#?}", wire.described);
        assert!(wire.count(PacketClass::Esp) > 0, "the capture saw the tunnel");
        Ok(())
    });
}
