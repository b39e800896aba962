//! Either side rekeys the Child SA under traffic.

use crate::support::{Gateways, PATIENCE, SITE, under_traffic};
use anyhow::{Result, ensure};
use std::time::Duration;
use testbed::strongswan::IkeSa;
use testbed::{GatewayOptions, poll_until, scenario};

const STREAM: Duration = Duration::from_secs(8);

#[test]
fn strongswan_rekeys_the_child_sa_and_nothing_is_lost() {
    scenario("strongswan_rekeys_the_child_sa_and_nothing_is_lost", 2, |lab| {
        let gateways = Gateways::connect(lab, &GatewayOptions::default())?;
        let ((), losses) = under_traffic(lab, STREAM, || {
            for _ in 0..3 {
                let old = gateways.wait_connected()?;
                gateways.theirs.rekey_child_sa(SITE)?;
                another_child(&gateways, &old)?;
            }
            Ok(())
        })?;
        assert_eq!((losses.outbound, losses.inbound), (0, 0));
        gateways.exercise()
    });
}

#[test]
fn we_rekey_the_child_sa_and_nothing_is_lost() {
    scenario("we_rekey_the_child_sa_and_nothing_is_lost", 2, |lab| {
        let options = GatewayOptions { child_lifetime: Some(5), ..GatewayOptions::default() };
        let gateways = Gateways::connect(lab, &options)?;
        let ((), losses) = under_traffic(lab, STREAM, || {
            let old = gateways.wait_connected()?;
            another_child(&gateways, &old)
        })?;
        assert_eq!((losses.outbound, losses.inbound), (0, 0));
        gateways.exercise()
    });
}

/// Waits for another Child SA under the same IKE SA.
fn another_child(gateways: &Gateways<'_>, old: &IkeSa) -> Result<()> {
    poll_until(PATIENCE, "another Child SA", || {
        let new = gateways.wait_connected()?;
        ensure!(new.spis == old.spis, "another IKE SA: {new:#?}");
        ensure!(new.children[0].id != old.children[0].id, "{new:#?}");
        Ok(Some(()))
    })
}
