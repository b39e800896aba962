//! Datagrams at fixed rates.

use std::io::ErrorKind;
use std::net::{SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use nix::sys::socket::{setsockopt, sockopt::RcvBufForce};
use testbed::NetNs;

use super::load::Arrivals;
use super::{WARM_UP_SECONDS, host_address};
use crate::end_to_end::End;

const PORT: u16 = 9000;
/// Bytes of UDP payload, so that the inner IP packet has 1400.
const PAYLOAD: usize = 1372;
/// Bytes of the inner IP packet.
const PACKET: u64 = PAYLOAD as u64 + 28;
/// Receive buffer in bytes: a receiver that gets no processor for a while must lose nothing.
const BUFFER: usize = 4 << 20;
/// Pause of the sender between rounds.
const TICK: Duration = Duration::from_millis(1);
/// A sender that was held up makes good for at most this time.
const LAG: Duration = Duration::from_millis(100);

/// Sends these rates in bit/s, tunnel by tunnel, and counts what arrives in `seconds`.
///
/// # Errors
/// A socket cannot be made.
pub(super) fn measure(near: &NetNs, far: &NetNs, rates: &[u64], seconds: u32) -> Result<Arrivals> {
    let sockets = |namespace: &NetNs, end: End, port: u16| {
        let open = || -> Result<Vec<UdpSocket>> {
            (0..rates.len() as u16)
                .map(|tunnel| {
                    let socket = UdpSocket::bind(SocketAddrV4::new(host_address(end, tunnel), port))?;
                    socket.set_nonblocking(true)?;
                    Ok(socket)
                })
                .collect()
        };
        namespace.enter(open)?
    };
    let (senders, receivers) = (sockets(near, End::A, 0)?, sockets(far, End::B, PORT)?);
    for (tunnel, (sender, receiver)) in senders.iter().zip(&receivers).enumerate() {
        sender.connect(SocketAddrV4::new(host_address(End::B, tunnel as u16), PORT))?;
        setsockopt(receiver, RcvBufForce, &BUFFER)?;
    }
    let counters: Vec<_> = rates.iter().map(|_| AtomicU64::new(0)).collect();
    let is_over = AtomicBool::new(false);
    Ok(std::thread::scope(|scope| {
        scope.spawn(|| send(&senders, rates, &is_over));
        scope.spawn(|| receive(&receivers, &counters, &is_over));
        let arrivals = Arrivals::watch(&counters, WARM_UP_SECONDS, seconds);
        is_over.store(true, Ordering::Relaxed);
        arrivals
    }))
}

fn send(sockets: &[UdpSocket], rates: &[u64], is_over: &AtomicBool) {
    let payload = [0; PAYLOAD];
    let mut before = Instant::now();
    // Bits that are due, by tunnel.
    // No two begin at the same instant, as tunnels of different hosts do not.
    let phase = |tunnel: usize| (tunnel as f64 * 0.618_034).fract() * PACKET as f64 * 8.0;
    let mut due: Vec<f64> = (0..rates.len()).map(phase).collect();
    while !is_over.load(Ordering::Relaxed) {
        std::thread::sleep(TICK);
        let now = Instant::now();
        let elapsed = (now - before).min(LAG).as_secs_f64();
        before = now;
        for (due, rate) in due.iter_mut().zip(rates) {
            *due += elapsed * *rate as f64;
        }
        // In turn, so that no tunnel's packets come in one piece.
        let mut is_sending = true;
        while is_sending {
            is_sending = false;
            for (socket, due) in sockets.iter().zip(&mut due) {
                if *due >= PACKET as f64 * 8.0 {
                    *due -= PACKET as f64 * 8.0;
                    // What the host itself cannot send is not offered.
                    let _ = socket.send(&payload);
                    is_sending = true;
                }
            }
        }
    }
}

fn receive(sockets: &[UdpSocket], counters: &[AtomicU64], is_over: &AtomicBool) {
    let mut buffer = [0; 2048];
    while !is_over.load(Ordering::Relaxed) {
        let mut is_idle = true;
        for (socket, counter) in sockets.iter().zip(counters) {
            loop {
                match socket.recv(&mut buffer) {
                    Ok(_) => {
                        counter.fetch_add(PACKET, Ordering::Relaxed);
                        is_idle = false;
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
        }
        if is_idle {
            std::thread::sleep(TICK);
        }
    }
}
