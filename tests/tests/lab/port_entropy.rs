//! One tunnel in UDP whose source ports tell inner flows apart.

use crate::support::{exercise, no_wrong_drops};
use anyhow::Result;
use std::collections::BTreeSet;
use std::time::Duration;
use testbed::traffic::{EchoClient, UdpEcho};
use testbed::{Capture, CaptureReport, GatewayOptions, Lab, PacketClass, scenario, scenario_in};

const FLOWS: usize = 12;
/// The first of the ports that flows may have.
const FIRST: u16 = 49_152;
const IKE_PORT: u16 = 4500;

fn options() -> GatewayOptions {
    GatewayOptions {
        engine: Some("kernel".to_owned()),
        force_udp_encapsulation: true,
        udp_port_entropy: true,
        ..GatewayOptions::default()
    }
}

/// What is on the wire while each of `flows` flows from host 1 to host 2 and back exchanges ten datagrams.
fn watch(lab: &Lab, flows: usize) -> Result<CaptureReport> {
    let (near, far) = (lab.site(1), lab.site(2));
    let capture = Capture::start(&lab.inet, &near.inet_port(), b"no payload of this test")?;
    for _ in 0..flows {
        let echo = UdpEcho::start(&far.host, far.host_address())?;
        let mut client = EchoClient::connect(&near.host, near.host_address(), echo.address())?;
        for size in 1..=10 {
            client.exchange(size * 100, Duration::from_secs(5))?;
        }
    }
    Ok(capture.stop())
}

#[test]
fn flows_have_source_ports_of_their_own_on_the_wire() {
    scenario("flows_have_source_ports_of_their_own_on_the_wire", 2, |lab| {
        let agents = lab.establish(&options())?;
        let one = watch(lab, 1)?;
        let many = watch(lab, FLOWS)?;
        for number in [1, 2] {
            let gateway = lab.site(number).wan_address();
            assert_eq!(one.esp_ports(gateway).len(), 1, "one flow keeps its port: {:#?}", one.described);
            let ports = many.esp_ports(gateway);
            assert!(ports.len() > FLOWS / 2, "{ports:?}");
            assert!(ports.iter().all(|port| *port >= FIRST), "{ports:?}");
        }
        assert_eq!(many.count(PacketClass::Plaintext), 0, "{:#?}", many.described);
        // Everything else works as ever.
        exercise(lab, 1, 2)?;
        exercise(lab, 2, 1)?;
        no_wrong_drops(&agents)?;
        Ok(())
    });
}

#[test]
fn behind_a_nat_the_source_port_stays_that_of_ike() {
    let name = "behind_a_nat_the_source_port_stays_that_of_ike";
    scenario_in(
        name,
        |lab| lab.sites(2).behind_nat(2),
        |lab| {
            let agents = [lab.start_agent(1, &GatewayOptions::default())?, lab.start_agent(2, &options())?];
            lab.set_keys(&agents, "A1b2C3D4")?;
            lab.wait_connected(&agents)?;
            lab.wait_reachable(1, 2)?;
            let wire = watch(lab, FLOWS)?;
            // The translation maps the one port of IKE to one port of its own, and the peer answers to that.
            let translated = wire.esp_ports(lab.site(2).wan_address());
            assert_eq!(translated.len(), 1, "{:#?}", wire.described);
            let peer = wire.esp_ports(lab.site(1).wan_address());
            assert_eq!(peer, BTreeSet::from([IKE_PORT]), "{:#?}", wire.described);
            Ok(())
        },
    );
}
