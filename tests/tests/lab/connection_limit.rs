//! A gateway has ten connections at most.

use testbed::{GatewayOptions, LocalSite, NetCfg, scenario};

#[test]
fn the_eleventh_connection_is_refused() {
    scenario("the_eleventh_connection_is_refused", 1, |lab| {
        let with_connections = |count: u8| -> NetCfg {
            let mut netcfg = lab.netcfg();
            for number in 1..=count {
                let name = format!("Branch{number}");
                netcfg.local_sites.push(LocalSite {
                    name: name.clone(),
                    prefixes: vec![format!("10.{}.0.0/16", 100 + number)],
                    gateway_address: format!("203.0.113.{number}"),
                });
                netcfg.vnets[0].connections.push(name);
            }
            netcfg
        };
        let options = GatewayOptions::default();
        let refusal = lab.start_refused(1, &with_connections(11), &options)?;
        assert!(refusal.contains("11") && refusal.contains("10"), "{refusal}");

        let agent = lab.start_agent_with(1, &with_connections(10), &options)?;
        let status = agent.vgw().status()?;
        assert_eq!(status["connections"].as_array().map(Vec::len), Some(10), "{status}");
        Ok(())
    });
}
