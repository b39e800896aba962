//! All tunnels of a gateway share one bandwidth limit.

use crate::support::with_both_engines;
use anyhow::Result;
use serde_json::Value;
use std::time::{Duration, Instant};
use testbed::traffic::{DatagramSink, send_datagrams};
use testbed::{GatewayOptions, Lab};

/// Limit in bit/s of inner IP packets.
const LIMIT: u64 = 50_000_000;

/// Deviation allowed, in percent of the limit.
const TOLERANCE: u64 = 5;

/// Time until the initial burst is used up and every cache is warm.
const WARM_UP: Duration = Duration::from_secs(2);

/// Time that is measured.
const MEASURED: Duration = Duration::from_secs(5);

const PAYLOAD: usize = 1000;

/// Datagrams per second into each tunnel: 41 Mbit/s, together far above the limit.
const RATE: u32 = 5000;

#[test]
fn two_tunnels_together_keep_to_the_limit() {
    with_both_engines("two_tunnels_together_keep_to_the_limit", 3, |lab, options| {
        let limited = GatewayOptions { bandwidth: Some("50mbit".to_owned()), ..options.clone() };
        let agents =
            vec![lab.start_agent(1, &limited)?, lab.start_agent(2, options)?, lab.start_agent(3, options)?];
        lab.set_keys(&agents, "A1b2C3D4")?;
        lab.wait_connected(&agents)?;
        lab.wait_reachable(1, 2)?;
        lab.wait_reachable(1, 3)?;

        let dropped = |status: &Value| status["drops"]["budget_exceeded"].as_u64();
        let mut before = Some(0);
        // What is sent, and what is received.
        for flows in [[(1, 2), (1, 3)], [(2, 1), (3, 1)]] {
            let rate = arriving(lab, flows)?;
            assert!(rate.abs_diff(LIMIT) <= LIMIT * TOLERANCE / 100, "{rate} bit/s of {flows:?} arrived");
            let status = agents[0].vgw().status()?;
            assert_eq!(status["budget"]["rate_bits"], LIMIT, "{status}");
            assert!(status["budget"]["dropped_bytes"].as_u64() > Some(0), "{status}");
            assert!(dropped(&status) > before, "{status}");
            before = dropped(&status);
        }
        Ok(agents)
    });
}

/// The rate in bit/s at which datagrams arrive that are sent from one site to another, in two flows.
fn arriving(lab: &Lab, flows: [(u8, u8); 2]) -> Result<u64> {
    let sinks = [sink(lab, flows[0].1)?, sink(lab, flows[1].1)?];
    Ok(std::thread::scope(|scope| {
        for (sink, (from, _)) in sinks.iter().zip(flows) {
            let near = lab.site(from);
            let duration = WARM_UP + MEASURED + Duration::from_secs(1);
            scope.spawn(move || {
                let peer = sink.address();
                send_datagrams(&near.host, near.host_address(), peer, PAYLOAD, RATE, duration)
                    .expect("sending works");
            });
        }
        std::thread::sleep(WARM_UP);
        let (start, first) = (Instant::now(), received(&sinks));
        std::thread::sleep(MEASURED);
        (received(&sinks) - first) * 8_000_000 / start.elapsed().as_micros() as u64
    }))
}

fn sink(lab: &Lab, site: u8) -> Result<DatagramSink> {
    DatagramSink::start(&lab.site(site).host, lab.site(site).host_address())
}

/// Bytes that arrived at all sinks, counted as IPv4 packets.
fn received(sinks: &[DatagramSink]) -> u64 {
    sinks.iter().map(|sink| sink.snapshot().packet_bytes).sum()
}
