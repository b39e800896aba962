//! A peer with a host name.

use anyhow::ensure;
use nix::sys::signal::Signal;
use serde_json::Value;
use std::time::Duration;
use testbed::{GatewayOptions, Site, scenario};

/// Several pauses between look-ups.
const PATIENCE: Duration = Duration::from_secs(90);

#[test]
fn a_peer_is_found_by_its_name_and_followed_when_it_moves() {
    scenario("a_peer_is_found_by_its_name_and_followed_when_it_moves", 2, |lab| {
        let far = lab.site(2);
        let hosts = lab.directory().join("hosts");
        std::fs::write(&hosts, "127.0.0.1 localhost\n")?;
        let mut netcfg = lab.netcfg();
        // A domain that no name server has (RFC 6761 section 6.4).
        netcfg.local_sites[1].gateway_address = "GW2.invalid".to_owned();
        let options = GatewayOptions { hosts: Some(hosts.clone()), ..GatewayOptions::default() };
        let mut agents = vec![
            lab.start_agent_with(1, &netcfg, &options)?,
            lab.start_agent(2, &GatewayOptions::default())?,
        ];
        lab.set_keys(&agents, "A1b2C3D4")?;
        let status = testbed::poll_until(PATIENCE, "the name is not found", || {
            let status = agents[0].vgw().connection("VNet2")?;
            let error = status["last_error"].as_str().unwrap_or_default();
            ensure!(error.starts_with("cannot resolve gw2.invalid"), "{status}");
            Ok(Some(status))
        })?;
        ensure!(status["state"] == "NotConnected" && status["peer"].is_null(), "{status}");

        std::fs::write(&hosts, format!("{} gw2.invalid\n", far.wan_address()))?;
        let status = agents[0].wait_connected("VNet2", PATIENCE)?;
        ensure!(status["peer"] == far.wan_address().to_string(), "{status}");
        ensure!(status["peer_name"] == "gw2.invalid", "{status}");
        lab.wait_reachable(1, 2)?;

        // The far gateway gets another address of the same network.
        agents[1].stop(Signal::SIGTERM)?;
        let moved = far.wan_address().to_string().replace(".2", ".3");
        far.gateway.ip(&format!("address flush dev {}", Site::WAN))?;
        far.gateway.ip(&format!("address add {moved}/24 dev {}", Site::WAN))?;
        far.gateway.ip(&format!("route add default via {}", lab.inet_address(2)))?;
        std::fs::write(&hosts, format!("{moved} gw2.invalid\n"))?;
        agents[1].start_again()?;
        agents[0].wait_connection("VNet2", PATIENCE, "peer", &Value::from(moved.clone()))?;
        lab.wait_connected(&agents)?;
        lab.wait_reachable(1, 2)?;
        let events = agents[0].vgw().json(&["events"])?;
        let told: Vec<&str> =
            events.as_array().into_iter().flatten().filter_map(|event| event["message"].as_str()).collect();
        let is_told = |text: &str| told.iter().any(|message| message.contains(text));
        ensure!(is_told(&format!("gateway gw2.invalid of site VNet2 is at {moved}")), "{told:#?}");
        ensure!(is_told("cannot resolve gw2.invalid"), "{told:#?}");
        Ok(())
    });
}
