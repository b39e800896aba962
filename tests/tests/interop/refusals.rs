//! Connections that must not come up, and what our gateway says about them.

use crate::support::{Gateways, KEY, PATIENCE, SITE, VNET, peering};
use anyhow::{Result, ensure};
use testbed::strongswan::{Authentication, Daemon, Peering};
use testbed::{GatewayOptions, Lab, scenario};

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
        // Without it the order of our offer would depend on the engine and on this machine's CPU.
        let ours =
            GatewayOptions { esp_proposal: Some("chacha20poly1305".to_owned()), ..GatewayOptions::default() };
        let gateways = Gateways::start(lab, &ours, &Daemon::default(), &other)?;
        gateways.set_key()?;
        gateways.wait_error(&["peer refused our ESP proposal", "we offered chacha20poly1305"])
    });
}

#[test]
fn strongswan_with_a_wrong_key_is_refused() {
    scenario("strongswan_with_a_wrong_key_is_refused", 2, |lab| {
        let mut wrong = peering(lab, 2);
        wrong.authentication = Authentication::Psk("another key".to_owned());
        refused(lab, &wrong, &[], "AUTH_FAILED", &["authentication"])
    });
}

#[test]
fn strongswan_that_offers_no_common_ike_proposal_is_refused() {
    scenario("strongswan_that_offers_no_common_ike_proposal_is_refused", 2, |lab| {
        let mut other = peering(lab, 2);
        other.ike_proposal = "aes256gcm16-prfsha384-modp8192".to_owned();
        refused(lab, &other, &[], "NO_PROP", &["no common proposal", "DH group"])
    });
}

#[test]
fn strongswan_that_offers_no_common_esp_proposal_is_refused() {
    scenario("strongswan_that_offers_no_common_esp_proposal_is_refused", 2, |lab| {
        let mut other = peering(lab, 2);
        other.esp_proposal = "aes128-sha256".to_owned();
        refused(lab, &other, &[], "NO_PROP", &["no common proposal", "encryption"])
    });
}

#[test]
fn strongswan_under_another_name_is_refused() {
    scenario("strongswan_under_another_name_is_refused", 2, |lab| {
        let mut other = peering(lab, 2);
        other.local_id = Some("other.example".to_owned());
        refused(
            lab,
            &other,
            &["--remote-id", "gw2.example"],
            "AUTH_FAILED",
            &["other.example", "gw2.example"],
        )
    });
}

#[test]
fn strongswan_that_offers_other_traffic_selectors_is_refused() {
    scenario("strongswan_that_offers_other_traffic_selectors_is_refused", 2, |lab| {
        let mut other = peering(lab, 2);
        other.remote_selectors = vec!["10.99.0.0/16".to_owned()];
        refused(
            lab,
            &other,
            &["--traffic-selectors", "prefixes"],
            "TS_UNACCEPT",
            &["no common traffic selectors"],
        )
    });
}

#[test]
fn we_do_not_connect_to_strongswan_under_another_name() {
    scenario("we_do_not_connect_to_strongswan_under_another_name", 2, |lab| {
        let mut other = peering(lab, 2);
        other.local_id = Some("other.example".to_owned());
        let gateways = Gateways::start(lab, &GatewayOptions::default(), &Daemon::default(), &other)?;
        gateways.configure(&["--mode", "initiator", "--remote-id", "gw2.example"])?;
        gateways.set_key()?;
        // strongSwan is told whom we want to talk to, and is not that.
        gateways.wait_error(&["AUTHENTICATION_FAILED"])?;
        gateways.theirs.wait_logged("no matching peer config found", PATIENCE)?;
        gateways.configure(&["--remote-id", "other.example"])?;
        gateways.wait_connected().map(drop)
    });
}

#[test]
fn strongswan_that_expects_another_name_refuses_us() {
    scenario("strongswan_that_expects_another_name_refuses_us", 2, |lab| {
        let mut other = peering(lab, 2);
        other.remote_id = Some("gw1.example".to_owned());
        let gateways = Gateways::start(lab, &GatewayOptions::default(), &Daemon::default(), &other)?;
        gateways.configure(&["--mode", "initiator"])?;
        gateways.set_key()?;
        gateways.wait_error(&["AUTHENTICATION_FAILED"])?;
        gateways.configure(&["--local-id", "gw1.example"])?;
        gateways.wait_connected().map(drop)
    });
}

#[test]
fn strongswan_with_other_traffic_selectors_refuses_the_child_sa() {
    scenario("strongswan_with_other_traffic_selectors_refuses_the_child_sa", 2, |lab| {
        let mut other = peering(lab, 2);
        other.remote_selectors = vec!["10.99.0.0/16".to_owned()];
        let gateways = Gateways::start(lab, &GatewayOptions::default(), &Daemon::default(), &other)?;
        gateways.configure(&["--mode", "initiator", "--traffic-selectors", "prefixes"])?;
        gateways.set_key()?;
        gateways.wait_error(&["peer refused our traffic selectors", "10.1.0.0"])
    });
}

/// Lets strongSwan initiate with `theirs`. It must be told `notification`, and our status must name all `parts` of the
/// reason. `ours` are parameters of our end.
fn refused(lab: &Lab, theirs: &Peering, ours: &[&str], notification: &str, parts: &[&str]) -> Result<()> {
    let gateways = Gateways::start(lab, &GatewayOptions::default(), &Daemon::default(), theirs)?;
    gateways.configure(&[&["--mode", "responder"], ours].concat())?;
    gateways.set_key()?;
    ensure!(gateways.theirs.initiate(SITE).is_err(), "the connection came up");
    gateways.theirs.wait_logged(&format!("N({notification})"), PATIENCE)?;
    gateways.wait_error(parts)?;
    ensure!(gateways.status()?["state"] != "Connected");
    Ok(())
}
