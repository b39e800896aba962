//! A gateway address that is not known yet can be filled in later.

use std::time::Duration;
use testbed::{GatewayOptions, scenario};

#[test]
fn the_tunnel_comes_up_when_the_placeholder_is_replaced() {
    scenario("the_tunnel_comes_up_when_the_placeholder_is_replaced", 2, |lab| {
        let mut netcfg = lab.netcfg();
        for site in &mut netcfg.local_sites {
            site.gateway_address = "0.0.0.0".to_owned();
        }
        let options = GatewayOptions::default();
        let agents =
            [lab.start_agent_with(1, &netcfg, &options)?, lab.start_agent_with(2, &netcfg, &options)?];
        lab.set_keys(&agents, "A1b2C3D4")?;
        let status = agents[0].vgw().connection("VNet2")?;
        assert_eq!(status["state"], "NotConnected", "{status}");
        assert!(status["peer"].is_null() && status["last_error"].is_string(), "{status}");

        for (agent, far) in [(&agents[0], lab.site(2)), (&agents[1], lab.site(1))] {
            let address = far.wan_address().to_string();
            agent.vgw().text(&["local-network", "set", &far.vnet(), "--gateway-address", &address])?;
        }
        let status = agents[0].wait_connected("VNet2", Duration::from_secs(30))?;
        assert_eq!(status["peer"], lab.site(2).wan_address().to_string(), "{status}");
        lab.wait_connected(&agents)?;
        lab.wait_reachable(1, 2)
    });
}
