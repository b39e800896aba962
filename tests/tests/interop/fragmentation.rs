//! IKE messages in fragments (RFC 7383), because certificates make them long.

use crate::pki::{KeyKind, Root};
use crate::support::{Gateways, SITE, peering};
use anyhow::{Result, ensure};
use testbed::strongswan::Daemon;
use testbed::{Capture, GatewayOptions, Lab, scenario};

/// Authorities between each end's certificate and the root.
const INTERMEDIATES: u8 = 3;

#[test]
fn we_initiate_with_long_chains_and_both_send_fragments() {
    scenario("we_initiate_with_long_chains_and_both_send_fragments", 2, |lab| {
        long_chains(lab, "initiator", 1280)
    });
}

#[test]
fn strongswan_initiates_with_long_chains_and_both_send_fragments() {
    scenario("strongswan_initiates_with_long_chains_and_both_send_fragments", 2, |lab| {
        long_chains(lab, "responder", 1280)
    });
}

#[test]
fn fragments_of_576_bytes_are_enough() {
    scenario("fragments_of_576_bytes_are_enough", 2, |lab| long_chains(lab, "responder", 576));
}

fn long_chains(lab: &Lab, mode: &str, size: u32) -> Result<()> {
    let root = Root::new(KeyKind::Rsa)?;
    let files = root.issue("gw1.example", INTERMEDIATES)?.into_files(&lab.directory())?;
    let options =
        GatewayOptions { certificate: Some(files), fragment_size: Some(size), ..GatewayOptions::default() };
    let daemon = Daemon { fragment_size: size, ..Daemon::default() };
    let mut theirs = peering(lab, 2);
    theirs.authentication = root.issue("gw2.example", INTERMEDIATES)?.for_strongswan();
    theirs.local_id = Some("gw2.example".to_owned());
    theirs.remote_id = Some("gw1.example".to_owned());
    let gateways = Gateways::start(lab, &options, &daemon, &theirs)?;
    let capture = Capture::start(&lab.inet, &lab.site(1).inet_port(), b"no payload of this test")?;
    gateways.configure(&["--mode", mode])?;
    let identities = ["--local-id", "gw1.example", "--remote-id", "gw2.example"];
    gateways.configure(&[&["--auth", "certificate"], &identities[..]].concat())?;
    if mode == "responder" {
        gateways.theirs.initiate(SITE)?;
    }
    gateways.wait_connected()?;
    let wire = capture.stop();
    for number in [1, 2] {
        let fragments = wire.ike_fragments(lab.site(number).wan_address());
        // A chain of four certificates has 3 KiB at least.
        ensure!(fragments > u64::from(3000 / size), "{fragments} fragments from site {number}: {wire:#?}");
    }
    ensure!(wire.longest_ike() <= size as usize, "a packet of {} bytes", wire.longest_ike());
    gateways.exercise()
}
