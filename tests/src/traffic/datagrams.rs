//! A numbered stream of datagrams, counted where it arrives.

use super::{pattern, socket};
use crate::NetNs;
use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the receiver looks whether it should stop.
const TICK: Duration = Duration::from_millis(50);

/// Receive buffer in bytes: a receiver that the scheduler forgets for a moment must not look like a lossy tunnel.
const BUFFER: usize = 16 << 20;

/// Bytes of IP and UDP header around each payload.
fn headers(address: SocketAddr) -> u64 {
    if address.is_ipv4() { 28 } else { 48 }
}

/// What arrived of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DatagramReport {
    /// Datagrams that arrived for the first time with the right content.
    pub received: u64,
    /// Datagrams that arrived again.
    pub duplicates: u64,
    /// Datagrams that arrived after one with a higher number.
    pub reordered: u64,
    /// Datagrams with wrong content.
    pub corrupt: u64,
    /// Bytes of all of them, counted as IP packets.
    pub packet_bytes: u64,
}

/// Receiver of [`send_datagrams`]. Dropping it stops it.
#[derive(Debug)]
pub struct DatagramSink {
    address: SocketAddr,
    report: Arc<Mutex<DatagramReport>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl DatagramSink {
    /// Listens at `address` in `namespace`, on a port of the kernel's choice.
    pub fn start(namespace: &NetNs, address: impl Into<IpAddr>) -> Result<Self> {
        let socket = socket::bind(namespace, address.into())?;
        setsockopt(&socket, RcvBufForce, &BUFFER)?;
        socket.set_read_timeout(Some(TICK))?;
        let address = socket.local_addr()?;
        let report = Arc::new(Mutex::new(DatagramReport::default()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (report, stop) = (Arc::clone(&report), Arc::clone(&stop));
            move || receive(&socket, headers(address), &report, &stop)
        });
        Ok(Self { address, report, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has arrived so far.
    pub fn snapshot(&self) -> DatagramReport {
        self.report.lock().expect("the receiver does not panic").clone()
    }

    /// Empties the socket and ends.
    pub fn stop(mut self) -> DatagramReport {
        self.join();
        self.snapshot()
    }

    fn join(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the receiver does not panic");
        }
    }
}

impl Drop for DatagramSink {
    fn drop(&mut self) {
        self.join();
    }
}

/// Sends numbered datagrams of `payload` bytes (at least 8) from `address` in `namespace` to the sink at `peer`, `rate`
/// per second for `duration`. Returns how many were sent.
pub fn send_datagrams(
    namespace: &NetNs,
    address: impl Into<IpAddr>,
    peer: SocketAddr,
    payload: usize,
    rate: u32,
    duration: Duration,
) -> Result<u64> {
    let start = Instant::now();
    send_datagrams_while(namespace, address, peer, payload, rate, || start.elapsed() < duration)
}

/// As [`send_datagrams`], for as long as `goes_on`.
pub fn send_datagrams_while(
    namespace: &NetNs,
    address: impl Into<IpAddr>,
    peer: SocketAddr,
    payload: usize,
    rate: u32,
    goes_on: impl Fn() -> bool,
) -> Result<u64> {
    ensure!(payload >= 8, "the number needs 8 bytes");
    let socket = socket::bind(namespace, address.into())?;
    let interval = Duration::from_secs(1) / rate;
    let start = Instant::now();
    let mut buffer = vec![0; payload];
    let mut number = 0_u64;
    while goes_on() {
        // Behind schedule, several are sent at once: the mean rate holds whatever the scheduler does.
        let due = start.elapsed().as_nanos() / interval.as_nanos().max(1);
        while u128::from(number) <= due {
            content(number, &mut buffer);
            socket.send_to(&buffer, peer).with_context(|| format!("cannot send datagram {number}"))?;
            number += 1;
        }
        std::thread::sleep(interval.clamp(Duration::from_micros(200), Duration::from_millis(10)));
    }
    Ok(number)
}

fn content(number: u64, buffer: &mut [u8]) {
    buffer[..8].copy_from_slice(&number.to_be_bytes());
    pattern::fill(number.wrapping_mul(0x1_0000), 0, &mut buffer[8..]);
}

fn receive(socket: &UdpSocket, headers: u64, report: &Mutex<DatagramReport>, stop: &AtomicBool) {
    let mut buffer = vec![0; 1 << 16];
    let mut expected = vec![0; 1 << 16];
    let mut seen = HashSet::new();
    let mut highest = 0;
    loop {
        // Only an empty queue may end the receiver: what arrived before `stop` counts.
        let Ok(length) = socket.recv(&mut buffer) else {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            continue;
        };
        let mut report = report.lock().expect("no holder of the report panics");
        report.packet_bytes += length as u64 + headers;
        let Some(number) = buffer[..length].first_chunk().map(|bytes| u64::from_be_bytes(*bytes)) else {
            report.corrupt += 1;
            continue;
        };
        content(number, &mut expected[..length]);
        if expected[..length] != buffer[..length] {
            report.corrupt += 1;
        } else if !seen.insert(number) {
            report.duplicates += 1;
        } else {
            report.received += 1;
            report.reordered += u64::from(number < highest);
            highest = highest.max(number);
        }
    }
}
