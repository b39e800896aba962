//! Two gateways with the same key connect, and the internet sees nothing but IPsec.

use crate::support::{exercise, no_wrong_drops};
use testbed::{Capture, GatewayOptions, PacketClass, ping, scenario};

#[test]
fn two_vnets_connect_and_only_ipsec_crosses_the_internet() {
    scenario("two_vnets_connect_and_only_ipsec_crosses_the_internet", 2, |lab| {
        let agents = lab.establish(&GatewayOptions::default())?;
        // The payload of the pings: must not be readable anywhere on the wire.
        let needle = b"sixteen readable";
        let pattern = format!("{:032x}", u128::from_be_bytes(*needle));
        let capture = Capture::start(&lab.inet, &lab.site(1).inet_port(), needle)?;
        for (from, to) in [(1, 2), (2, 1)] {
            let target = lab.site(to).host_address();
            let report = ping(&lab.site(from).host, &format!("-c 10 -i 0.1 -W 2 -p {pattern} {target}"))?;
            assert_eq!(report.received, 10, "{}", report.text);
        }
        let wire = capture.stop();
        assert_eq!(wire.count(PacketClass::Plaintext), 0, "{:#?}", wire.described);
        assert_eq!(wire.count(PacketClass::Esp), 40, "{:#?}", wire.described);

        exercise(lab, 1, 2)?;
        no_wrong_drops(&agents)?;
        Ok(())
    });
}

#[test]
fn a_host_of_an_unconnected_network_is_not_reached() {
    scenario("a_host_of_an_unconnected_network_is_not_reached", 3, |lab| {
        let _agents = lab.establish(&GatewayOptions::default())?;
        lab.wait_reachable(1, 3)?;
        // VNet 2 and VNet 3 are both connected to VNet 1, which is not transit between them.
        let report = ping(&lab.site(2).host, &format!("-c 3 -i 0.2 -W 1 {}", lab.site(3).host_address()))?;
        assert_eq!(report.received, 0, "{}", report.text);
        Ok(())
    });
}
