//! What forwarding costs an XDP program that does nothing else: the part of a gateway that no cipher can take away.

use anyhow::{Result, ensure};
use nix::net::if_::if_nametoindex;

use super::cpu_time::Stopwatch;
use super::generator::Generator;
use super::pin;
use super::statistics::median;
use super::wire::Wire;
use crate::bpf::programs;
use crate::bpf::{Link, Map};

/// Frames of one run.
const FRAMES: u32 = 20_000;

/// Generator, forwarder and receiver share one processor; the times are of that processor, per frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Redirect {
    /// Made, sent over one virtual link, received by an XDP program and dropped there, in ns: the generator's ceiling.
    pub(super) generate_ns: f64,
    /// What a second link adds: received by the forwarder's XDP program, redirected, sent, in ns.
    pub(super) forward_ns: f64,
}

/// Measures packets of `bytes` bytes in `runs` runs of each kind, in turn. The result is the median.
///
/// # Errors
/// Root is missing, or the kernel refuses something.
pub(super) fn measure(bytes: usize, runs: usize) -> Result<Redirect> {
    let wire = Wire::create()?;
    let (mut alone, mut forwarded) = (Vec::new(), Vec::new());
    for _ in 0..runs {
        alone.push(run(&wire, bytes, Kind::Drop)?);
        forwarded.push(run(&wire, bytes, Kind::Forward)?);
    }
    let generate_ns = median(&mut alone);
    Ok(Redirect { generate_ns, forward_ns: median(&mut forwarded) - generate_ns })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// The forwarder drops.
    Drop,
    /// The forwarder redirects and the receiver drops.
    Forward,
}

/// Time per frame in ns.
fn run(wire: &Wire, bytes: usize, kind: Kind) -> Result<f64> {
    let counter = Map::counter()?;
    let _links: Vec<Link> = match kind {
        Kind::Drop => vec![wire.forwarder.enter(|| programs::drop_and_count(&counter)?.attach(Wire::IN))??],
        Kind::Forward => vec![
            wire.receiver.enter(|| programs::drop_and_count(&counter)?.attach(Wire::RECEIVER))??,
            wire.forwarder.enter(|| programs::redirect(if_nametoindex(Wire::OUT)?)?.attach(Wire::IN))??,
        ],
    };
    let nanoseconds = wire.sender.enter(|| -> Result<f64> {
        let _pinned = pin::to_processor(pin::GENERATOR)?;
        let generator = Generator::new(if_nametoindex(Wire::SENDER)?, &Wire::addresses(), bytes)?;
        // The first batches fill the page pool and find the caches cold.
        generator.send(FRAMES / 10)?;
        let spent = Stopwatch::start()?;
        generator.send(FRAMES)?;
        Ok(spent.ns()? / f64::from(FRAMES))
    })??;
    let counted = counter.count()?;
    let sent = u64::from(FRAMES + FRAMES / 10);
    ensure!(counted >= sent * 99 / 100, "only {counted} of {sent} frames arrived");
    Ok(nanoseconds)
}
