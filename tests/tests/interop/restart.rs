//! Either gateway dies without a word and comes back.

use crate::support::{Gateways, PATIENCE, SITE};
use anyhow::ensure;
use nix::sys::signal::Signal;
use std::time::Duration;
use testbed::{GatewayOptions, poll_until, scenario};

/// The idle time before a peer is asked, the whole series of requests without an answer, and room for a busy machine.
const DEATH: Duration = Duration::from_secs(75);

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

#[test]
fn a_killed_strongswan_is_noticed_and_connected_to_again() {
    scenario("a_killed_strongswan_is_noticed_and_connected_to_again", 2, |lab| {
        let options = GatewayOptions { dpd: Some(9), ..GatewayOptions::default() };
        let mut gateways = Gateways::connect(lab, &options)?;
        gateways.theirs.stop(Signal::SIGKILL)?;
        poll_until(DEATH, "our gateway notices", || {
            let status = gateways.status()?;
            ensure!(status["state"] != "Connected", "{status}");
            let error = status["last_error"].as_str().unwrap_or_default();
            ensure!(error.contains("does not answer") || error.contains("no answer"), "{status}");
            ensure!(status["inbound_spi"].is_null(), "the SA is still there: {status}");
            Ok(Some(()))
        })?;
        gateways.theirs.start_again()?;
        gateways.wait_connected()?;
        gateways.exercise()
    });
}
