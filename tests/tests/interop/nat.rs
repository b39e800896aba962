//! Address translation in front of either gateway.

use crate::support::{Gateways, PATIENCE, SITE, peering, start_charon};
use anyhow::{Result, ensure};
use std::time::Duration;
use testbed::strongswan::Daemon;
use testbed::{GatewayOptions, Lab, ping, scenario_in, wait_until};

/// Seconds until a silent peer is asked whether it lives. The mapping is known to the other end with that request; ESP
/// alone does not tell it.
const DPD: u32 = 9;

#[test]
fn we_connect_from_behind_a_nat_and_survive_a_new_mapping() {
    let name = "we_connect_from_behind_a_nat_and_survive_a_new_mapping";
    scenario_in(
        name,
        |lab| lab.sites(2).behind_nat(1),
        |lab| {
            let mut known = peering(lab, 2);
            known.remote_id = Some(lab.site(1).gateway_address().to_string());
            let options = GatewayOptions { dpd: Some(DPD), ..GatewayOptions::default() };
            let gateways = Gateways::start(lab, &options, &Daemon::default(), &known)?;
            gateways.set_key()?;
            let theirs = gateways.wait_connected()?;
            ensure!(theirs.remote_port.starts_with("20"), "not translated: {theirs:#?}");
            gateways.exercise()?;
            new_mapping(lab, 1)?;
            gateways.exercise()?;
            let moved = gateways.theirs.wait_settled(SITE, PATIENCE)?;
            ensure!(moved.remote_port.starts_with("30") && moved.spis == theirs.spis, "{moved:#?}");
            Ok(())
        },
    );
}

#[test]
fn strongswan_connects_from_behind_a_nat_and_survives_a_new_mapping() {
    let name = "strongswan_connects_from_behind_a_nat_and_survives_a_new_mapping";
    scenario_in(
        name,
        |lab| lab.sites(2).behind_nat(2),
        |lab| {
            let mut hidden = peering(lab, 2);
            hidden.local_id = Some(lab.site(2).wan_address().to_string());
            hidden.dpd = 4;
            let theirs = start_charon(lab, 2, &Daemon::default(), &hidden)?;
            let ours = lab.start_agent(1, &GatewayOptions::default())?;
            let gateways = Gateways { lab, ours, theirs };
            gateways.set_key()?;
            gateways.theirs.initiate(SITE)?;
            let first = gateways.wait_connected()?;
            ensure!(first.initiator, "{first:#?}");
            gateways.exercise()?;
            new_mapping(lab, 2)?;
            gateways.exercise()?;
            let moved = gateways.theirs.wait_settled(SITE, PATIENCE)?;
            ensure!(moved.spis == first.spis, "a new IKE SA: {moved:#?}");
            Ok(())
        },
    );
}

/// Changes the mapping of the gateway of site `number` while its host pings, and waits until answers come again.
fn new_mapping(lab: &Lab, number: u8) -> Result<()> {
    let nat = lab.site(number).nat().expect("the site is behind address translation");
    let (near, far) = (lab.site(number), lab.site(3 - number));
    nat.change_mapping(30_000)?;
    wait_until(Duration::from_secs(25), "an answer through the new mapping", || {
        Ok(ping(&near.host, &format!("-c 1 -W 1 {}", far.host_address()))?.received == 1)
    })
}
