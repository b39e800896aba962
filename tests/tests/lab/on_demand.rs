//! A connection on demand comes up when a packet needs it, and not before.

use anyhow::Result;
use std::time::Duration;
use testbed::{Capture, GatewayOptions, Lab, PacketClass, ping, scenario, wait_until};

/// How long the first packet may take to get an answer through the new connection.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_packet_of_a_host_brings_the_connection_up() {
    scenario("a_packet_of_a_host_brings_the_connection_up", 2, |lab| comes_up(lab, false));
}

#[test]
fn a_packet_of_the_gateway_itself_brings_the_connection_up() {
    scenario("a_packet_of_the_gateway_itself_brings_the_connection_up", 2, |lab| comes_up(lab, true));
}

fn comes_up(lab: &Lab, from_gateway: bool) -> Result<()> {
    let options = GatewayOptions::default();
    let agents = [lab.start_agent(1, &options)?, lab.start_agent(2, &options)?];
    agents[0].vgw().text(&["connection", "configure", "VNet1", "VNet2", "--mode", "on-demand"])?;
    agents[1].vgw().text(&["connection", "configure", "VNet2", "VNet1", "--mode", "responder"])?;
    let capture = Capture::start(&lab.inet, &lab.site(1).inet_port(), b"no payload of this test")?;
    lab.set_keys(&agents, "A1b2C3D4")?;
    // Any other mode begins as soon as the key is there; each answer of the agent comes after that.
    for (agent, site) in agents.iter().zip(["VNet2", "VNet1"]) {
        let connection = agent.vgw().connection(site)?;
        assert_eq!(connection["state"], "NotConnected", "{connection}");
        assert!(connection["last_error"].is_null(), "{connection}");
    }
    assert_eq!(capture.snapshot().count(PacketClass::Ike), 0, "{:#?}", capture.snapshot().described);

    let site = lab.site(1);
    let target = lab.site(2).host_address();
    let (namespace, source) = if from_gateway {
        (&site.gateway, format!("-I {} ", site.lan_address()))
    } else {
        (&site.host, String::new())
    };
    // The packets that come before the SA does are dropped.
    wait_until(PATIENCE, "an answer through the connection", || {
        Ok(ping(namespace, &format!("{source}-c 1 -W 1 {target}"))?.received == 1)
    })?;
    lab.wait_connected(&agents)?;
    assert!(capture.stop().count(PacketClass::Ike) >= 4, "IKE_SA_INIT and IKE_AUTH");
    Ok(())
}
