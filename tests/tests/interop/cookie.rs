//! Cookies before state (RFC 7296 section 2.6).

use crate::support::{Gateways, KEY, SITE, peering};
use anyhow::{Result, ensure};
use std::net::UdpSocket;
use std::time::Duration;
use testbed::strongswan::{Daemon, Peering};
use testbed::{Capture, GatewayOptions, Lab, scenario};

#[test]
fn we_demand_a_cookie_and_strongswan_returns_it() {
    scenario("we_demand_a_cookie_and_strongswan_returns_it", 2, |lab| {
        let options = GatewayOptions { cookie_threshold: Some(0), ..GatewayOptions::default() };
        let gateways = Gateways::start(lab, &options, &Daemon::default(), &peering(lab, 2))?;
        gateways.configure(&["--mode", "responder"])?;
        gateways.set_key()?;
        let capture = Capture::start(&lab.inet, &lab.site(1).inet_port(), b"no payload of this test")?;
        gateways.theirs.initiate(SITE)?;
        gateways.wait_connected()?;
        let wire = capture.stop();
        let (ours, theirs) = (lab.site(1).wan_address(), lab.site(2).wan_address());
        ensure!((wire.ike_cookies(ours), wire.ike_cookies(theirs)) == (1, 1), "{wire:#?}");
        gateways.exercise()
    });
}

#[test]
fn strongswan_demands_a_cookie_and_we_return_it() {
    scenario("strongswan_demands_a_cookie_and_we_return_it", 2, |lab| {
        // One half-open IKE SA is enough for strongSwan to demand cookies, and there is one: a stranger's.
        let daemon = Daemon { cookie_threshold: Some(1), ..Daemon::default() };
        let stranger = lab.inet_address(2);
        let open = Peering::new(
            "stranger",
            (lab.site(2).wan_address(), "10.2.0.0/16"),
            (stranger, "10.9.0.0/16"),
            KEY,
        );
        let gateways = Gateways::start(lab, &GatewayOptions::default(), &daemon, &peering(lab, 2))?;
        gateways.theirs.load(&[peering(lab, 2), open])?;
        leave_half_open(lab)?;
        let capture = Capture::start(&lab.inet, &lab.site(1).inet_port(), b"no payload of this test")?;
        gateways.set_key()?;
        gateways.wait_connected()?;
        let wire = capture.stop();
        let (ours, theirs) = (lab.site(1).wan_address(), lab.site(2).wan_address());
        ensure!((wire.ike_cookies(ours), wire.ike_cookies(theirs)) == (1, 1), "{wire:#?}");
        gateways.exercise()
    });
}

/// Sends an IKE_SA_INIT request to strongSwan from the internet, waits for its answer, and leaves it at that.
fn leave_half_open(lab: &Lab) -> Result<()> {
    let socket = lab.inet.enter(|| UdpSocket::bind((lab.inet_address(2), 0)))??;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.send_to(&initial_request(), (lab.site(2).wan_address(), 500))?;
    let mut answer = [0; 2000];
    let length = socket.recv(&mut answer)?;
    // A response with an SA payload: strongSwan has taken part.
    ensure!(length > 28 && answer[16] == 33, "no SA in the answer: {:02x?}", &answer[..length]);
    Ok(())
}

/// An IKE_SA_INIT request that offers AES-256-GCM, HMAC-SHA2-384 and X25519 (RFC 7296 sections 3.1 to 3.4 and 3.9).
fn initial_request() -> Vec<u8> {
    let transforms: [&[u8]; 3] =
        [&[3, 0, 0, 12, 1, 0, 0, 20, 0x80, 14, 1, 0], &[3, 0, 0, 8, 2, 0, 0, 6], &[0, 0, 0, 8, 4, 0, 0, 31]];
    let transforms = transforms.concat();
    let proposal = [&[0, 0, 0, 8 + transforms.len() as u8, 1, 1, 0, 3], &transforms[..]].concat();
    let sa = payload(34, &proposal);
    let key_exchange = payload(40, &[&[0, 31, 0, 0], &[9; 32][..]].concat());
    let nonce = payload(0, &[7; 32]);
    let body = [sa, key_exchange, nonce].concat();
    let length = (28 + body.len()) as u32;
    let header = [&[0x5a; 8][..], &[0; 8], &[33, 0x20, 34, 8], &[0; 4], &length.to_be_bytes()].concat();
    [header, body].concat()
}

fn payload(next: u8, content: &[u8]) -> Vec<u8> {
    let length = (4 + content.len()) as u16;
    [&[next, 0], &length.to_be_bytes()[..], content].concat()
}
