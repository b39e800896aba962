//! The load generator: many initiators, each with an address of its own, over one pair of sockets.

use std::collections::{HashMap, VecDeque};
use std::io::{ErrorKind, IoSlice};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use nix::time::{ClockId, clock_gettime};
use ring::rand::SystemRandom;
use serde::Serialize;

use super::initiator::{Ends, IKE_PORT, Initiator, NAT_T_PORT, Progress};
use super::message::Response;

/// An unanswered request is sent again after this time, as often as [`TRIES`] allows.
const RETRANSMIT: Duration = Duration::from_secs(2);
/// Transmissions of a request, the first one included.
const TRIES: u32 = 10;
/// How often the generator looks at its timers when nothing arrives, in ms.
const TICK_MS: u8 = 50;
const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// Longer than any response here.
const BUFFER_LEN: usize = 4096;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load<'p> {
    /// The responder.
    pub(super) remote: Ipv4Addr,
    /// Initiator `n` has the `n`-th address from here on.
    pub(super) first_address: Ipv4Addr,
    /// The network behind initiator `n` is the `n`-th of 8 addresses from here on.
    pub(super) first_network: Ipv4Addr,
    /// Handshakes, each by another initiator.
    pub(super) count: u32,
    /// Handshakes under way at a time.
    pub(super) window: usize,
    /// The pre-shared key of all.
    pub(super) psk: &'p [u8],
}

/// What came of it.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct LoadResult {
    pub(super) handshakes: u32,
    pub(super) seconds: f64,
    /// Processor time of the generator.
    pub(super) generator_cpu_seconds: f64,
    pub(super) retransmissions: u32,
    /// Cookies that the responder asked for.
    pub(super) cookies: u32,
}

/// Makes every handshake; returns when all are complete. To be called inside the generator's network namespace.
///
/// # Errors
/// A handshake failed, or a socket.
pub(super) fn run(load: &Load<'_>) -> Result<LoadResult> {
    let sockets = Sockets::bind()?;
    let mut generator = Generator {
        load: *load,
        sockets,
        random: SystemRandom::new(),
        under_way: HashMap::new(),
        timers: VecDeque::new(),
        started: 0,
        result: LoadResult {
            handshakes: 0,
            seconds: 0.0,
            generator_cpu_seconds: 0.0,
            retransmissions: 0,
            cookies: 0,
        },
    };
    let (start, cpu_start) = (Instant::now(), thread_cpu_time()?);
    generator.run()?;
    generator.result.seconds = start.elapsed().as_secs_f64();
    generator.result.generator_cpu_seconds = thread_cpu_time()?.saturating_sub(cpu_start).as_secs_f64();
    Ok(generator.result)
}

struct Generator<'p> {
    load: Load<'p>,
    sockets: Sockets,
    random: SystemRandom,
    /// By initiator SPI.
    under_way: HashMap<u64, UnderWay<'p>>,
    /// When requests are to be looked at again: all wait equally long, so the queue is sorted.
    timers: VecDeque<(Instant, u64, u32)>,
    started: u32,
    result: LoadResult,
}

struct UnderWay<'p> {
    initiator: Initiator<'p>,
    /// Counts requests, so that the timer of an answered one is known to be void.
    request: u32,
    tries: u32,
}

impl Generator<'_> {
    fn run(&mut self) -> Result<()> {
        while self.result.handshakes < self.load.count {
            while self.started < self.load.count && self.under_way.len() < self.load.window {
                self.start()?;
            }
            self.sockets.wait()?;
            while let Some(message) = self.sockets.receive()? {
                self.handle(&message)?;
            }
            self.retransmit()?;
        }
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        let number = self.started;
        self.started += 1;
        let nth = |first: Ipv4Addr, step: u32| Ipv4Addr::from_bits(first.to_bits() + number * step);
        let ends = Ends {
            local: nth(self.load.first_address, 1),
            remote: self.load.remote,
            network: nth(self.load.first_network, 8),
        };
        let spi = u64::from(std::process::id()) << 32 | u64::from(number + 1);
        let initiator = Initiator::new(&self.random, spi, ends, self.load.psk)?;
        self.under_way.insert(spi, UnderWay { initiator, request: 0, tries: 0 });
        self.transmit(spi)
    }

    fn handle(&mut self, message: &[u8]) -> Result<()> {
        let Some(response) = Response::parse(message) else { return Ok(()) };
        let spi = response.spi_i;
        let Some(entry) = self.under_way.get_mut(&spi) else { return Ok(()) };
        let address = entry.initiator.address();
        let progress = entry.initiator.handle(&response, message);
        match progress.with_context(|| format!("the handshake of {address} failed"))? {
            Progress::Ignored => return Ok(()),
            Progress::Done => {
                self.under_way.remove(&spi);
                self.result.handshakes += 1;
                return Ok(());
            }
            Progress::Cookie => self.result.cookies += 1,
            Progress::Next => {}
        }
        entry.request += 1;
        entry.tries = 0;
        self.transmit(spi)
    }

    fn transmit(&mut self, spi: u64) -> Result<()> {
        let Some(entry) = self.under_way.get_mut(&spi) else { return Ok(()) };
        entry.tries += 1;
        let address = entry.initiator.address();
        ensure!(entry.tries <= TRIES, "no answer to a request of {address}, sent {TRIES} times");
        self.timers.push_back((Instant::now() + RETRANSMIT, spi, entry.request));
        let (request, port) = entry.initiator.request();
        self.sockets.send(address, SocketAddrV4::new(self.load.remote, port), request)
    }

    fn retransmit(&mut self) -> Result<()> {
        let now = Instant::now();
        while let Some((_, spi, request)) = self.timers.pop_front_if(|(at, ..)| *at <= now) {
            if self.under_way.get(&spi).is_some_and(|entry| entry.request == request) {
                self.result.retransmissions += 1;
                self.transmit(spi)?;
            }
        }
        Ok(())
    }
}

struct Sockets {
    ike: UdpSocket,
    nat_t: UdpSocket,
    buffer: Vec<u8>,
}

impl Sockets {
    fn bind() -> Result<Self> {
        let bind = |port| -> Result<UdpSocket> {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port))
                .with_context(|| format!("cannot bind UDP port {port} for the load generator"))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        Ok(Self { ike: bind(IKE_PORT)?, nat_t: bind(NAT_T_PORT)?, buffer: vec![0; BUFFER_LEN] })
    }

    /// Waits for a datagram, for a moment.
    fn wait(&self) -> Result<()> {
        let mut sockets =
            [&self.ike, &self.nat_t].map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN));
        poll(&mut sockets, PollTimeout::from(TICK_MS))?;
        Ok(())
    }

    /// The next message that has arrived.
    fn receive(&mut self) -> Result<Option<Vec<u8>>> {
        for (socket, marker) in [(&self.ike, &[][..]), (&self.nat_t, &NON_ESP_MARKER[..])] {
            match socket.recv(&mut self.buffer) {
                Ok(len) => {
                    return Ok(Some(self.buffer[..len].strip_prefix(marker).unwrap_or_default().to_vec()));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error).context("cannot receive"),
            }
        }
        Ok(None)
    }

    /// Sends a request from one of the many addresses.
    fn send(&self, local: Ipv4Addr, remote: SocketAddrV4, message: &[u8]) -> Result<()> {
        let is_nat_t = remote.port() == NAT_T_PORT;
        let (socket, marker) =
            if is_nat_t { (&self.nat_t, &NON_ESP_MARKER[..]) } else { (&self.ike, &[][..]) };
        let source = libc::in_addr { s_addr: u32::from_ne_bytes(local.octets()) };
        let info =
            libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: libc::in_addr { s_addr: 0 } };
        let parts = [IoSlice::new(marker), IoSlice::new(message)];
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        let remote = SockaddrIn::from(remote);
        let sent = sendmsg(socket.as_raw_fd(), &parts, &control, MsgFlags::empty(), Some(&remote));
        sent.with_context(|| {
            format!("cannot send from {local} to {}", SocketAddr::from(SocketAddrV4::from(remote)))
        })?;
        Ok(())
    }
}

/// Processor time of the calling thread.
fn thread_cpu_time() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?.into())
}
