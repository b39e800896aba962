//! Connecting with what our gateway offers by default.

use crate::support::{Gateways, PATIENCE, SITE, peering};
use std::time::Duration;
use testbed::strongswan::Daemon;
use testbed::{Capture, GatewayOptions, PacketClass, scenario};

#[test]
fn we_initiate_with_default_proposals_and_only_ipsec_crosses_the_internet() {
    scenario("we_initiate_with_default_proposals_and_only_ipsec_crosses_the_internet", 2, |lab| {
        let capture = Capture::start(&lab.inet, &lab.site(1).inet_port(), b"no payload of this test")?;
        let gateways = Gateways::connect(lab, &GatewayOptions::default())?;
        gateways.exercise()?;
        let wire = capture.stop();
        assert_eq!(wire.count(PacketClass::Plaintext), 0, "{:#?}", wire.described);
        // libipsec makes both ends find a NAT.
        assert!(wire.count(PacketClass::EspInUdp) > 100 && wire.count(PacketClass::Esp) == 0, "{wire:?}");
        let theirs = gateways.wait_connected()?;
        assert!(!theirs.initiator, "{theirs:#?}");
        assert_eq!(theirs.children[0].local_selectors, lab.site(2).prefix(), "{theirs:#?}");
        Ok(())
    });
}

#[test]
fn strongswan_without_child_sas_for_single_queues_is_not_asked_for_them() {
    let name = "strongswan_without_child_sas_for_single_queues_is_not_asked_for_them";
    scenario(name, 2, |lab| {
        let options = GatewayOptions { child_sas: Some(4), ..GatewayOptions::default() };
        let gateways = Gateways::connect(lab, &options)?;
        let site = lab.site(1);
        let capture = Capture::start(&lab.inet, &site.inet_port(), b"never sent")?;
        std::thread::sleep(Duration::from_secs(12));
        let status = gateways.status()?;
        assert_eq!(status["queue_sas_agreed"], false, "{status}");
        assert_eq!(status["queue_sas"], serde_json::json!([]), "{status}");
        let asked = capture.stop().ike_requests(site.wan_address());
        assert_eq!(asked, 0, "requests after the connection was up");
        gateways.wait_connected()?;
        gateways.exercise()
    });
}

#[test]
fn both_initiate_at_once_and_one_connection_is_left() {
    scenario("both_initiate_at_once_and_one_connection_is_left", 2, |lab| {
        let daemon = Daemon::default();
        let gateways = Gateways::start(lab, &GatewayOptions::default(), &daemon, &peering(lab, 2))?;
        std::thread::scope(|scope| {
            // Its outcome may be that of the IKE SA that does not stay.
            let theirs = scope.spawn(|| gateways.theirs.initiate(SITE));
            let ours = gateways.set_key();
            let _ = theirs.join().expect("the command does not panic");
            ours
        })?;
        gateways.ours.wait_connected(SITE, PATIENCE)?;
        gateways.wait_connected()?;
        gateways.exercise()
    });
}
