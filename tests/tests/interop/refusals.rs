//! Connections that must not come up, and what our gateway says about them.

use crate::support::{Gateways, KEY, PATIENCE, SITE, VNET, peering};
use testbed::strongswan::{Authentication, Daemon};
use testbed::{GatewayOptions, scenario};

#[test]
fn a_wrong_key_is_refused_by_strongswan_and_the_right_one_mends_it() {
    scenario("a_wrong_key_is_refused_by_strongswan_and_the_right_one_mends_it", 2, |lab| {
        let mut wrong = peering(lab, 2);
        wrong.authentication = Authentication::Psk("another key".to_owned());
        let gateways = Gateways::start(lab, &GatewayOptions::default(), &Daemon::default(), &wrong)?;
        gateways.set_key()?;
        gateways.wait_error(&["AUTHENTICATION_FAILED"])?;
        gateways.theirs.wait_logged("MAC mismatched", PATIENCE)?;
        gateways.ours.vgw().set_key(VNET, SITE, "another key")?;
        gateways.wait_connected()?;
        let status = gateways.status()?;
        assert!(!status["last_error"].to_string().contains("AUTHENTICATION_FAILED"), "{status}");
        assert!(!gateways.ours.log().contains(KEY), "the key is in the log");
        Ok(())
    });
}

#[test]
fn strongswan_without_a_common_ike_proposal_refuses_us() {
    scenario("strongswan_without_a_common_ike_proposal_refuses_us", 2, |lab| {
        let mut other = peering(lab, 2);
        other.ike_proposal = "aes128-sha256-modp8192".to_owned();
        let gateways = Gateways::start(lab, &GatewayOptions::default(), &Daemon::default(), &other)?;
        gateways.set_key()?;
        gateways.wait_error(&["peer refused our proposal", "we offered aes256gcm16"])
    });
}

#[test]
fn strongswan_without_a_common_esp_proposal_refuses_the_child_sa() {
    scenario("strongswan_without_a_common_esp_proposal_refuses_the_child_sa", 2, |lab| {
        let mut other = peering(lab, 2);
        other.esp_proposal = "aes128-sha256".to_owned();
        let gateways = Gateways::start(lab, &GatewayOptions::default(), &Daemon::default(), &other)?;
        gateways.set_key()?;
        gateways.wait_error(&["peer refused our ESP proposal", "we offered chacha20poly1305"])
    });
}
