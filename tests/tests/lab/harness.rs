//! The laboratory itself, without tunnels: what the other tests rely on must be able to fail.

use std::time::Duration;
use testbed::traffic::{DatagramSink, EchoClient, StreamSink, UdpEcho, send_datagrams, send_stream};
use testbed::{Capture, Lab, PacketClass, Scope, Transport, iperf, leftovers, ping, remove_scope, scenario};

#[test]
fn traffic_in_the_clear_is_seen_as_plaintext() {
    scenario("traffic_in_the_clear_is_seen_as_plaintext", 2, |lab| {
        lab.route_plainly()?;
        lab.wait_reachable(1, 2)?;
        let capture = Capture::start(&lab.inet, &lab.site(1).inet_port(), b"no such bytes")?;
        let report = ping(&lab.site(1).host, &format!("-c 3 -i 0.2 {}", lab.site(2).host_address()))?;
        assert_eq!((report.sent, report.received), (3, 3), "{}", report.text);
        capture.wait_for(6, Duration::from_secs(5))?;
        assert_eq!(capture.stop().count(PacketClass::Plaintext), 6);
        Ok(())
    });
}

#[test]
fn helpers_move_verified_content_and_notice_loss() {
    scenario("helpers_move_verified_content_and_notice_loss", 2, |lab| {
        let (near, far) = (lab.site(1), lab.site(2));
        lab.route_plainly()?;
        lab.wait_reachable(1, 2)?;

        let echo = UdpEcho::start(&far.host, far.host_address())?;
        let mut client = EchoClient::connect(&near.host, near.host_address(), echo.address())?;
        for size in [0, 1, 1472, 4000, 65_507] {
            client.exchange(size, Duration::from_secs(5))?;
        }

        let sink = StreamSink::start(&far.host, far.host_address())?;
        let sent = send_stream(&near.host, sink.address(), Duration::from_millis(500))?;
        assert_eq!(sink.finish()?, sent);

        let seconds = Duration::from_secs(1);
        let sink = DatagramSink::start(&far.host, far.host_address())?;
        let sent = send_datagrams(&near.host, near.host_address(), sink.address(), 200, 500, seconds)?;
        let report = sink.stop();
        assert_eq!((report.received, report.duplicates, report.reordered, report.corrupt), (sent, 0, 0, 0));

        // One packet in two is lost now; the helpers must notice.
        lab.inet.ip("link set gw2 mtu 500")?;
        assert!(ping(&near.host, &format!("-c 1 -W 1 -M do -s 1000 {}", far.host_address()))?.received == 0);
        lab.inet.ip("link set gw2 down")?;
        assert!(client.exchange(100, Duration::from_millis(300)).is_err());
        Ok(())
    });
}

#[test]
fn iperf_measures_both_transports() {
    scenario("iperf_measures_both_transports", 2, |lab| {
        let (near, far) = (lab.site(1), lab.site(2));
        lab.route_plainly()?;
        lab.wait_reachable(1, 2)?;
        let directory = lab.directory();
        let measure = |transport| iperf(&far.host, far.host_address(), &near.host, transport, 1, &directory);
        assert!(measure(Transport::Tcp)?.bits_per_second > 1e6);
        let udp = measure(Transport::Udp { payload: 1000, rate: 10_000_000 })?;
        assert!((9e6..11e6).contains(&udp.bits_per_second), "{udp:?}");
        Ok(())
    });
}

#[test]
fn a_removed_laboratory_leaves_nothing() {
    scenario("a_removed_laboratory_leaves_nothing", 1, |lab| {
        let scope = Scope::unique();
        let mut kept = Lab::builder().scope(scope.clone()).sites(1).build()?;
        kept.keep();
        drop(kept);
        let mine =
            |path: &String| path.contains(&format!("{}-", scope.name())) || path.ends_with(scope.name());
        assert!(leftovers().iter().any(mine), "a kept laboratory is there");
        assert!(leftovers().iter().any(|path| path.contains(lab.scope().name())), "so is the running one");
        assert!(!remove_scope(&scope)?.is_empty());
        assert!(!leftovers().iter().any(mine), "{:?}", leftovers());
        Ok(())
    });
}
