//! The gateway's own traffic uses the tunnel too.

use crate::support::with_both_engines;
use std::time::Duration;
use testbed::traffic::{EchoClient, StreamSink, UdpEcho, send_stream};
use testbed::{GatewayOptions, ping, scenario};

#[test]
fn the_gateway_itself_reaches_the_remote_network() {
    with_both_engines("the_gateway_itself_reaches_the_remote_network", 2, |lab, options| {
        let agents = lab.establish(options)?;
        let (near, far) = (lab.site(1), lab.site(2));
        let target = far.host_address();
        let report = ping(&near.gateway, &format!("-c 3 -i 0.2 -W 2 {target}"))?;
        assert_eq!(report.received, 3, "without a source address: {}", report.text);
        let report = ping(&near.gateway, &format!("-c 3 -i 0.2 -W 2 -I {} {target}", near.lan_address()))?;
        assert_eq!(report.received, 3, "from the LAN address: {}", report.text);
        let report = ping(&near.gateway, &format!("-c 3 -i 0.2 -W 2 {}", far.lan_address()))?;
        assert_eq!(report.received, 3, "gateway to gateway: {}", report.text);

        let echo = UdpEcho::start(&far.host, target)?;
        let mut client = EchoClient::connect(&near.gateway, near.lan_address(), echo.address())?;
        for size in [1, 1000, 4000] {
            client.exchange(size, Duration::from_secs(5))?;
        }
        let sink = StreamSink::start(&far.host, target)?;
        let sent = send_stream(&near.gateway, sink.address(), Duration::from_secs(1))?;
        assert_eq!(sink.finish()?, sent);
        Ok(agents)
    });
}

#[test]
fn a_host_reaches_the_remote_gateway() {
    scenario("a_host_reaches_the_remote_gateway", 2, |lab| {
        let _agents = lab.establish(&GatewayOptions::default())?;
        let report = ping(&lab.site(1).host, &format!("-c 3 -i 0.2 -W 2 {}", lab.site(2).lan_address()))?;
        assert_eq!(report.received, 3, "{}", report.text);
        Ok(())
    });
}
