//! Interfaces that go, come back and change, and a gateway whose address changes.

use crate::support::{events, exercise, no_wrong_drops, with_both_engines};
use anyhow::{Result, ensure};
use serde_json::Value;
use std::net::Ipv4Addr;
use std::time::Duration;
use testbed::{Agent, Lab, NetNs, Site, ping, poll_until};

/// Several looks at the interfaces, and workers that start again, on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Numbers of events.
const GONE: u64 = 240;
const RETURNED: u64 = 241;
const CHANGED: u64 = 242;
const MOVED: u64 = 245;

#[test]
fn a_lan_interface_that_is_deleted_and_made_again_is_used_again() {
    with_both_engines("a_lan_interface_that_is_deleted_and_made_again_is_used_again", 2, |lab, options| {
        let agents = lab.establish(options)?;
        exercise(lab, 1, 2)?;
        let site = lab.site(1);
        site.gateway.ip("link delete lan0")?;
        wait_missing(&agents[0], Site::LAN)?;
        let status = agents[0].vgw().connection("VNet2")?;
        ensure!(status["state"] == "Connected", "the WAN is there: {status}");
        // The gateway itself has its address on the interface that is gone, and may use its WAN address no more for this.
        add_lan(site)?;
        wait_present(&agents[0], Site::LAN)?;
        wait_engine(&agents[0], options.engine.as_deref())?;
        go_on(lab, &agents)?;
        let from_gateway = ping(&site.gateway, &format!("-c 2 -i 0.2 -W 2 {}", lab.site(2).host_address()))?;
        ensure!(from_gateway.received == 2, "the gateway's own packets: {}", from_gateway.text);
        Ok(agents)
    });
}

#[test]
fn a_wan_interface_that_is_deleted_and_made_again_is_used_again() {
    with_both_engines("a_wan_interface_that_is_deleted_and_made_again_is_used_again", 2, |lab, options| {
        let agents = lab.establish(options)?;
        exercise(lab, 2, 1)?;
        let site = lab.site(1);
        site.gateway.ip("link delete wan0")?;
        wait_missing(&agents[0], Site::WAN)?;
        let lost = ping(&site.host, &format!("-c 2 -i 0.2 -W 1 {}", lab.site(2).host_address()))?;
        ensure!(lost.received == 0, "{}", lost.text);
        add_cable((&site.gateway, Site::WAN), (&lab.inet, &site.inet_port()))?;
        site.gateway.ip(&format!("address add {}/24 dev wan0", site.wan_address()))?;
        lab.inet.ip(&format!("address add {}/24 dev {}", lab.inet_address(1), site.inet_port()))?;
        site.gateway.ip(&format!("route add default via {}", lab.inet_address(1)))?;
        wait_present(&agents[0], Site::WAN)?;
        wait_engine(&agents[0], options.engine.as_deref())?;
        go_on(lab, &agents)?;
        ensure!(events(&agents[0], MOVED)? == 0, "the address is the same");
        Ok(agents)
    });
}

#[test]
fn an_interface_that_is_renamed_is_left_alone_until_it_has_its_name_again() {
    with_both_engines(
        "an_interface_that_is_renamed_is_left_alone_until_it_has_its_name_again",
        2,
        |lab, options| {
            let agents = lab.establish(options)?;
            exercise(lab, 1, 2)?;
            let gateway = &lab.site(1).gateway;
            // An interface that is up may be renamed since Linux 6.1.
            gateway.ip("link set lan0 name other0")?;
            wait_missing(&agents[0], Site::LAN)?;
            let link = gateway.ip("link show dev other0")?;
            ensure!(!link.contains("xdp"), "the programs are still attached: {link}");
            gateway.ip("link set other0 name lan0")?;
            wait_present(&agents[0], Site::LAN)?;
            wait_engine(&agents[0], options.engine.as_deref())?;
            go_on(lab, &agents)?;
            Ok(agents)
        },
    );
}

#[test]
fn other_mac_addresses_are_followed() {
    with_both_engines("other_mac_addresses_are_followed", 2, |lab, options| {
        let agents = lab.establish(options)?;
        exercise(lab, 1, 2)?;
        let site = lab.site(1);
        for (number, (port, neighbour, far)) in
            [(Site::LAN, &site.host, Site::HOST_PORT.to_owned()), (Site::WAN, &lab.inet, site.inet_port())]
                .into_iter()
                .enumerate()
        {
            let mac = format!("02:00:00:00:77:0{number}");
            site.gateway.ip(&format!("link set {port} address {mac}"))?;
            neighbour.ip(&format!("neigh flush dev {far}"))?;
            wait_event(&agents[0], CHANGED, &format!("MAC address of interface {port} is {mac} now"))?;
            go_on(lab, &agents)?;
        }
        Ok(agents)
    });
}

#[test]
fn another_mtu_is_followed() {
    with_both_engines("another_mtu_is_followed", 2, |lab, options| {
        let agents = lab.establish(options)?;
        exercise(lab, 1, 2)?;
        // Smaller, as it was, and larger than the hosts' packets.
        for (mtu, tunnel_mtu) in [(1400, 1338), (1500, 1438), (1600, 1538)] {
            for (number, agent) in (1..).zip(&agents) {
                let site = lab.site(number);
                lab.inet.ip(&format!("link set {} mtu {mtu}", site.inet_port()))?;
                site.gateway.ip(&format!("link set wan0 mtu {mtu}"))?;
                agent.wait_connection(
                    if number == 1 { "VNet2" } else { "VNet1" },
                    PATIENCE,
                    "mtu",
                    &Value::from(tunnel_mtu),
                )?;
                wait_engine(agent, options.engine.as_deref())?;
            }
            // What the hosts have learned of a smaller MTU lasts for minutes.
            for site in lab.sites() {
                site.host.ip("route flush cache")?;
            }
            let far = lab.site(2).host_address();
            if tunnel_mtu < 1500 {
                let size =
                    |payload: u32| ping(&lab.site(1).host, &format!("-c 1 -W 2 -M do -s {payload} {far}"));
                ensure!(size(tunnel_mtu - 28)?.received == 1, "{tunnel_mtu} bytes fit");
                let refused = size(tunnel_mtu - 27)?;
                let told = format!("mtu = {tunnel_mtu}");
                ensure!(refused.received == 0, "{}", refused.text);
                ensure!(refused.text.contains(&told) || refused.text.contains("mtu="), "{}", refused.text);
            }
            go_on(lab, &agents)?;
        }
        Ok(agents)
    });
}

#[test]
fn a_gateway_whose_address_changes_goes_on_from_the_new_one() {
    with_both_engines("a_gateway_whose_address_changes_goes_on_from_the_new_one", 2, |lab, options| {
        let agents = lab.establish(options)?;
        exercise(lab, 1, 2)?;
        let (near, far) = (lab.site(1), lab.site(2));
        let [a, b, c, _] = near.wan_address().octets();
        let moved = Ipv4Addr::new(a, b, c, 7).to_string();
        std::thread::scope(|scope| {
            let traffic =
                scope.spawn(|| ping(&near.host, &format!("-c 100 -i 0.1 -W 1 {}", far.host_address())));
            near.gateway.ip(&format!("address delete {}/24 dev wan0", near.wan_address()))?;
            near.gateway.ip(&format!("address add {moved}/24 dev wan0"))?;
            near.gateway.ip(&format!("route replace default via {}", lab.inet_address(1)))?;
            let told = format!("WAN address of wan0 is {moved} now, it was {}", near.wan_address());
            wait_event(&agents[0], MOVED, &told)?;
            agents[1].vgw().text(&["local-network", "set", "VNet1", "--gateway-address", &moved])?;
            lab.wait_connected(&agents)?;
            let report = traffic.join().expect("no panic")?;
            ensure!(report.received > 0, "{}", report.text);
            Ok(())
        })?;
        let status = agents[0].vgw().status()?;
        ensure!(status["wan_address"] == *moved, "{status}");
        let addresses = near.gateway.ip("-4 address show dev vgw0")?;
        ensure!(
            addresses.contains(&moved) && !addresses.contains(&near.wan_address().to_string()),
            "{addresses}"
        );
        go_on(lab, &agents)?;
        let status = agents[1].vgw().connection("VNet1")?;
        ensure!(status["peer"] == *moved, "{status}");

        // An address that is gone for a moment, without another in its place, changes nothing.
        let spi = status["inbound_spi"].clone();
        near.gateway.ip(&format!("address delete {moved}/24 dev wan0"))?;
        std::thread::sleep(Duration::from_secs(1));
        near.gateway.ip(&format!("address add {moved}/24 dev wan0"))?;
        near.gateway.ip(&format!("route replace default via {}", lab.inet_address(1)))?;
        go_on(lab, &agents)?;
        ensure!(agents[1].vgw().connection("VNet1")?["inbound_spi"] == spi, "it is another SA");
        ensure!(events(&agents[0], MOVED)? == 1, "it moved again");
        Ok(agents)
    });
}

/// Both directions work, and nothing was dropped that should not have been.
fn go_on(lab: &Lab, agents: &[Agent]) -> Result<()> {
    lab.wait_reachable(1, 2)?;
    lab.wait_reachable(2, 1)?;
    exercise(lab, 1, 2)?;
    exercise(lab, 2, 1)?;
    no_wrong_drops(agents)
}

fn wait_missing(agent: &Agent, interface: &str) -> Result<()> {
    wait_event(agent, GONE, &format!("interface {interface} is gone"))?;
    let shown = interface_of(agent, interface)?;
    ensure!(shown["index"].is_null() && shown["problem"].is_string(), "{shown}");
    let text = agent.vgw().text(&["status"])?;
    ensure!(text.contains(&format!("WARNING: interface {interface} carries nothing")), "{text}");
    Ok(())
}

fn wait_present(agent: &Agent, interface: &str) -> Result<()> {
    wait_event(agent, RETURNED, &format!("interface {interface} is there again"))?;
    let shown = interface_of(agent, interface)?;
    ensure!(shown["index"].is_number() && shown["problem"].is_null(), "{shown}");
    Ok(())
}

fn interface_of(agent: &Agent, interface: &str) -> Result<Value> {
    let status = agent.vgw().status()?;
    let found =
        status["interfaces"].as_array().into_iter().flatten().find(|shown| shown["name"] == interface);
    Ok(found.cloned().unwrap_or_default())
}

fn wait_engine(agent: &Agent, engine: Option<&str>) -> Result<()> {
    poll_until(PATIENCE, "the engine runs again", || {
        let status = agent.vgw().status()?;
        ensure!(status["engine"]["running"] == engine.unwrap_or("kernel"), "{status}");
        let workers = status["engine"]["workers"].as_array().into_iter().flatten();
        let interfaces: Vec<_> = workers.filter_map(|worker| worker["lanes"].as_array()).flatten().collect();
        let serves = |name: &str| interfaces.iter().any(|lane| lane["interface"] == name);
        let all = engine != Some("xsk") || (serves(Site::LAN) && serves(Site::WAN));
        Ok(all.then_some(()))
    })
}

fn wait_event(agent: &Agent, number: u64, text: &str) -> Result<()> {
    poll_until(PATIENCE, text, || {
        let events = agent.vgw().json(&["events"])?;
        let is_it = |event: &Value| {
            event["number"] == number
                && event["message"].as_str().is_some_and(|message| message.starts_with(text))
        };
        ensure!(events.as_array().into_iter().flatten().any(is_it), "{events}");
        Ok(Some(()))
    })
}

/// Makes the cable between a gateway and its host again.
fn add_lan(site: &Site) -> Result<()> {
    add_cable((&site.gateway, Site::LAN), (&site.host, Site::HOST_PORT))?;
    site.gateway.ip(&format!("address add {}/24 dev lan0", site.lan_address()))?;
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
