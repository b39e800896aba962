//! What the XDP programs have to say reaches the agent's log.

use anyhow::{Context as _, ensure};
use std::net::UdpSocket;
use std::time::Duration;
use testbed::{GatewayOptions, poll_until, scenario};

#[test]
fn lines_of_the_xdp_programs_are_in_the_agents_log() {
    scenario("lines_of_the_xdp_programs_are_in_the_agents_log", 2, |lab| {
        let options = GatewayOptions { log: Some("debug".to_owned()), ..GatewayOptions::default() };
        let agents = lab.establish(&options)?;
        let gateway = lab.site(1).wan_address();
        // ESP in UDP that no SA knows.
        let datagram = [&[0xde, 0xad, 0xbe, 0xef, 0, 0, 0, 1][..], &[0; 40]].concat();
        lab.inet.enter(|| UdpSocket::bind("0.0.0.0:0")?.send_to(&datagram, (gateway, 4500)))??;
        poll_until(Duration::from_secs(10), "the log names the SPI", || {
            let log = agents[0].log();
            let line = log.lines().find(|line| line.contains("unknown SPI deadbeef"));
            Ok(Some(line.context("no such line")?.to_owned()))
        })?;
        let status = agents[0].vgw().status()?;
        ensure!(status["drops"]["unknown_spi"] == 1, "{status}");
        ensure!(!agents[0].log().contains("A1b2C3D4"), "the key is in the log");
        Ok(())
    });
}
