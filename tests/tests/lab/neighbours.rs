//! Traffic goes on when the gateway has forgotten its neighbours.

use crate::support::with_both_engines;
use std::time::Duration;
use testbed::traffic::{DatagramSink, EchoClient, UdpEcho, send_datagrams};

#[test]
fn packets_for_forgotten_neighbours_arrive() {
    with_both_engines("packets_for_forgotten_neighbours_arrive", 2, |lab, options| {
        let agents = lab.establish(options)?;
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
        Ok(agents)
    });
}

#[test]
fn a_stream_survives_forgetting() {
    with_both_engines("a_stream_survives_forgetting", 2, |lab, options| {
        let agents = lab.establish(options)?;
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
        Ok(agents)
    });
}
