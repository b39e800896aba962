//! UDP loads from host A to host B.

use std::net::{SocketAddrV4, UdpSocket};
use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::socket::{setsockopt, sockopt};

use super::interval::Interval;
use super::packet::PacketSize;
use super::place::{Placement, pin};
use super::{receiver, sender};
use crate::end_to_end::topology::{End, Topology};

/// Port of the receiver.
const PORT: u16 = 20_000;
/// Port of the first flow's sender; the others follow.
const FIRST_SENDER_PORT: u16 = 21_000;
/// Room for what arrives while the receiver does not run, in bytes.
const RECEIVE_BUFFER: usize = 64 << 20;
/// Most time from the start of a load until it counts; a short load has a warm-up of its own length.
const WARM_UP: Duration = Duration::from_millis(100);

/// Sockets of both hosts.
pub(crate) struct Generator {
    senders: Vec<UdpSocket>,
    receiver: UdpSocket,
    placement: Placement,
    loads: AtomicU32,
}

/// What to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    pub(crate) size: PacketSize,
    pub(crate) rate: Rate,
    /// For how long it counts, after a warm-up of at most 100 ms.
    pub(crate) length: Duration,
}

/// How fast to send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Rate {
    /// As fast as the sender can.
    Unpaced,
    /// Evenly.
    PacketsPerSecond(f64),
}

/// What became of a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Delivery {
    /// Packets that arrived, each counted once.
    pub(crate) received: u64,
    pub(crate) duplicated: u64,
    pub(crate) reordered: u64,
    /// Packets that reached host B and found the receiver's buffer full: a loss of the generator's own.
    pub(crate) overflowed: u64,
}

impl Generator {
    /// Opens the sockets: one per flow at host A, each with a port of its own, and one at host B.
    ///
    /// # Errors
    /// A socket cannot be opened.
    pub(crate) fn open(topology: &Topology, flows: u16, placement: Placement) -> Result<Self> {
        let receiver = bind(topology, End::B, PORT)?;
        receiver.set_read_timeout(Some(receiver::PATIENCE))?;
        setsockopt(&receiver.as_fd(), sockopt::RcvBufForce, &RECEIVE_BUFFER)
            .context("cannot enlarge the receiver's buffer")?;
        let target = SocketAddrV4::new(End::B.host_address(), PORT);
        let sender = |flow| -> Result<UdpSocket> {
            let socket = bind(topology, End::A, FIRST_SENDER_PORT + flow)?;
            socket.connect(target).context("cannot reach host B")?;
            Ok(socket)
        };
        let senders = (0..flows).map(sender).collect::<Result<_>>()?;
        Ok(Self { senders, receiver, placement, loads: AtomicU32::new(0) })
    }

    /// Sends `load` and counts what arrives.
    ///
    /// # Errors
    /// A socket is broken.
    pub(crate) fn deliver(&self, load: &Load) -> Result<Delivery> {
        let number = self.loads.fetch_add(1, Ordering::Relaxed);
        let interval = Interval::after(WARM_UP.min(load.length), load.length);
        let sender_ended = AtomicBool::new(false);
        let (sent, received) = thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                pin(self.placement.receiver)?;
                receiver::run(&self.receiver, number, self.senders.len(), interval.end, &sender_ended)
            });
            let sent = join(scope.spawn(|| self.send_until(number, load, interval)));
            sender_ended.store(true, Ordering::Release);
            (sent, join(receiver))
        });
        let received = received?;
        sent?;
        Ok(Delivery {
            received: received.total,
            duplicated: received.duplicated,
            reordered: received.reordered,
            overflowed: received.overflowed,
        })
    }

    fn send_until(&self, number: u32, load: &Load, interval: Interval) -> Result<()> {
        pin(self.placement.sender)?;
        sender::run(&self.senders, number, load, interval.end)
    }
}

fn bind(topology: &Topology, end: End, port: u16) -> Result<UdpSocket> {
    let address = end.host_address();
    let socket = topology.host(end).enter(|| UdpSocket::bind((address, port)))?;
    socket.with_context(|| format!("cannot bind {address}:{port}"))
}

fn join<T>(thread: thread::ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
