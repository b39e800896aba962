//! Liveness of the peer, asked by either side (RFC 7296 section 2.4).

use crate::support::{Gateways, PATIENCE, peering};
use anyhow::ensure;
use nix::sys::signal::Signal;
use std::time::Duration;
use testbed::strongswan::Daemon;
use testbed::{GatewayOptions, poll_until, scenario, wait_until};

/// The idle time before a peer is asked, the whole series of requests without an answer, and room for a busy machine.
const DEATH: Duration = Duration::from_secs(75);

#[test]
fn strongswan_asks_whether_we_live_and_we_answer() {
    scenario("strongswan_asks_whether_we_live_and_we_answer", 2, |lab| {
        let mut asking = peering(lab, 2);
        asking.dpd = 1;
        let gateways = Gateways::start(lab, &GatewayOptions::default(), &Daemon::default(), &asking)?;
        gateways.set_key()?;
        let before = gateways.wait_connected()?;
        wait_until(PATIENCE, "three questions", || {
            Ok(gateways.theirs.log().matches("sending DPD request").count() >= 3)
        })?;
        let after = gateways.wait_connected()?;
        ensure!(before.spis == after.spis, "another IKE SA: {after:#?}");
        ensure!(!gateways.theirs.log().contains("retransmit"), "a question was not answered at once");
        gateways.exercise()
    });
}

#[test]
fn strongswan_notices_that_our_agent_was_killed_and_connects_to_the_next_one() {
    scenario("strongswan_notices_that_our_agent_was_killed_and_connects_to_the_next_one", 2, |lab| {
        let mut asking = peering(lab, 2);
        asking.dpd = 1;
        let daemon = Daemon { retransmissions: 3, ..Daemon::default() };
        let mut gateways = Gateways::start(lab, &GatewayOptions::default(), &daemon, &asking)?;
        gateways.set_key()?;
        gateways.wait_connected()?;
        gateways.ours.stop(Signal::SIGKILL)?;
        wait_until(PATIENCE, "strongSwan gives up", || Ok(gateways.theirs.sas()?.is_empty()))?;
        gateways.ours.start_again()?;
        gateways.wait_connected()?;
        gateways.exercise()
    });
}

#[test]
fn we_notice_that_strongswan_was_killed_and_connect_to_the_next_one() {
    scenario("we_notice_that_strongswan_was_killed_and_connect_to_the_next_one", 2, |lab| {
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

#[test]
fn strongswan_ends_in_order_and_we_connect_to_the_next_one() {
    scenario("strongswan_ends_in_order_and_we_connect_to_the_next_one", 2, |lab| {
        let mut gateways = Gateways::connect(lab, &GatewayOptions::default())?;
        gateways.theirs.stop(Signal::SIGTERM)?;
        poll_until(PATIENCE, "our gateway was told", || {
            let status = gateways.status()?;
            ensure!(status["state"] != "Connected" && status["inbound_spi"].is_null(), "{status}");
            Ok(Some(()))
        })?;
        gateways.theirs.start_again()?;
        gateways.wait_connected()?;
        gateways.exercise()
    });
}
