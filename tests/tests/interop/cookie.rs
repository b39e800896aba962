//! Cookies before state (RFC 7296 section 2.6).

use crate::support::{Gateways, KEY, SITE, peering};
use anyhow::{Result, ensure};
use std::net::UdpSocket;
use std::time::Duration;
use testbed::strongswan::{Daemon, Peering};
use testbed::{Capture, GatewayOptions, Lab, ike_init_request, scenario};

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
    socket.send_to(&ike_init_request(0x5a5a_5a5a_5a5a_5a5a), (lab.site(2).wan_address(), 500))?;
    let mut answer = [0; 2000];
    let length = socket.recv(&mut answer)?;
    // A response with an SA payload: strongSwan has taken part.
    ensure!(length > 28 && answer[16] == 33, "no SA in the answer: {:02x?}", &answer[..length]);
    Ok(())
}
