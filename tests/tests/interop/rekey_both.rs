//! Both sides rekey at the same moment (RFC 7296 sections 2.8.1, 2.8.2 and 2.25).

use crate::support::{Gateways, PATIENCE, SITE, VNET, under_traffic};
use anyhow::{Result, ensure};
use std::time::Duration;
use testbed::{Capture, GatewayOptions, NetNs, scenario, wait_until};

const ROUNDS: usize = 3;

/// Longer than the rounds, on most machines.
const STREAM: Duration = Duration::from_secs(8);

/// What strongSwan logs when it finds a collision of equals, and one of a rekey of the IKE SA with one of a Child SA.
const COLLISION: &str = "collision";
const TEMPORARY_FAILURE: &str = "N(TEMP_FAIL)";

/// What strongSwan logs when it sends a message.
const REQUEST: &str = "generating CREATE_CHILD_SA request";
const RESPONSE: &str = "generating CREATE_CHILD_SA response";

#[test]
fn both_rekey_the_child_sa_at_once() {
    scenario("both_rekey_the_child_sa_at_once", 2, |lab| {
        let gateways = Gateways::connect(lab, &GatewayOptions::default())?;
        collide(&gateways, &[], || gateways.theirs.rekey_child_sa(SITE), COLLISION)
    });
}

#[test]
fn both_rekey_the_ike_sa_at_once() {
    scenario("both_rekey_the_ike_sa_at_once", 2, |lab| {
        let gateways = Gateways::connect(lab, &GatewayOptions::default())?;
        // Not each round is a collision on the wire: that is up to the scheduler.
        let ((), losses) = under_traffic(lab, STREAM, || {
            for _ in 0..ROUNDS {
                let before = gateways.wait_connected_after_collision()?;
                std::thread::scope(|scope| {
                    let theirs = scope.spawn(|| gateways.theirs.rekey_ike_sa(SITE));
                    let ours = gateways.ours.vgw().text(&["connection", "rekey", VNET, SITE, "--ike"]);
                    theirs.join().expect("the command does not panic")?;
                    ours
                })?;
                wait_until(PATIENCE, "a new IKE SA", || {
                    Ok(gateways.wait_connected_after_collision()?.spis != before.spis)
                })?;
            }
            Ok(())
        })?;
        ensure!((losses.outbound, losses.inbound) == (0, 0), "{losses:?}");
        gateways.exercise()
    });
}

#[test]
fn we_rekey_the_ike_sa_while_strongswan_rekeys_the_child_sa() {
    scenario("we_rekey_the_ike_sa_while_strongswan_rekeys_the_child_sa", 2, |lab| {
        let gateways = Gateways::connect(lab, &GatewayOptions::default())?;
        collide(&gateways, &["--ike"], || gateways.theirs.rekey_child_sa(SITE), TEMPORARY_FAILURE)
    });
}

#[test]
fn we_rekey_the_child_sa_while_strongswan_rekeys_the_ike_sa() {
    scenario("we_rekey_the_child_sa_while_strongswan_rekeys_the_ike_sa", 2, |lab| {
        let gateways = Gateways::connect(lab, &GatewayOptions::default())?;
        collide(&gateways, &[], || gateways.theirs.rekey_ike_sa(SITE), TEMPORARY_FAILURE)
    });
}

/// Lets both ends rekey at once, ours with the arguments `what`, and makes sure that the requests cross. After each round
/// one IKE SA and one Child SA must be left, strongSwan must have logged `sign` of the collision, and no packet may have
/// been lost.
fn collide(
    gateways: &Gateways<'_>,
    what: &[&str],
    theirs: impl Fn() -> Result<()>,
    sign: &str,
) -> Result<()> {
    let inet = &gateways.lab.inet;
    let ((), losses) = under_traffic(gateways.lab, STREAM, || {
        for round in 1..=ROUNDS {
            let before = gateways.wait_connected_after_collision()?;
            let logged = |text: &str| gateways.theirs.log().matches(text).count();
            let earlier = [REQUEST, RESPONSE, sign].map(logged);
            let capture =
                Capture::start(inet, &gateways.lab.site(1).inet_port(), b"no payload of this test")?;
            let held = hold(inet, Messages::All)?;
            theirs()?;
            gateways.ours.vgw().text(&[&["connection", "rekey", VNET, SITE], what].concat())?;
            let us = gateways.lab.site(1).wan_address();
            wait_until(PATIENCE, "both requests", || {
                Ok(logged(REQUEST) > earlier[0] && capture.snapshot().ike_requests(us) > 0)
            })?;
            // Each end is to see the other's request before it has an answer to its own.
            let held = held.change(Messages::Responses)?;
            wait_until(PATIENCE, "both responses", || {
                Ok(logged(RESPONSE) > earlier[1] && capture.snapshot().ike_responses(us) > 0)
            })?;
            held.release()?;
            wait_until(PATIENCE, &format!("{sign} in round {round}"), || Ok(logged(sign) > earlier[2]))?;
            wait_until(PATIENCE, "new SAs", || {
                let after = gateways.wait_connected_after_collision()?;
                Ok(after.spis != before.spis || after.children[0].id != before.children[0].id)
            })?;
        }
        gateways.wait_connected_after_collision().map(drop)
    })?;
    ensure!((losses.outbound, losses.inbound) == (0, 0), "{losses:?}");
    gateways.exercise()
}

/// Which messages of IKE are held up.
#[derive(Clone, Copy)]
enum Messages {
    All,
    Responses,
}

/// Some messages of IKE on port 4500 do not pass the internet; ESP does.
struct Held<'a>(&'a NetNs);

fn hold(inet: &NetNs, messages: Messages) -> Result<Held<'_>> {
    // After the UDP header of 8 bytes: four zero bytes mark IKE (RFC 3948 section 2.2), then comes the header of the message
    // with its flags in byte 19.
    let which = match messages {
        Messages::All => "",
        Messages::Responses => "@th,248,8 & 0x20 == 0x20",
    };
    inet.nft(&format!(
        "table ip hold {{}}\ndelete table ip hold\ntable ip hold {{\n chain forward {{\n  \
         type filter hook forward priority 0;\n  udp dport 4500 @th,64,32 0 {which} drop\n }}\n}}\n"
    ))?;
    Ok(Held(inet))
}

impl Held<'_> {
    /// Holds up other messages from now on.
    fn change(self, messages: Messages) -> Result<Self> {
        hold(self.0, messages)
    }

    fn release(self) -> Result<()> {
        self.0.nft("delete table ip hold\n")
    }
}
