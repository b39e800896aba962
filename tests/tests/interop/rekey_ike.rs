//! Either side rekeys the IKE SA under traffic.

use crate::support::{Gateways, PATIENCE, SITE, VNET, under_traffic};
use anyhow::{Result, ensure};
use std::time::Duration;
use testbed::strongswan::IkeSa;
use testbed::{GatewayOptions, poll_until, scenario};

const STREAM: Duration = Duration::from_secs(8);

/// Seconds: the shortest lifetime of an IKE SA.
const LIFETIME: u32 = 10;

#[test]
fn strongswan_rekeys_the_ike_sa_and_nothing_is_lost() {
    scenario("strongswan_rekeys_the_ike_sa_and_nothing_is_lost", 2, |lab| {
        let gateways = Gateways::connect(lab, &GatewayOptions::default())?;
        rekeyed(&gateways, true, || gateways.theirs.rekey_ike_sa(SITE))
    });
}

#[test]
fn we_rekey_the_ike_sa_and_nothing_is_lost() {
    scenario("we_rekey_the_ike_sa_and_nothing_is_lost", 2, |lab| {
        let gateways = Gateways::connect(lab, &GatewayOptions::default())?;
        rekeyed(&gateways, false, || {
            gateways.ours.vgw().text(&["connection", "rekey", VNET, SITE, "--ike"]).map(drop)
        })
    });
}

#[test]
fn our_ike_sa_is_rekeyed_at_the_end_of_its_lifetime() {
    scenario("our_ike_sa_is_rekeyed_at_the_end_of_its_lifetime", 2, |lab| {
        let options = GatewayOptions { ike_lifetime: Some(LIFETIME), ..GatewayOptions::default() };
        let gateways = Gateways::connect(lab, &options)?;
        let old = gateways.wait_connected()?;
        another_ike_sa(&gateways, &old).map(drop)
    });
}

/// Lets `rekey` run three times under traffic; strongSwan is the initiator of each new SA, or not. The new IKE SA can do
/// what the old one could: the Child SA moves over, and is rekeyed and deleted there.
fn rekeyed(gateways: &Gateways<'_>, by_them: bool, rekey: impl Fn() -> Result<()>) -> Result<()> {
    let (last, losses) = under_traffic(gateways.lab, STREAM, || {
        let mut last = gateways.wait_connected()?;
        for _ in 0..3 {
            rekey()?;
            let new = another_ike_sa(gateways, &last)?;
            ensure!(new.initiator == by_them, "{new:#?}");
            ensure!(new.children[0].inbound_spi == last.children[0].inbound_spi, "{new:#?}");
            last = new;
        }
        Ok(last)
    })?;
    ensure!((losses.outbound, losses.inbound) == (0, 0), "{losses:?}");
    gateways.theirs.rekey_child_sa(SITE)?;
    poll_until(PATIENCE, "another Child SA", || {
        let new = gateways.wait_connected()?;
        ensure!(new.spis == last.spis && new.children[0].id != last.children[0].id, "{new:#?}");
        Ok(Some(()))
    })?;
    gateways.exercise()
}

/// Waits until both ends have only an IKE SA that is not `old`.
fn another_ike_sa(gateways: &Gateways<'_>, old: &IkeSa) -> Result<IkeSa> {
    poll_until(PATIENCE, "another IKE SA", || {
        let new = gateways.wait_connected()?;
        ensure!(new.spis != old.spis, "{new:#?}");
        Ok(Some(new))
    })
}
