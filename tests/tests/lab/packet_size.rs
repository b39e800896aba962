//! Packets larger than the tunnel carries.

use crate::support::{number, with_both_engines};
use std::time::Duration;
use testbed::ping;
use testbed::traffic::{EchoClient, UdpEcho};

#[test]
fn a_packet_that_may_not_be_fragmented_is_answered_with_the_tunnels_mtu() {
    with_both_engines(
        "a_packet_that_may_not_be_fragmented_is_answered_with_the_tunnels_mtu",
        2,
        |lab, options| {
            let agents = lab.establish(options)?;
            let (near, far) = (lab.site(1), lab.site(2));
            let mtu = number(&agents[0].vgw().connection("VNet2")?, "mtu")?;
            assert!((1280..1500).contains(&mtu), "the tunnel's MTU is {mtu}");

            let too_big = ping(&near.host, &format!("-M do -c 1 -W 2 -s 1472 {}", far.host_address()))?;
            assert_eq!(too_big.received, 0, "{}", too_big.text);
            assert!(too_big.text.contains(&format!("mtu = {mtu}")), "{}", too_big.text);
            assert!(too_big.text.contains(&near.lan_address().to_string()), "{}", too_big.text);
            let route = near.host.ip(&format!("route get {}", far.host_address()))?;
            assert!(route.contains(&format!("mtu {mtu}")), "the host has learned {route}");

            // IPv4 and ICMP headers take 28 bytes: the largest packet that fits passes whole.
            let fits =
                ping(&near.host, &format!("-M do -c 2 -i 0.2 -W 2 -s {} {}", mtu - 28, far.host_address()))?;
            assert_eq!(fits.received, 2, "{}", fits.text);
            Ok(agents)
        },
    );
}

#[test]
fn large_datagrams_are_fragmented_and_arrive() {
    with_both_engines("large_datagrams_are_fragmented_and_arrive", 2, |lab, options| {
        let agents = lab.establish(options)?;
        let (near, far) = (lab.site(1), lab.site(2));
        let echo = UdpEcho::start(&far.host, far.host_address())?;
        let mut client = EchoClient::connect(&near.host, near.host_address(), echo.address())?;
        for _ in 0..20 {
            client.exchange(4000, Duration::from_secs(5))?;
        }
        Ok(agents)
    });
}
