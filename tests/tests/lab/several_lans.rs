//! One interface for both roles, and several towards the VNet.

use crate::support::{exercise, lanes, no_wrong_drops, number, with_both_engines, with_engine};
use anyhow::{Result, ensure};
use testbed::traffic::{EchoClient, UdpEcho};
use testbed::{GatewayOptions, Lab, NetNs, Site, ping, scenario, skip_unless_capable};

use std::net::Ipv4Addr;
use std::time::Duration;

#[test]
fn two_lan_interfaces_share_a_tunnel_and_speak_in_the_clear() {
    with_both_engines("two_lan_interfaces_share_a_tunnel_and_speak_in_the_clear", 2, |lab, options| {
        let (site, far) = (lab.site(1), lab.site(2));
        let second = NetNs::create(&lab.scope().namespace("host1b"))?;
        let (gateway_address, host_address) = (Ipv4Addr::new(10, 1, 2, 1), Ipv4Addr::new(10, 1, 2, 10));
        add_cable((&site.gateway, "lan1"), (&second, "eth0"))?;
        site.gateway.ip(&format!("address add {gateway_address}/24 dev lan1"))?;
        second.ip(&format!("address add {host_address}/24 dev eth0"))?;
        second.ip(&format!("route add default via {gateway_address}"))?;
        let options = GatewayOptions { more_lans: vec!["lan1".to_owned()], ..options.clone() };
        let near = lab.start_agent(1, &options)?;
        let agents =
            vec![near, lab.start_agent(2, &with_engine(options.engine.as_deref().unwrap_or("auto")))?];
        lab.set_keys(&agents, "A1b2C3D4")?;
        lab.wait_connected(&agents)?;
        exercise(lab, 1, 2)?;
        for (from, to, address) in
            [(&second, &far.host, far.host_address()), (&far.host, &second, host_address)]
        {
            let report = ping(from, &format!("-c 5 -i 0.2 -W 2 {address}"))?;
            ensure!(report.received == 5, "{}", report.text);
            let echo = UdpEcho::start(to, address)?;
            let own = if address == host_address { far.host_address() } else { host_address };
            let mut client = EchoClient::connect(from, own, echo.address())?;
            for size in [1, 1000, 4000] {
                client.exchange(size, Duration::from_secs(5))?;
            }
        }
        let sealed = || number(&agents[0].vgw().connection("VNet2")?, "packets_out");
        let before = sealed()?;
        for (from, to) in [(&site.host, host_address), (&second, site.host_address())] {
            let report = ping(from, &format!("-c 5 -i 0.2 -W 2 {to}"))?;
            ensure!(report.received == 5, "between the LANs: {}", report.text);
        }
        ensure!(sealed()? == before, "what stays in the VNet went into the tunnel");
        no_wrong_drops(&agents)?;
        Ok(agents)
    });
}

#[test]
fn one_interface_serves_both_roles() {
    let name = "one_interface_serves_both_roles";
    // Said once, not for each engine.
    if skip_unless_capable(name) {
        return;
    }
    for engine in ["kernel", "xsk"] {
        scenario(&format!("{name} (engine {engine})"), 2, |lab| {
            let site = lab.site(1);
            put_on_one_arm(lab)?;
            let options = GatewayOptions { lans: Some(vec![Site::WAN.to_owned()]), ..with_engine(engine) };
            let agents = vec![lab.start_agent(1, &options)?, lab.start_agent(2, &with_engine(engine))?];
            lab.set_keys(&agents, "A1b2C3D4")?;
            lab.wait_connected(&agents)?;
            lab.wait_reachable(1, 2)?;
            exercise(lab, 1, 2)?;
            exercise(lab, 2, 1)?;
            let status = agents[0].vgw().status()?;
            ensure!(status["engine"]["running"] == engine, "{status}");
            if engine == "xsk" {
                ensure!(lanes(&status, Site::WAN, "handed_over")? > 0, "{status}");
            }
            let shown = &status["interfaces"];
            ensure!(shown.as_array().is_some_and(|all| all.len() == 1), "{shown}");
            ensure!(shown[0]["wan"] == true && shown[0]["lan"] == true, "{shown}");
            // A neighbour cannot inject what claims to come out of the tunnel: the router stands on the same wire.
            lab.inet.ip(&format!("address add {}/32 dev lo", lab.site(2).host_address()))?;
            lab.inet.ip(&format!("route add {}/32 via {}", site.host_address(), site.wan_address()))?;
            let forged = ping(
                &lab.inet,
                &format!("-c 3 -i 0.2 -W 1 -I {} {}", lab.site(2).host_address(), site.host_address()),
            )?;
            ensure!(forged.received == 0, "{}", forged.text);
            let drops = agents[0].vgw().status()?["drops"].clone();
            ensure!(drops["unprotected"].as_u64() >= Some(3), "{drops}");
            Ok(())
        });
    }
}

/// Takes the LAN interface of site 1 away, and puts its host on a switch together with its gateway and the router.
fn put_on_one_arm(lab: &Lab) -> Result<()> {
    let site = lab.site(1);
    site.gateway.ip("link delete lan0")?;
    lab.inet.ip("link add br0 type bridge")?;
    add_cable((&site.host, Site::HOST_PORT), (&lab.inet, "host1"))?;
    site.host.face_xdp(Site::HOST_PORT)?;
    lab.inet.ip(&format!("address flush dev {}", site.inet_port()))?;
    for port in [&*site.inet_port(), "host1"] {
        lab.inet.ip(&format!("link set {port} master br0"))?;
    }
    lab.inet.ip("link set br0 up")?;
    lab.inet.ip(&format!("address add {}/24 dev br0", lab.inet_address(1)))?;
    site.gateway.ip(&format!("address add {}/24 dev wan0", site.lan_address()))?;
    site.host.ip(&format!("address add {}/24 dev eth0", site.host_address()))?;
    site.host.ip(&format!("route add default via {}", site.lan_address()))?;
    Ok(())
}

fn add_cable((near, port): (&NetNs, &str), (far, far_port): (&NetNs, &str)) -> Result<()> {
    near.ip(&format!("link add name {port} type veth peer name {far_port} netns {}", far.name()))?;
    near.ip(&format!("link set {port} up"))?;
    far.ip(&format!("link set {far_port} up"))?;
    far.face_xdp(far_port)
}
