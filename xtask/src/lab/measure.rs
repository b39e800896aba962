//! Measurements on a connected laboratory.

use super::summary::Summary;
use crate::progress::Step;
use anyhow::Result;
use std::time::Duration;
use testbed::{
    Agent, Capture, CaptureReport, IperfReport, Lab, PacketClass, PingReport, Transport, iperf, ping,
};

/// Payload of the pings: 16 bytes, what `ping -p` takes. It must never be readable on the wire.
const NEEDLE: &[u8; 16] = b"vnet-gateway-lab";

/// Pings in each direction.
const PINGS: u32 = 10;

/// Packets of each stream that are looked at.
const SAMPLED: u64 = 20;

/// Largest UDP payload that fits every tunnel without fragments.
const UDP_PAYLOAD: u16 = 1350;

/// Pings, streams and looks at the wire.
pub(super) fn measure(lab: &Lab, agents: &[Agent], seconds: u32) -> Result<Summary> {
    let (pings, mut wire) = ping_both_ways(lab)?;
    let (tcp, sample) = stream(lab, Transport::Tcp, seconds)?;
    wire.merge(sample);
    let udp = Transport::Udp { payload: UDP_PAYLOAD, rate: 0 };
    let (udp, sample) = stream(lab, udp, seconds)?;
    wire.merge(sample);

    println!("==> First packets on the wire, seen in the internet");
    for line in &wire.described {
        println!("    {line}");
    }
    for (site, agent) in lab.sites().iter().zip(agents) {
        println!("==> vgw status, at the gateway of {}", site.vnet());
        agent.vgw().text(&["status"])?.lines().for_each(|line| println!("    {line}"));
    }
    let status = agents[0].vgw().status()?;
    let connection = agents[0].vgw().connection(&lab.site(2).vnet())?;
    Ok(Summary { pings, tcp, udp, wire, status, connection })
}

fn ping_both_ways(lab: &Lab) -> Result<(Vec<PingReport>, CaptureReport)> {
    let step = Step::begin(&format!("Pinging {PINGS} times each way, with a capture on the wire"));
    let capture = Capture::start(&lab.inet, &lab.site(1).inet_port(), NEEDLE)?;
    let pattern = format!("{:032x}", u128::from_be_bytes(*NEEDLE));
    let mut reports = Vec::new();
    for (from, to) in [(1, 2), (2, 1)] {
        let target = lab.site(to).host_address();
        reports.push(ping(&lab.site(from).host, &format!("-c {PINGS} -i 0.2 -W 1 -p {pattern} {target}"))?);
    }
    let wire = capture.stop();
    let received: u32 = reports.iter().map(|report| report.received).sum();
    step.end(&format!("{received} of {} answered", 2 * PINGS));
    Ok((reports, wire))
}

/// Streams from host 1 to host 2 and looks at a few of the packets while it lasts.
fn stream(lab: &Lab, transport: Transport, seconds: u32) -> Result<(IperfReport, CaptureReport)> {
    let name = if transport == Transport::Tcp { "TCP" } else { "UDP" };
    let step = Step::begin(&format!("Streaming {name} for {seconds} s"));
    let (near, far) = (lab.site(1), lab.site(2));
    let look = || -> Result<CaptureReport> {
        std::thread::sleep(Duration::from_millis(500));
        Capture::sample(&lab.inet, &near.inet_port(), NEEDLE, SAMPLED, Duration::from_secs(5))
    };
    let (report, sample) = std::thread::scope(|scope| {
        let sample = scope.spawn(look);
        let report = iperf(&far.host, far.host_address(), &near.host, transport, seconds, &lab.directory());
        (report, sample.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let (report, sample) = (report?, sample?);
    let clear = sample.count(PacketClass::Plaintext);
    step.end(&format!(
        "{:.3} Gbit/s, {} packets looked at, {clear} in the clear",
        report.gbps(),
        sample.total()
    ));
    Ok((report, sample))
}
