//! Traffic goes on when the gateway has forgotten its neighbours.

use std::time::Duration;
use testbed::traffic::{DatagramSink, EchoClient, UdpEcho, send_datagrams};
use testbed::{GatewayOptions, scenario};

#[test]
fn packets_for_forgotten_neighbours_arrive() {
    scenario("packets_for_forgotten_neighbours_arrive", 2, |lab| {
        let _agents = lab.establish(&GatewayOptions::default())?;
        let (near, far) = (lab.site(1), lab.site(2));
        let echo = UdpEcho::start(&far.host, far.host_address())?;
        let mut client = EchoClient::connect(&near.host, near.host_address(), echo.address())?;
        for _ in 0..5 {
            for site in [near, far] {
                site.gateway.ip("neighbour flush all")?;
            }
            // Not one packet may be lost: whoever waits for an address keeps the packet.
            client.exchange(200, Duration::from_secs(5))?;
        }
        Ok(())
    });
}

#[test]
fn a_stream_survives_forgetting() {
    scenario("a_stream_survives_forgetting", 2, |lab| {
        let _agents = lab.establish(&GatewayOptions::default())?;
        lab.wait_reachable(1, 2)?;
        let (near, far) = (lab.site(1), lab.site(2));
        let sink = DatagramSink::start(&far.host, far.host_address())?;
        let peer = sink.address();
        let sent = std::thread::scope(|scope| {
            let duration = Duration::from_secs(3);
            let sent =
                scope.spawn(move || send_datagrams(&near.host, near.host_address(), peer, 200, 20, duration));
            for _ in 0..5 {
                std::thread::sleep(Duration::from_millis(400));
                for site in [near, far] {
                    site.gateway.ip("neighbour flush all")?;
                }
            }
            sent.join().expect("the sender does not panic")
        })?;
        let report = sink.stop();
        assert_eq!((report.received, report.duplicates, report.corrupt), (sent, 0, 0), "{report:?}");
        Ok(())
    });
}
