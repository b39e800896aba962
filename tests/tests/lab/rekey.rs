//! Child SAs are replaced under load without losing a packet.

use crate::support::{no_wrong_drops, number, stalled, with_both_engines};
use anyhow::Result;
use serde_json::Value;
use std::time::Duration;
use testbed::traffic::{DatagramSink, StreamSink, send_datagrams, send_stream};
use testbed::{Agent, GatewayOptions};

/// Seconds a Child SA lives.
const LIFETIME: u32 = 5;

/// How long the streams run.
const STREAM: Duration = Duration::from_secs(30);

/// Rekeys that must have happened in that time, whatever the jitter.
const REKEYS: u64 = 4;

/// Datagrams per second of the stream that counts losses.
const RATE: u32 = 500;

#[test]
fn rekeying_every_five_seconds_loses_nothing() {
    with_both_engines("rekeying_every_five_seconds_loses_nothing", 2, |lab, options| {
        let options = GatewayOptions { child_lifetime: Some(LIFETIME), ..options.clone() };
        let agents = lab.establish(&options)?;
        lab.wait_reachable(1, 2)?;
        let (near, far) = (lab.site(1), lab.site(2));
        let before = rekeys(&agents[0])?;

        let stream = StreamSink::start(&far.host, far.host_address())?;
        let datagrams = DatagramSink::start(&far.host, far.host_address())?;
        let (sent, streamed) = std::thread::scope(|scope| {
            let streamed = scope.spawn(|| send_stream(&near.host, stream.address(), STREAM));
            let peer = datagrams.address();
            let sent = send_datagrams(&near.host, near.host_address(), peer, 400, RATE, STREAM);
            (sent, streamed.join().expect("the stream does not panic"))
        });
        let (sent, streamed) = (sent?, streamed?);
        assert_eq!(stream.finish()?, streamed);
        let after = rekeys(&agents[0])?;
        assert!(after - before >= REKEYS, "only {} rekeys", after - before);
        let report = datagrams.stop();
        assert_eq!((report.duplicates, report.corrupt), (0, 0), "{report:?}");
        // Only what waits for a worker that gets no CPU may come too late for the peer, and that is counted.
        let statuses = [agents[0].vgw().status()?, agents[1].vgw().status()?];
        let late = if statuses.iter().any(|status| stalled(status) > 0) { late(&statuses) } else { 0 };
        assert!(report.received + late >= sent, "{sent} were sent, {late} were late: {report:?}");
        no_wrong_drops(&agents)?;
        Ok(agents)
    });
}

/// Packets that the gateways have dropped because the anti-replay window had passed them.
fn late(statuses: &[Value]) -> u64 {
    let count = |status: &Value, reason: &str| status["drops"][reason].as_u64().unwrap_or(0);
    let of = |status| ["replayed", "authentication_failed", "worker"].map(|reason| count(status, reason));
    statuses.iter().flat_map(of).sum()
}

fn rekeys(agent: &Agent) -> Result<u64> {
    number(&agent.vgw().connection("VNet2")?, "rekeys")
}
