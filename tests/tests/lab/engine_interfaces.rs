//! Interfaces that come and go under a worker.

use crate::support::{exercise, first_worker, lanes, with_engine};
use anyhow::ensure;
use std::time::Duration;
use testbed::{Site, ping, poll_until, scenario};

#[test]
fn a_port_that_was_down_is_served_by_the_same_worker() {
    scenario("a_port_that_was_down_is_served_by_the_same_worker", 2, |lab| {
        let agents = lab.establish(&with_engine("xsk"))?;
        exercise(lab, 1, 2)?;
        let worker = first_worker(&agents[0])?;
        let (near, far) = (lab.site(1), lab.site(2));
        let handed = || {
            let status = agents[0].vgw().status()?;
            Ok::<_, anyhow::Error>((
                lanes(&status, Site::LAN, "handed_over")?,
                lanes(&status, Site::WAN, "handed_over")?,
            ))
        };
        for port in [Site::LAN, Site::WAN] {
            near.gateway.ip(&format!("link set {port} down"))?;
            // From both sides: what is opened has nowhere to go, what is sealed neither.
            for (from, to) in [(near, far), (far, near)] {
                let lost = ping(&from.host, &format!("-c 3 -i 0.2 -W 1 {}", to.host_address()))?;
                ensure!(lost.received == 0, "{}", lost.text);
            }
            near.gateway.ip(&format!("link set {port} up"))?;
            if port == Site::WAN {
                near.gateway.ip(&format!("route replace default via {}", near_router(near)))?;
            }
            poll_until(Duration::from_secs(30), "packets go through again", || {
                let report = ping(&near.host, &format!("-c 1 -W 1 {}", far.host_address()))?;
                Ok((report.received == 1).then_some(()))
            })?;
            let before = handed()?;
            exercise(lab, 1, 2)?;
            exercise(lab, 2, 1)?;
            let after = handed()?;
            ensure!(after.0 > before.0 + 1000 && after.1 > before.1 + 1000, "{before:?}, then {after:?}");
            ensure!(first_worker(&agents[0])? == worker, "another worker took over");
        }
        Ok(())
    });
}

/// The router of a gateway: the internet's end of its cable.
fn near_router(site: &Site) -> std::net::Ipv4Addr {
    let [a, b, c, _] = site.gateway_address().octets();
    std::net::Ipv4Addr::new(a, b, c, 1)
}
