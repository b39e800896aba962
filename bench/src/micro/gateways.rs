//! Two gateways with a tunnel, and traffic that nothing but them slows down.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use gateway_common::Aead;
use nix::net::if_::if_nametoindex;
use testbed::{Agent, GatewayOptions, Lab, NetNs, Site};

use super::cpu_time::Stopwatch;
use super::generator::{Addresses, Generator};
use super::pin;
use crate::bpf::programs;
use crate::bpf::{Link, Map};

/// Longer than any measurement: the wire carries nothing but ESP meanwhile.
const QUIET_SECONDS: u32 = 3600;

/// Packets that the generator sends a worker at a time: fewer than its rings hold.
const PORTION: u32 = 1_000;
/// Time for the worker to catch up before the next ones.
const PAUSE: Duration = Duration::from_millis(2);
/// How long packets may be on their way on a crowded machine.
const ARRIVAL: Duration = Duration::from_secs(10);

/// ```text
/// host1 ── gateway 1 ── wire ── gateway 2 ── host2
/// ```
pub(super) struct Gateways {
    lab: Lab,
    agents: Vec<Agent>,
    addresses: Addresses,
}

/// How far packets go before an XDP program counts and drops them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Until {
    /// To the wire: gateway 1 alone works.
    Wire,
    /// To host 2: the wire is an XDP program that redirects, and gateway 2 works, too.
    Host,
}

/// What a packet costs a gateway with engine `xsk`, in ns of processor time.
#[derive(Clone, Copy, Debug)]
pub(super) struct WorkerCost {
    /// On the processor that sends it: making it, and what the XDP program does there.
    pub(super) sender_ns: f64,
    /// The worker's.
    pub(super) worker_ns: f64,
}

impl Gateways {
    /// Starts both gateways with `engine` and ESP by `aead`.
    ///
    /// # Errors
    /// Root or `vgw` is missing, or the tunnel does not come up.
    pub(super) fn start(engine: &str, aead: Aead) -> Result<Self> {
        let lab = Lab::builder().build()?;
        let options = GatewayOptions {
            engine: Some(engine.to_owned()),
            workers: (engine == "xsk").then_some(1),
            worker_cpus: (engine == "xsk").then(|| pin::FORWARDER.to_string()),
            dpd: Some(QUIET_SECONDS),
            esp_proposal: Some(proposal(aead).to_owned()),
            ..GatewayOptions::default()
        };
        let agents = lab.establish(&options)?;
        lab.wait_reachable(1, 2)?;
        let (near, far) = (lab.site(1), lab.site(2));
        let addresses = Addresses {
            source_mac: mac(&near.host, Site::HOST_PORT)?,
            destination_mac: mac(&near.gateway, Site::LAN)?,
            source: near.host_address(),
            destination: far.host_address(),
        };
        Ok(Self { lab, agents, addresses })
    }

    /// Sends `frames` packets of `bytes` bytes from host 1 and returns what the sending processor spent on each, in ns:
    /// making it, and everything that happens to it up to its end, as far as no other thread does it.
    ///
    /// # Errors
    /// Packets were lost: then the time would be that of something else.
    pub(super) fn sender_ns(&self, until: Until, bytes: usize, frames: u32) -> Result<f64> {
        let counter = Map::counter()?;
        let _links = self.end(until, &counter)?;
        let (nanoseconds, sent) = self.lab.site(1).host.enter(|| -> Result<(f64, u64)> {
            let _pinned = pin::to_processor(pin::GENERATOR)?;
            let generator = Generator::new(if_nametoindex(Site::HOST_PORT)?, &self.addresses, bytes)?;
            // The first batches find the caches cold.
            let warm_up = frames / 10;
            generator.send(warm_up)?;
            let spent = Stopwatch::start()?;
            generator.send(frames)?;
            Ok((spent.ns()? / f64::from(frames), u64::from(warm_up + frames)))
        })??;
        // What was handed to another thread may be on its way still.
        let arrived = || -> Result<bool> { Ok(counter.count()? >= sent * 99 / 100) };
        testbed::wait_until(ARRIVAL, "the packets arrive", arrived)
            .with_context(|| format!("of {sent} packets of {bytes} bytes"))?;
        Ok(nanoseconds)
    }

    /// What a packet of `bytes` bytes from host 1 costs gateway 1 while many arrive but none too many, in ns: on the sending
    /// processor, making it included, and the worker's time, in which it seals and the kernel sends. Engine `xsk` only.
    ///
    /// # Errors
    /// There is no worker, or some packets did not go through it: then the time would be that of something else.
    pub(super) fn worker_ns(&self, bytes: usize, duration: Duration) -> Result<WorkerCost> {
        let counter = Map::counter()?;
        let _links = self.end(Until::Wire, &counter)?;
        let before = self.worker()?;
        let (sender_ns, sent) = self.lab.site(1).host.enter(|| -> Result<(f64, u64)> {
            let _pinned = pin::to_processor(pin::GENERATOR)?;
            let generator = Generator::new(if_nametoindex(Site::HOST_PORT)?, &self.addresses, bytes)?;
            let spent = Stopwatch::start()?;
            let (start, mut sent) = (Instant::now(), 0);
            while start.elapsed() < duration {
                generator.send(PORTION)?;
                sent += u64::from(PORTION);
                std::thread::sleep(PAUSE);
            }
            Ok((spent.ns()? / sent as f64, sent))
        })??;
        let after = self.worker()?;
        let handed_over = after.1 - before.1;
        ensure!(
            handed_over >= sent * 99 / 100,
            "of {sent} packets the worker got {handed_over}, the kernel engine the rest"
        );
        Ok(WorkerCost { sender_ns, worker_ns: (after.0 - before.0) as f64 / handed_over as f64 })
    }

    /// Processor time in ns of gateway 1's worker, and the frames from the VNet that it was given.
    fn worker(&self) -> Result<(u64, u64)> {
        let status = self.agents[0].vgw().status()?;
        let worker = &status["engine"]["workers"][0];
        let process = worker["pid"].as_u64().with_context(|| format!("no worker in {status}"))?;
        let text = std::fs::read_to_string(format!("/proc/{process}/schedstat"))?;
        let time = text.split_whitespace().next().context("an empty schedstat")?.parse()?;
        let lanes = worker["lanes"].as_array().into_iter().flatten();
        let lan = lanes.filter(|lane| lane["interface"] == Site::LAN);
        Ok((time, lan.filter_map(|lane| lane["handed_over"].as_u64()).sum()))
    }

    fn end(&self, until: Until, counter: &Map) -> Result<Vec<Link>> {
        let (near, far) = (self.lab.site(1), self.lab.site(2));
        let wire = &self.lab.inet;
        if until == Until::Wire {
            return Ok(vec![wire.enter(|| programs::drop_and_count(counter)?.attach(&near.inet_port()))??]);
        }
        let macs = [mac(&far.gateway, Site::WAN)?, mac(wire, &far.inet_port())?].concat();
        let host = far.host.enter(|| programs::drop_and_count(counter)?.attach(Site::HOST_PORT))??;
        let wire = wire.enter(|| -> Result<Link> {
            let port = if_nametoindex(far.inet_port().as_str())?;
            programs::write_and_redirect(&macs, port)?.attach(&near.inet_port())
        })??;
        Ok(vec![host, wire])
    }
}

/// Name of the algorithm in proposals.
fn proposal(aead: Aead) -> &'static str {
    match aead {
        Aead::ChaCha20Poly1305 => "chacha20poly1305",
        Aead::Aes128Gcm => "aes128gcm16",
        Aead::Aes256Gcm => "aes256gcm16",
    }
}

/// MAC address of a port.
fn mac(namespace: &NetNs, port: &str) -> Result<[u8; 6]> {
    let line = namespace.ip(&format!("-oneline link show {port}"))?;
    let text = line.split_once("link/ether ").with_context(|| format!("{port} has no MAC address"))?.1;
    let bytes: Vec<u8> = text
        .split(' ')
        .next()
        .unwrap_or_default()
        .split(':')
        .map(|digits| u8::from_str_radix(digits, 16))
        .collect::<Result<_, _>>()?;
    let found: Result<[u8; 6], _> = bytes.try_into();
    ensure!(found.is_ok(), "{port} has a MAC address of another length");
    Ok(found.unwrap_or_default())
}
