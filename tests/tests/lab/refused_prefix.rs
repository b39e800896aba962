//! A prefix that the kernel refuses to route, because it has a route already.

use std::fs;

use anyhow::{Result, ensure};
use testbed::{GatewayOptions, LocalSite, scenario};

#[test]
fn a_prefix_with_another_route_keeps_its_own_connection_down_and_no_other() {
    scenario("a_prefix_with_another_route_keeps_its_own_connection_down_and_no_other", 1, |lab| {
        let gateway = &lab.site(1).gateway;
        let agent = lab.start_agent(1, &GatewayOptions::default())?;
        let mut netcfg = lab.netcfg();
        for number in 1..=3 {
            let name = format!("Branch{number}");
            netcfg.local_sites.push(LocalSite {
                name: name.clone(),
                prefixes: vec![format!("10.10{number}.0.0/16"), format!("10.11{number}.0.0/16")],
                gateway_address: format!("203.0.113.{number}"),
            });
            netcfg.vnets[0].connections.push(name);
        }
        let file = lab.directory().join("changed.xml");
        fs::write(&file, netcfg.to_xml())?;
        let apply = || agent.vgw().text(&["netcfg", "apply", &file.display().to_string()]);
        let routes = || gateway.ip("route show dev vgw0 proto 202");

        gateway.ip("route add blackhole 10.102.0.0/16")?;
        let refusal = format!("{:#}", apply().expect_err("one prefix cannot be routed"));
        ensure!(refusal.contains("10.102.0.0/16") && refusal.contains("another route"), "{refusal}");
        ensure!(refusal.contains("Branch2") && !refusal.contains("Branch1"), "{refusal}");
        let error = |site: &str| -> Result<String> {
            Ok(agent.vgw().connection(site)?["last_error"].as_str().unwrap_or_default().to_owned())
        };
        ensure!(error("Branch2")?.contains("10.102.0.0/16"), "{}", error("Branch2")?);
        for site in ["Branch1", "Branch3"] {
            ensure!(error(site)?.contains("no shared key"), "{site} has its tunnel: {}", error(site)?);
        }
        ensure!(routes()?.lines().count() == 5, "{}", routes()?);

        gateway.ip("route del blackhole 10.102.0.0/16")?;
        apply()?;
        ensure!(routes()?.lines().count() == 6, "{}", routes()?);
        ensure!(error("Branch2")?.contains("no shared key"), "{}", error("Branch2")?);
        Ok(())
    });
}
