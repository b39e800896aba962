//! One gateway of ours is connected to two gateways of strongSwan's at once.

use crate::support::{KEY, PATIENCE, VNET, exercise, peering, start_charon};
use nix::sys::signal::Signal;
use testbed::strongswan::{Authentication, Daemon};
use testbed::{GatewayOptions, ping, scenario};

#[test]
fn two_strongswans_with_different_keys_and_algorithms_are_connected_at_once() {
    scenario("two_strongswans_with_different_keys_and_algorithms_are_connected_at_once", 3, |lab| {
        let mut far = [peering(lab, 2), peering(lab, 3)];
        far[1].authentication = Authentication::Psk("another key".to_owned());
        far[1].ike_proposal = "aes128gcm16-prfsha256-ecp256".to_owned();
        far[1].esp_proposal = "chacha20poly1305-ecp256".to_owned();
        let mut charons = Vec::new();
        for (number, peering) in [2, 3].into_iter().zip(&far) {
            charons.push(start_charon(lab, number, &Daemon::default(), peering)?);
        }
        let ours = lab.start_agent(1, &GatewayOptions::default())?;
        ours.vgw().set_key(VNET, "VNet2", KEY)?;
        ours.vgw().set_key(VNET, "VNet3", "another key")?;
        for site in ["VNet2", "VNet3"] {
            ours.wait_connected(site, PATIENCE)?;
        }
        for (number, charon) in [2, 3].into_iter().zip(&charons) {
            charon.wait_settled(&format!("VNet{number}"), PATIENCE)?;
            exercise(lab, number)?;
        }
        let algorithm = ours.vgw().connection("VNet3")?["esp_algorithm"].clone();
        assert!(algorithm.as_str().is_some_and(|name| name.starts_with("chacha20poly1305")), "{algorithm}");

        // The end of one is nothing to the other.
        charons[1].stop(Signal::SIGTERM)?;
        let report = ping(&lab.site(1).host, &format!("-c 10 -i 0.1 -W 3 {}", lab.site(2).host_address()))?;
        assert_eq!(report.received, 10, "{}", report.text);
        assert_eq!(ours.vgw().connection("VNet2")?["state"], "Connected");
        Ok(())
    });
}
