//! Routers behind the gateways, whose own addresses lie in no VNet, can say why a packet did not arrive.

use crate::support::{exercise, no_wrong_drops, with_both_engines};
use anyhow::{Result, ensure};
use std::net::Ipv4Addr;
use testbed::{Lab, NetNs, Site, ping, run};

/// MTU of the links behind the routers.
const MTU: u32 = 1000;

/// A host in the VNet of a site that is reached through another one, which is a router here. What the router itself says to other
/// networks has an address of its own, as that of a transit link would be.
struct Behind {
    host: NetNs,
    address: Ipv4Addr,
    router: Ipv4Addr,
}

impl Behind {
    fn build(lab: &Lab, site: &Site) -> Result<Self> {
        let number = site.number();
        let router = Ipv4Addr::new(172, 16, number, 9);
        let [near, address] = [1, 5].map(|last| Ipv4Addr::new(10, number, 200, last));
        let host = NetNs::create(&lab.scope().namespace(&format!("deep{number}")))?;
        site.host.ip(&format!("link add deep0 type veth peer name eth0 netns {}", host.name()))?;
        for (namespace, port, address) in [(&site.host, "deep0", near), (&host, "eth0", address)] {
            namespace.ip(&format!("address add {address}/24 dev {port}"))?;
            namespace.ip(&format!("link set {port} up mtu {MTU}"))?;
        }
        host.ip(&format!("route add default via {near}"))?;
        site.host.sysctl("net/ipv4/ip_forward", "1")?;
        site.host.ip(&format!("address add {router}/32 dev lo"))?;
        site.host.ip(&format!("route replace default via {} src {router}", site.lan_address()))?;
        site.gateway.ip(&format!("route add 10.{number}.200.0/24 via {}", site.host_address()))?;
        Ok(Self { host, address, router })
    }
}

#[test]
fn routers_without_an_address_in_a_vnet_are_heard_through_the_tunnel() {
    with_both_engines(
        "routers_without_an_address_in_a_vnet_are_heard_through_the_tunnel",
        2,
        |lab, options| {
            let agents = lab.establish(options)?;
            exercise(lab, 1, 2)?;
            let (here, there) = (Behind::build(lab, lab.site(1))?, Behind::build(lab, lab.site(2))?);
            let target = there.address.to_string();
            let text =
                run(here.host.command("traceroute")?.args(["-n", "-q", "1", "-w", "3", "-m", "6", &target]))?;
            let hops: Vec<&str> =
                text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
            let own_router = Ipv4Addr::new(10, 1, 200, 1);
            let [first, second] = [1, 2].map(|number| lab.site(number).lan_address());
            let expected =
                [own_router, first, second, there.router, there.address].map(|hop| hop.to_string());
            ensure!(hops == expected, "{text}");

            // A packet that fits the tunnel and not the link behind it.
            let near = &lab.site(1).host;
            let too_big =
                ping(near, &format!("-I {} -M do -c 1 -W 2 -s 1300 {target}", lab.site(1).host_address()))?;
            ensure!(too_big.text.contains(&format!("From {}", there.router)), "{}", too_big.text);
            ensure!(too_big.text.contains(&format!("mtu = {MTU}")), "{}", too_big.text);
            let route = near.ip(&format!("route get {target} from {}", lab.site(1).host_address()))?;
            ensure!(route.contains(&format!("mtu {MTU}")), "the host has learned {route}");

            // What the router sends of its own accord stays where it is.
            let foreign =
                ping(&lab.site(2).host, &format!("-I {} -c 2 -i 0.2 -W 1 {}", there.router, here.address))?;
            ensure!(foreign.received == 0, "{}", foreign.text);
            let refused = &agents[1].vgw().status()?["connections"][0]["drops"]["source_outside_vnet"];
            ensure!(refused == 2, "{refused}");
            no_wrong_drops(&agents)?;
            Ok(agents)
        },
    );
}
