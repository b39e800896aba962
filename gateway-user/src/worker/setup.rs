//! From a configuration to a worker that is ready to begin.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use gateway_common::wire::ETH_LEN;
use gateway_common::{ETHERTYPE_RETURN, Ethernet, Handoff, ReturnHeader, Slot, limits};
use xsk::{Chunk, Mode, Options, Sizes, Socket, Umem};

use super::config::{CopyMode, LaneReport, WorkerConfig, WorkerInterface, WorkerReport};
use super::engine::Engine;
use super::lane::Lane;
use super::maps::{self, Maps};
use super::port::Port;
use super::slots::Slots;

/// Room for the packets of one socket between socket and interface, in bytes: the kernel's share of them, for a full ring.
const SEND_BUFFER_PER_FRAME: u32 = 4096;

/// How long to wait for queues that another worker has: that of an agent that was killed ends a moment later than the agent.
const OCCUPIED: Duration = Duration::from_secs(2);
/// Time between two attempts to get a queue.
const ATTEMPTS: Duration = Duration::from_millis(20);

/// Memory for everything that may be in rings at once.
pub(super) fn memory(config: &WorkerConfig) -> Result<Umem> {
    config.check()?;
    // The MTU of the WAN bounds sealed frames, that of the far end of vgw0 frames that are handed back.
    let mtu = config.interfaces.iter().map(|interface| interface.mtu).max().unwrap_or(0);
    let longest = Handoff::LEN + ETH_LEN + mtu as usize;
    let chunk = Chunk::for_packets(longest).with_context(|| {
        format!("an MTU of {mtu} bytes is too much for AF_XDP, which takes one page per packet")
    })?;
    let lanes: u32 = config.interfaces.iter().map(|interface| interface.lanes.len() as u32).sum();
    // To receive into for each lane, and to send from for each port.
    let frames = config.ring_size * (lanes + config.interfaces.len() as u32);
    Ok(Umem::new(frames, chunk)?)
}

/// Binds the sockets and puts them into map `XSKS`. The lanes are still closed.
///
/// # Errors
/// An interface is missing, or the kernel refuses a socket.
pub(super) fn engine<'umem>(
    config: &WorkerConfig,
    maps: &'umem Maps,
    umem: &'umem Umem,
) -> Result<(Engine<'umem>, WorkerReport)> {
    let mut ports = Vec::new();
    let deadline = Instant::now() + OCCUPIED;
    for interface in &config.interfaces {
        ports.push(port(config, maps, interface, umem, deadline)?);
    }
    let report = report(config, &ports);
    let peer = config.interfaces.iter().position(|interface| interface.is_vgw0_peer);
    let vgw0_peer = peer.context("no interface is the far end of vgw0")?;
    let to_vgw0 = Ethernet::new(config.vgw0_mac, config.vgw0_peer_mac, ETHERTYPE_RETURN);
    let mut engine = Engine::new(maps, ports, vgw0_peer, to_vgw0, umem.take_frames());
    engine.close_lanes();
    insert(&config.pin_directory, &engine)?;
    Ok((engine, report))
}

fn port<'umem>(
    config: &WorkerConfig,
    maps: &'umem Maps,
    interface: &WorkerInterface,
    umem: &'umem Umem,
    deadline: Instant,
) -> Result<Port<'umem>> {
    let options = Options {
        sizes: Sizes {
            // The kernel tells of room in the fill ring a little late.
            fill: 2 * config.ring_size,
            receive: config.ring_size,
            send: config.ring_size,
            completion: config.ring_size,
        },
        zero_copy: config.zero_copy,
        send_budget: Some(config.tx_budget),
        send_buffer: Some(config.ring_size.saturating_mul(SEND_BUFFER_PER_FRAME)),
    };
    let index = nix::net::if_::if_nametoindex(interface.name.as_str())
        .with_context(|| format!("there is no interface {}", interface.name))?;
    ensure!(index == interface.index, "interface {} is not the one that it was", interface.name);
    let mut lanes = Vec::new();
    for lane in &interface.lanes {
        let socket = loop {
            match Socket::bind(umem, &interface.name, lane.queue, &options) {
                Err(error) if error.is_occupied() && Instant::now() < deadline => {
                    std::thread::sleep(ATTEMPTS);
                }
                outcome => break outcome?,
            }
        };
        let by_slots = config.exchange && socket.mode() == Mode::Copy && config.fits_slots();
        let slots = by_slots.then(|| Slots::new(&maps.slots, lane.lane, config.ring_size)).flatten();
        lanes.push(Lane::new(socket, lane.lane, slots, config.ring_size));
    }
    Ok(Port::new(interface.index, lanes))
}

fn insert(directory: &Path, engine: &Engine<'_>) -> Result<()> {
    let mut sockets = maps::sockets(directory)?;
    for lane in engine.lanes() {
        sockets.set(lane.number, lane.socket.as_fd(), 0).with_context(|| {
            let (interface, queue) = (lane.socket.interface(), lane.socket.queue());
            format!("cannot enter the socket of {interface} queue {queue} into map XSKS")
        })?;
    }
    Ok(())
}

fn report(config: &WorkerConfig, ports: &[Port<'_>]) -> WorkerReport {
    let lanes = config.interfaces.iter().zip(ports).flat_map(|(interface, port)| {
        port.lanes.iter().map(|lane| LaneReport {
            interface: interface.name.clone(),
            queue: lane.socket.queue(),
            lane: lane.number,
            mode: match lane.socket.mode() {
                Mode::ZeroCopy => CopyMode::ZeroCopy,
                Mode::Copy if lane.slots.is_some() => CopyMode::Exchange,
                Mode::Copy => CopyMode::Copy,
            },
        })
    });
    WorkerReport { lanes: lanes.collect() }
}

impl WorkerConfig {
    /// Whether the longest sealed frame fits into a slot. The far end of `vgw0` has room for one, and what a worker puts before it.
    fn fits_slots(&self) -> bool {
        let peer = self.interfaces.iter().filter(|interface| interface.is_vgw0_peer);
        let longest = peer.map(|peer| ETH_LEN + peer.mtu as usize).max().unwrap_or(usize::MAX);
        longest <= Slot::ROOM + ReturnHeader::LEN + Handoff::LEN
    }

    /// Whether the numbers make sense.
    fn check(&self) -> Result<()> {
        /// Most entries of a ring: more would only be memory.
        const RING_MAX: u32 = 16_384;
        ensure!(
            self.ring_size.is_power_of_two() && self.ring_size <= RING_MAX,
            "the size of a ring must be a power of two up to {RING_MAX}, not {}",
            self.ring_size
        );
        for interface in &self.interfaces {
            ensure!(!interface.lanes.is_empty(), "interface {} has no lane", interface.name);
            for lane in &interface.lanes {
                ensure!(
                    lane.lane > 0 && lane.lane < limits::LANES,
                    "lane {} of {} is out of range",
                    lane.lane,
                    interface.name
                );
            }
        }
        Ok(())
    }
}
