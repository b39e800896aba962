//! Packets of every size and protocol arrive unchanged, in both directions.

use crate::support::{exercise, no_wrong_drops, with_both_engines};
use std::time::Duration;
use testbed::ping;
use testbed::traffic::{EchoClient, UdpEcho};

/// Payload sizes around everything that matters: padding, cipher blocks, the tunnel's and the host's MTU, the maximum.
const SIZES: [usize; 38] = [
    0, 1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 128, 129, 500, 1000, 1200, 1300, 1390, 1398,
    1400, 1404, 1408, 1410, 1412, 1430, 1450, 1472, 1473, 2000, 4000, 9000, 40_000, 65_507,
];

#[test]
fn datagrams_of_all_sizes_arrive_unchanged() {
    with_both_engines("datagrams_of_all_sizes_arrive_unchanged", 2, |lab, options| {
        let agents = lab.establish(options)?;
        for (from, to) in [(1, 2), (2, 1)] {
            let (near, far) = (lab.site(from), lab.site(to));
            let echo = UdpEcho::start(&far.host, far.host_address())?;
            let mut client = EchoClient::connect(&near.host, near.host_address(), echo.address())?;
            for size in SIZES {
                client.exchange(size, Duration::from_secs(5))?;
            }
        }
        no_wrong_drops(&agents)?;
        Ok(agents)
    });
}

#[test]
fn icmp_udp_and_tcp_work_both_ways() {
    with_both_engines("icmp_udp_and_tcp_work_both_ways", 2, |lab, options| {
        let agents = lab.establish(options)?;
        exercise(lab, 1, 2)?;
        exercise(lab, 2, 1)?;
        for size in [0, 8, 56, 1000, 1372, 8000, 65_507] {
            let target = lab.site(2).host_address();
            let report = ping(&lab.site(1).host, &format!("-c 2 -i 0.2 -W 2 -s {size} {target}"))?;
            assert_eq!(report.received, 2, "size {size}: {}", report.text);
        }
        Ok(agents)
    });
}
