//! Address spaces that overlap are refused, and the refusal names both.

use testbed::{GatewayOptions, LocalSite, scenario};

#[test]
fn an_agent_refuses_overlapping_ranges_and_names_them() {
    scenario("an_agent_refuses_overlapping_ranges_and_names_them", 2, |lab| {
        let mut netcfg = lab.netcfg();
        netcfg.local_sites.push(LocalSite {
            name: "Branch".to_owned(),
            prefixes: vec!["10.1.128.0/17".to_owned()],
            gateway_address: "203.0.113.9".to_owned(),
        });
        netcfg.vnets[0].connections.push("Branch".to_owned());

        let refusal = lab.start_refused(1, &netcfg, &GatewayOptions::default())?;
        assert!(refusal.contains("10.1.0.0/16") && refusal.contains("10.1.128.0/17"), "{refusal}");
        assert!(refusal.contains("VNet1") && refusal.contains("Branch"), "{refusal}");

        // A running gateway keeps what it has.
        let agents = lab.establish(&GatewayOptions::default())?;
        let file = lab.write_netcfg(1, &netcfg)?;
        let error =
            agents[0].vgw().text(&["netcfg", "apply", &file.display().to_string()]).unwrap_err().to_string();
        assert!(error.contains("10.1.0.0/16") && error.contains("10.1.128.0/17"), "{error}");
        lab.wait_connected(&agents)?;
        lab.wait_reachable(1, 2)
    });
}
