//! Either gateway dies without a word and comes back.

use crate::support::{Gateways, PATIENCE, SITE};
use anyhow::ensure;
use nix::sys::signal::Signal;
use testbed::{GatewayOptions, poll_until, scenario};

#[test]
fn a_killed_strongswan_that_initiates_again_replaces_its_old_sas() {
    scenario("a_killed_strongswan_that_initiates_again_replaces_its_old_sas", 2, |lab| {
        let mut gateways = Gateways::connect(lab, &GatewayOptions::default())?;
        let old = gateways.wait_connected()?;
        gateways.theirs.stop(Signal::SIGKILL)?;
        gateways.theirs.start_again()?;
        gateways.theirs.initiate(SITE)?;
        let new = gateways.wait_connected()?;
        ensure!(new.initiator && new.spis != old.spis, "{new:#?}");
        gateways.exercise()
    });
}

#[test]
fn our_killed_agent_comes_back_and_strongswan_forgets_the_old_sas() {
    scenario("our_killed_agent_comes_back_and_strongswan_forgets_the_old_sas", 2, |lab| {
        let mut gateways = Gateways::connect(lab, &GatewayOptions::default())?;
        let old = gateways.wait_connected()?;
        gateways.ours.restart(Signal::SIGKILL)?;
        poll_until(PATIENCE, "only the new IKE SA", || {
            let new = gateways.wait_connected()?;
            ensure!(!new.initiator && new.spis != old.spis, "{new:#?}");
            Ok(Some(()))
        })?;
        ensure!(gateways.theirs.log().contains("INIT_CONTACT"), "strongSwan was not told to forget");
        gateways.exercise()
    });
}
