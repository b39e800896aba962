//! UDP loads that cost next to nothing beside the gateways: the kernel makes the packets, and an XDP program counts them.
//!
//! A socket takes about as much time for a packet as a fast gateway does. Here frames are made in host A by
//! `BPF_PROG_TEST_RUN` on live frames (Documentation/bpf/bpf_prog_run.rst in the kernel's source) and redirected out of its
//! port; the program at host B's port counts those of the load, drops them, and lets all else pass.

use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::net::if_::if_nametoindex;
use nix::sys::prctl;
use testbed::NetNs;

use super::interval::{Interval, Meter};
use super::pacer::{Pacer, Turn};
use super::packet::PacketSize;
use super::place::{Placement, pin};
use super::udp::{Load, Rate};
use crate::bpf::programs::{self, Shape};
use crate::bpf::{Link, Map, Program};
use crate::end_to_end::search::Outcome;
use crate::end_to_end::topology::{End, Topology};

/// Destination port of the first load; each load has another one, so that a late packet of an earlier one does not count.
const FIRST_PORT: u16 = 22_000;
/// After so many loads ports are used again.
const PORTS: u16 = 64;
/// Source port of the first flow; the others follow.
const FIRST_SENDER_PORT: u16 = 23_000;
/// Frames that are made at a time, at most.
const BATCH: usize = 64;
/// Time between two batches at a moderate rate. Starting one costs the kernel several µs.
const BATCH_INTERVAL: Duration = Duration::from_micros(100);
/// Most time from the start of a load until it counts; a short load has a warm-up of its own length.
const WARM_UP: Duration = Duration::from_millis(50);
/// Silence after which nothing of a load is under way any more.
const SILENCE: Duration = Duration::from_millis(50);
/// What comes later than that after the load counts as lost: some queue without a bound.
const LATEST: Duration = Duration::from_secs(3);

/// The generator and the counter between the hosts of a topology. The counter is attached for as long as this lives.
pub(crate) struct LightGenerator<'a> {
    topology: &'a Topology,
    placement: Placement,
    flows: u16,
    route: Route,
    counters: Map,
    loads: AtomicU16,
    _programs: Vec<Link>,
}

/// How host A reaches host B.
struct Route {
    /// Port of host A and its index.
    port: String,
    index: u32,
    /// Hardware addresses of that port and of the next hop.
    from: [u8; 6],
    to: [u8; 6],
}

impl<'a> LightGenerator<'a> {
    /// Attaches the counter.
    ///
    /// # Errors
    /// Host B's port refuses an XDP program, or there is no route.
    pub(crate) fn open(topology: &'a Topology, flows: u16, placement: Placement) -> Result<Self> {
        let counters = Map::counters(usize::from(PORTS))?;
        let port = port_of(topology, End::B)?;
        let program = programs::count_ports(FIRST_PORT, PORTS, &counters)?;
        let mut programs = vec![topology.host(End::B).enter(|| program.attach(&port))??];
        let route = Route::find(topology)?;
        let gateway = topology.gateway(End::A);
        if route.port == Topology::HOST_PORT && !receives_merged(gateway)? {
            // Without GRO the driver takes XDP frames only for a port with a program.
            programs.push(gateway.enter(|| programs::pass()?.attach(Topology::LAN))??);
        }
        let loads = AtomicU16::new(0);
        Ok(Self { topology, placement, flows, route, counters, loads, _programs: programs })
    }

    /// Sends `load` and counts what arrives at host B.
    ///
    /// # Errors
    /// The kernel refuses something.
    pub(crate) fn deliver(&self, load: &Load) -> Result<Outcome> {
        let number = self.loads.fetch_add(1, Ordering::Relaxed) % PORTS;
        let arrived = || Ok(self.counters.counts()?[usize::from(number)]);
        let before = arrived()?;
        let (sent, per_second) = self.send_beside(number, load, arrived)?;
        self.drain(Instant::now() + LATEST)?;
        let arrived = arrived()? - before;
        Ok(Outcome {
            offered: sent.per_second,
            received: per_second,
            lost: sent.total.saturating_sub(arrived),
            arrived,
        })
    }

    /// Sends `load` without receiving it and meanwhile measures how fast `sample` grows.
    ///
    /// # Errors
    /// The kernel refuses something, or `sample` fails.
    pub(crate) fn send_only(&self, load: &Load, sample: impl FnMut() -> Result<u64>) -> Result<Outcome> {
        let number = self.loads.fetch_add(1, Ordering::Relaxed) % PORTS;
        let (sent, received) = self.send_beside(number, load, sample)?;
        Ok(Outcome { offered: sent.per_second, received, lost: 0, arrived: 0 })
    }

    fn send_beside(
        &self,
        number: u16,
        load: &Load,
        sample: impl FnMut() -> Result<u64>,
    ) -> Result<(Sent, f64)> {
        thread::scope(|scope| {
            let host = self.topology.host(End::A);
            let source = Source::new(&self.route, load.size, FIRST_PORT + number, self.flows)?;
            // For each run of a program that is attached nowhere the kernel patches its code and waits for all processors.
            // This does so once, and before the clock starts: it may take as long as a load.
            let known = host.enter(|| source.program.attach_generic("lo"))??;
            let interval = Interval::after(WARM_UP.min(load.length), load.length);
            let sender = scope.spawn(move || {
                pin(self.placement.sender)?;
                host.enter(|| source.run(load, interval, &self.route.port))?
            });
            let growth = interval.growth_per_second(sample);
            let sent = sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            drop(known);
            Ok((sent, growth?))
        })
    }

    /// Waits until no load arrives any more, `until` at the latest.
    fn drain(&self, until: Instant) -> Result<()> {
        let all = || -> Result<u64> { Ok(self.counters.counts()?.iter().sum()) };
        let (mut count, mut last) = (all()?, Instant::now());
        while last.elapsed() < SILENCE && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
            let now = all()?;
            if now != count {
                (count, last) = (now, Instant::now());
            }
        }
        Ok(())
    }
}

/// What was sent.
struct Sent {
    total: u64,
    per_second: f64,
}

/// Frames of one load.
struct Source {
    program: Program,
    frame: Vec<u8>,
}

impl Source {
    fn new(route: &Route, size: PacketSize, port: u16, flows: u16) -> Result<Self> {
        let pattern = size.pattern();
        let mut lengths = pattern.clone();
        lengths.sort_unstable();
        lengths.dedup();
        let longest = lengths.last().copied().unwrap_or_default();
        let headers: Vec<Vec<u8>> = lengths.iter().map(|length| headers(route, port, *length)).collect();
        let shapes: Vec<Shape<'_>> = headers
            .iter()
            .zip(&lengths)
            .map(|(headers, length)| Shape { headers, length: ETHERNET + length })
            .collect();
        let places: Vec<usize> =
            pattern.iter().filter_map(|length| lengths.binary_search(length).ok()).collect();
        let frame = vec![FILLER; ETHERNET + longest];
        let counter = Map::counter()?;
        let program = programs::flows(
            &shapes,
            &places,
            frame.len(),
            (FIRST_SENDER_PORT, flows),
            route.index,
            &counter,
        )?;
        Ok(Self { program, frame })
    }

    /// Sends from now until `interval` ends. The calling thread is in the namespace of `port`.
    fn run(&self, load: &Load, interval: Interval, port: &str) -> Result<Sent> {
        prctl::set_timerslack(1).context("cannot make sleep exact")?;
        let mut meter = Meter::new(interval);
        let mut now = Instant::now();
        let mut pacer = match load.rate {
            Rate::Unpaced => None,
            Rate::PacketsPerSecond(rate) => Some(Pacer::new(now, rate, BATCH_INTERVAL)),
        };
        while now < interval.end {
            let due = match pacer.as_mut().map(|pacer| pacer.turn(now, BATCH)) {
                None => BATCH,
                Some(Turn::Send(packets)) => packets,
                Some(Turn::Wait(time)) => {
                    thread::sleep(time);
                    now = Instant::now();
                    continue;
                }
            };
            self.program.inject(&self.frame, due as u32).with_context(|| format!("out of {port}"))?;
            if let Some(pacer) = &mut pacer {
                pacer.sent(due);
            }
            now = Instant::now();
            meter.add(now, due as u64);
        }
        Ok(Sent { total: meter.total(), per_second: meter.within() as f64 / interval.seconds() })
    }
}

/// Length of an Ethernet header.
const ETHERNET: usize = 14;
/// What packets are filled with.
const FILLER: u8 = 0x5a;

impl Route {
    fn find(topology: &Topology) -> Result<Self> {
        let port = port_of(topology, End::A)?;
        let near = topology.host(End::A);
        let index = near.enter(|| if_nametoindex(port.as_str()))??;
        let from = hardware_address(topology, End::A, &port)?;
        let is_direct = port != Topology::HOST_PORT;
        let to = if is_direct {
            hardware_address(topology, End::B, &port_of(topology, End::B)?)?
        } else {
            parse_hardware_address(&End::A.hardware_address(Topology::LAN))?
        };
        Ok(Self { port, index, from, to })
    }
}

/// Whether GRO is on at the port of `gateway` towards its host.
fn receives_merged(gateway: &NetNs) -> Result<bool> {
    let features = testbed::run(gateway.command("ethtool")?.args(["-k", Topology::LAN]))?;
    Ok(features.contains("generic-receive-offload: on"))
}

/// The port that the host at `end` sends to the other host from.
fn port_of(topology: &Topology, end: End) -> Result<String> {
    let route = topology.host(end).ip(&format!("-oneline route get {}", end.other().host_address()))?;
    let mut words = route.split_whitespace().skip_while(|word| *word != "dev");
    words.nth(1).map(str::to_owned).with_context(|| format!("no port in the route {route}"))
}

fn hardware_address(topology: &Topology, end: End, port: &str) -> Result<[u8; 6]> {
    let line = topology.host(end).ip(&format!("-oneline link show {port}"))?;
    let (_, rest) =
        line.split_once("link/ether ").with_context(|| format!("{port} has no hardware address"))?;
    parse_hardware_address(rest.split(' ').next().unwrap_or_default())
}

fn parse_hardware_address(text: &str) -> Result<[u8; 6]> {
    let bytes: Vec<u8> =
        text.split(':').map(|digits| u8::from_str_radix(digits, 16)).collect::<Result<_, _>>()?;
    bytes.try_into().ok().with_context(|| format!("{text} is no hardware address"))
}

/// Ethernet, IPv4 and UDP header of an IP packet of `length` bytes to `port`; the program writes the source port.
///
/// The UDP checksum is zero, "not computed" (RFC 768): the kernel uses memory again in which a gateway has sealed a payload.
fn headers(route: &Route, port: u16, length: usize) -> Vec<u8> {
    let mut ip = [0_u8; 20];
    ip[0] = 0x45;
    ip[2..4].copy_from_slice(&(length as u16).to_be_bytes());
    // Do not fragment.
    ip[6] = 0x40;
    ip[8] = 64;
    ip[9] = 17;
    ip[12..16].copy_from_slice(&End::A.host_address().octets());
    ip[16..20].copy_from_slice(&End::B.host_address().octets());
    let checksum = checksum(&ip);
    ip[10..12].copy_from_slice(&checksum.to_be_bytes());
    let udp_length = (length - ip.len()) as u16;
    let [source, target, udp_length, zero] = [0, port, udp_length, 0].map(u16::to_be_bytes);
    [&route.to[..], &route.from, &[0x08, 0x00], &ip, &source, &target, &udp_length, &zero].concat()
}

/// The internet checksum (RFC 1071) of an even number of bytes.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTE: Route = Route { port: String::new(), index: 2, from: [1; 6], to: [2; 6] };

    #[test]
    fn every_packet_of_a_moderate_load_is_forwarded_and_counted_and_all_else_passes() -> Result<()> {
        let name = "every_packet_of_a_moderate_load_is_forwarded_and_counted_and_all_else_passes";
        if testbed::skip_unless_capable(name) {
            return Ok(());
        }
        let topology = Topology::create()?;
        let systems = crate::end_to_end::choose(&["plain".to_owned()])?;
        let _running = systems[0].start(&topology)?;
        topology.wait_ready()?;
        let placement = Placement { sender: None, receiver: None };
        let light = LightGenerator::open(&topology, 8, placement)?;
        for size in [PacketSize::Fixed(64), PacketSize::Imix, PacketSize::Fixed(1400)] {
            let length = Duration::from_millis(100);
            let outcome = light.deliver(&Load { size, rate: Rate::PacketsPerSecond(5_000.0), length })?;
            assert!(outcome.arrived > 0 && outcome.lost == 0, "{size}: {outcome:?}");
        }
        topology.wait_ready()
    }

    #[test]
    fn a_header_has_a_valid_checksum_and_the_lengths_of_its_packet() {
        let frame = headers(&ROUTE, 22_001, 570);
        assert_eq!(frame.len(), 42);
        assert_eq!(checksum(&frame[14..34]), 0, "the sum over a header with its checksum is all ones");
        assert_eq!(frame[16..18], 570_u16.to_be_bytes());
        assert_eq!(frame[36..40], [22_001_u16.to_be_bytes(), 550_u16.to_be_bytes()].concat());
        // The example of RFC 1071, section 3.
        assert_eq!(!checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), 0xddf2);
    }
}
