//! The sending half of a UDP load.

use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::sys::prctl;

use super::batch::{BATCH, SendBatch};
use super::pacer::{Pacer, Turn};
use super::packet::Header;
use super::udp::{Load, Rate};

/// Time between two bursts, so that packets at a moderate rate are not sent in large ones.
const BURST_INTERVAL: Duration = Duration::from_micros(50);
/// Refused calls in a row after which something is wrong rather than busy.
const MOST_REFUSALS: u32 = 10_000;

/// Sends `load` from now until `end`, batch by batch on each flow's socket in turn.
///
/// # Errors
/// The kernel refuses to send.
pub(super) fn run(sockets: &[UdpSocket], number: u32, load: &Load, end: Instant) -> Result<()> {
    prctl::set_timerslack(1).context("cannot make sleep exact")?;
    let mut batch = SendBatch::new();
    let mut next = vec![0_u64; sockets.len()];
    let mut now = Instant::now();
    let mut pacer = match load.rate {
        Rate::Unpaced => None,
        Rate::PacketsPerSecond(rate) => Some(Pacer::new(now, rate, BURST_INTERVAL)),
    };
    let (mut total, mut flow, mut refusals) = (0, 0, 0);
    while now < end {
        let due = match pacer.as_mut().map(|pacer| pacer.turn(now, BATCH)) {
            None => BATCH,
            Some(Turn::Send(packets)) => packets,
            Some(Turn::Wait(time)) => {
                thread::sleep(time);
                now = Instant::now();
                continue;
            }
        };
        batch.clear();
        for index in 0..due as u64 {
            let sequence = next[flow] + index;
            let length = load.size.payload_length(total + index);
            batch.push(Header { load: number, flow: flow as u32, sequence }, length);
        }
        let sent = match batch.send(&sockets[flow]) {
            Ok(sent) => sent,
            Err(error) if is_passing(&error) && refusals < MOST_REFUSALS => {
                refusals += 1;
                now = Instant::now();
                continue;
            }
            Err(error) => return Err(error).context("cannot send"),
        };
        refusals = 0;
        next[flow] += sent as u64;
        flow = (flow + 1) % sockets.len();
        if let Some(pacer) = &mut pacer {
            pacer.sent(sent);
        }
        now = Instant::now();
        total += sent as u64;
    }
    Ok(())
}

/// Whether it may go better next time: a queue is full, or an ICMP error came back for an earlier packet.
fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::WouldBlock
            | ErrorKind::ConnectionRefused
            | ErrorKind::HostUnreachable
            | ErrorKind::NetworkUnreachable
            | ErrorKind::Interrupted
    ) || error.raw_os_error() == Some(libc::ENOBUFS)
}
