//! A connection whose ends have different keys says so.

use anyhow::ensure;
use std::time::Duration;
use testbed::{GatewayOptions, ping, poll_until, scenario};

#[test]
fn different_keys_end_in_authentication_failed_and_equal_ones_mend_it() {
    scenario("different_keys_end_in_authentication_failed_and_equal_ones_mend_it", 2, |lab| {
        let options = GatewayOptions::default();
        let agents = [lab.start_agent(1, &options)?, lab.start_agent(2, &options)?];
        agents[0].vgw().set_key("VNet1", "VNet2", "A1b2C3D4")?;
        agents[1].vgw().set_key("VNet2", "VNet1", "A1b2C3D5")?;
        for (agent, site) in agents.iter().zip(["VNet2", "VNet1"]) {
            poll_until(Duration::from_secs(20), "AUTHENTICATION_FAILED in the status", || {
                let status = agent.vgw().connection(site)?;
                let error = status["last_error"].as_str().unwrap_or_default();
                ensure!(error.contains("AUTHENTICATION_FAILED"), "the status is {status}");
                ensure!(status["state"] != "Connected", "the status is {status}");
                Ok(Some(()))
            })?;
        }
        let report = ping(&lab.site(1).host, &format!("-c 2 -i 0.2 -W 1 {}", lab.site(2).host_address()))?;
        assert_eq!(report.received, 0, "{}", report.text);

        agents[1].vgw().set_key("VNet2", "VNet1", "A1b2C3D4")?;
        lab.wait_connected(&agents)?;
        lab.wait_reachable(1, 2)
    });
}
