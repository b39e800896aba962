//! Either side deletes SAs.

use crate::support::{Gateways, PATIENCE, SITE, VNET};
use anyhow::ensure;
use testbed::{GatewayOptions, poll_until, scenario};

#[test]
fn our_disconnect_deletes_the_sas_at_strongswan_and_a_connect_brings_them_back() {
    scenario("our_disconnect_deletes_the_sas_at_strongswan_and_a_connect_brings_them_back", 2, |lab| {
        let gateways = Gateways::connect(lab, &GatewayOptions::default())?;
        gateways.ours.vgw().text(&["connection", "disconnect", VNET, SITE])?;
        poll_until(PATIENCE, "strongSwan has no SA", || {
            let sas = gateways.theirs.sas()?;
            ensure!(sas.is_empty(), "{sas:#?}");
            Ok(Some(()))
        })?;
        assert!(gateways.theirs.log().contains("received DELETE for IKE_SA"), "the peer was told");
        gateways.ours.vgw().text(&["connection", "connect", VNET, SITE])?;
        gateways.wait_connected()?;
        gateways.exercise()
    });
}

#[test]
fn strongswan_deletes_the_ike_sa_and_we_connect_again() {
    scenario("strongswan_deletes_the_ike_sa_and_we_connect_again", 2, |lab| {
        let gateways = Gateways::connect(lab, &GatewayOptions::default())?;
        let old = gateways.wait_connected()?;
        gateways.theirs.delete_ike_sa(SITE)?;
        poll_until(PATIENCE, "a new IKE SA", || {
            let new = gateways.wait_connected()?;
            ensure!(new.spis != old.spis, "{new:#?}");
            Ok(Some(()))
        })?;
        gateways.exercise()
    });
}

#[test]
fn strongswan_deletes_the_child_sa_and_we_make_another() {
    scenario("strongswan_deletes_the_child_sa_and_we_make_another", 2, |lab| {
        let gateways = Gateways::connect(lab, &GatewayOptions::default())?;
        let old = gateways.wait_connected()?;
        gateways.theirs.delete_child_sa(old.children[0].id)?;
        poll_until(PATIENCE, "a new Child SA", || {
            let new = gateways.wait_connected()?;
            ensure!(new.children[0].id != old.children[0].id, "{new:#?}");
            Ok(Some(()))
        })?;
        gateways.exercise()
    });
}
