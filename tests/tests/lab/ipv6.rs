//! IPv4 and IPv6, inside and outside of tunnels: all four combinations.

use crate::support::{no_wrong_drops, number, with_engine};
use anyhow::{Result, ensure};
use std::time::Duration;
use testbed::traffic::{EchoClient, StreamSink, UdpEcho, send_stream};
use testbed::{
    Agent, Capture, Family, GatewayOptions, Lab, PacketClass, Site, ping, run, scenario_in,
    skip_unless_capable, wait_until,
};

/// Payload sizes around everything that matters: padding, cipher blocks, the MTUs of tunnels and hosts, the maximum of IPv4.
const SIZES: [usize; 34] = [
    0, 1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 500, 1000, 1232, 1300, 1350, 1360, 1368,
    1370, 1390, 1398, 1410, 1452, 1472, 2000, 4000, 9000, 65_507,
];

/// Runs `body` for each engine and each outer family in a laboratory whose gateways are connected.
fn with_all(name: &str, body: impl Fn(&Lab, Family, &[Agent]) -> Result<()>) {
    // Said once, not for each combination.
    if skip_unless_capable(name) {
        return;
    }
    for engine in ["kernel", "xsk"] {
        for outer in Family::ALL {
            let name = format!("{name} (engine {engine}, outer {outer:?})");
            scenario_in(
                &name,
                |lab| lab.sites(2).dual_stack(),
                |lab| {
                    let agents = lab.establish_over(outer, &with_engine(engine))?;
                    body(lab, outer, &agents)?;
                    let status = agents[0].vgw().status()?;
                    ensure!(status["engine"]["running"] == engine, "{status}");
                    no_wrong_drops(&agents)
                },
            );
        }
    }
}

/// Both directions with both inner families.
fn ways(lab: &Lab) -> impl Iterator<Item = (&Site, &Site, Family)> {
    let directions = [(1, 2), (2, 1)];
    directions
        .into_iter()
        .flat_map(|(from, to)| Family::ALL.map(|family| (lab.site(from), lab.site(to), family)))
}

/// Lets the near host learn the MTU of the path: IPv6 routers do not fragment, so what is too large for it is lost once.
fn learn_mtu(near: &Site, far: &Site, family: Family) -> Result<()> {
    let target = far.host_address_of(family);
    wait_until(Duration::from_secs(10), "the host learns the MTU", || {
        ping(&near.host, &format!("{} -M do -c 1 -W 1 -s 1440 {target}", family.option()))?;
        Ok(near.host.ip(&format!("route get {target}"))?.contains(" mtu 1"))
    })
}

#[test]
fn icmp_udp_and_tcp_of_both_families_work_over_both() {
    with_all("icmp_udp_and_tcp_of_both_families_work_over_both", |lab, outer, agents| {
        let status = agents[0].vgw().connection("VNet2")?;
        ensure!(status["peer"] == lab.site(2).wan_address_of(outer).to_string(), "{status}");
        let needle = b"sixteen readable";
        let pattern = format!("{:032x}", u128::from_be_bytes(*needle));
        let capture = Capture::start(&lab.inet, &lab.site(1).inet_port(), needle)?;
        for (near, far, family) in ways(lab) {
            let target = far.host_address_of(family);
            let report =
                ping(&near.host, &format!("{} -c 5 -i 0.1 -W 2 -p {pattern} {target}", family.option()))?;
            ensure!(report.received == 5, "{}", report.text);
        }
        let wire = capture.stop();
        ensure!(wire.count(PacketClass::Plaintext) == 0, "{:#?}", wire.described);
        ensure!(wire.count(PacketClass::Esp) == 40, "{:#?}", wire.described);
        for (near, far, family) in ways(lab) {
            let sink = StreamSink::start(&far.host, far.host_address_of(family))?;
            let sent = send_stream(&near.host, sink.address(), Duration::from_secs(1))?;
            ensure!(sink.finish()? == sent && sent > 1 << 20, "{sent} bytes were sent");
        }
        Ok(())
    });
}

#[test]
fn datagrams_of_all_sizes_and_families_arrive_unchanged() {
    with_all("datagrams_of_all_sizes_and_families_arrive_unchanged", |lab, _, _| {
        for (near, far, family) in ways(lab) {
            for (one, other) in [(near, far), (far, near)] {
                learn_mtu(one, other, family)?;
            }
            let echo = UdpEcho::start(&far.host, far.host_address_of(family))?;
            let mut client = EchoClient::connect(&near.host, near.host_address_of(family), echo.address())?;
            for size in SIZES {
                client.exchange(size, Duration::from_secs(5))?;
            }
        }
        Ok(())
    });
}

#[test]
fn what_is_too_big_for_the_tunnel_is_answered_with_its_mtu() {
    with_all("what_is_too_big_for_the_tunnel_is_answered_with_its_mtu", |lab, _, agents| {
        let (near, far) = (lab.site(1), lab.site(2));
        let mtu = number(&agents[0].vgw().connection("VNet2")?, "mtu")?;
        ensure!(mtu == 1418, "room for an outer IPv6 header: {mtu}");
        for (family, headers) in [(Family::V4, 28), (Family::V6, 48)] {
            let (option, target) = (family.option(), far.host_address_of(family));
            let too_big =
                ping(&near.host, &format!("{option} -M do -c 1 -W 2 -s {} {target}", 1500 - headers))?;
            ensure!(too_big.received == 0, "{}", too_big.text);
            ensure!(too_big.text.contains(&near.lan_address_of(family).to_string()), "{}", too_big.text);
            let route = near.host.ip(&format!("route get {target}"))?;
            ensure!(route.contains(&format!("mtu {mtu}")), "the host has learned {route}");
            let fits =
                ping(&near.host, &format!("{option} -M do -c 2 -i 0.2 -W 2 -s {} {target}", mtu - headers))?;
            ensure!(fits.received == 2, "{}", fits.text);
        }
        Ok(())
    });
}

#[test]
fn traceroute_of_both_families_shows_both_gateways_and_nothing_between() {
    with_all("traceroute_of_both_families_shows_both_gateways_and_nothing_between", |lab, _, _| {
        for (near, far, family) in ways(lab) {
            let target = far.host_address_of(family).to_string();
            let mut traceroute = near.host.command("traceroute")?;
            let text =
                run(traceroute.args([family.option(), "-n", "-q", "1", "-w", "3", "-m", "5", &target]))?;
            let hops: Vec<&str> =
                text.lines().skip(1).filter_map(|line| line.split_whitespace().nth(1)).collect();
            let gateways = [near, far].map(|site| site.lan_address_of(family).to_string());
            ensure!(hops == [&*gateways[0], &*gateways[1], &*target], "{text}");
        }
        Ok(())
    });
}

#[test]
fn the_gateway_itself_and_forgotten_neighbours_of_both_families_are_reached() {
    with_all("the_gateway_itself_and_forgotten_neighbours_of_both_families_are_reached", |lab, _, _| {
        for (near, far, family) in ways(lab) {
            let option = family.option();
            for target in [far.host_address_of(family), far.lan_address_of(family)] {
                let report = ping(&near.gateway, &format!("{option} -c 3 -i 0.2 -W 2 {target}"))?;
                ensure!(report.received == 3, "{}", report.text);
            }
            let echo = UdpEcho::start(&far.host, far.host_address_of(family))?;
            let mut client = EchoClient::connect(&near.host, near.host_address_of(family), echo.address())?;
            for _ in 0..3 {
                for site in [near, far] {
                    for family in Family::ALL {
                        site.gateway.ip(&format!("{} neighbour flush all", family.option()))?;
                    }
                }
                // Not one packet may be lost: whoever waits for an address keeps the packet.
                client.exchange(200, Duration::from_secs(5))?;
            }
        }
        Ok(())
    });
}

#[test]
fn esp_in_udp_carries_both_families_over_both() {
    let name = "esp_in_udp_carries_both_families_over_both";
    if skip_unless_capable(name) {
        return;
    }
    for outer in Family::ALL {
        scenario_in(
            &format!("{name} (outer {outer:?})"),
            |lab| lab.sites(2).dual_stack(),
            |lab| {
                let options = GatewayOptions { force_udp_encapsulation: true, ..GatewayOptions::default() };
                let agents = lab.establish_over(outer, &options)?;
                let capture = Capture::start(&lab.inet, &lab.site(1).inet_port(), b"never sent")?;
                for (near, far, family) in ways(lab) {
                    for (one, other) in [(near, far), (far, near)] {
                        learn_mtu(one, other, family)?;
                    }
                    let echo = UdpEcho::start(&far.host, far.host_address_of(family))?;
                    let mut client =
                        EchoClient::connect(&near.host, near.host_address_of(family), echo.address())?;
                    for size in [1, 1000, 1300, 4000] {
                        client.exchange(size, Duration::from_secs(5))?;
                    }
                }
                let wire = capture.stop();
                ensure!(wire.count(PacketClass::EspInUdp) >= 32, "{:#?}", wire.described);
                ensure!(wire.count(PacketClass::Esp) + wire.count(PacketClass::Plaintext) == 0, "{wire:?}");
                no_wrong_drops(&agents)
            },
        );
    }
}
