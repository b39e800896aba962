//! The receiving half of a UDP load.

use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::errno::Errno;

use super::batch::ReceiveBatch;
use super::sequence::Sequence;

/// How long a call waits for a packet.
pub(super) const PATIENCE: Duration = Duration::from_millis(10);
/// Silence after which nothing of a load is under way any more.
const SILENCE: Duration = Duration::from_millis(50);
/// What comes later than that after the load counts as lost: some queue without a bound.
const LATEST: Duration = Duration::from_secs(3);

/// What arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct Received {
    /// All packets, each counted once.
    pub(super) total: u64,
    pub(super) duplicated: u64,
    pub(super) reordered: u64,
    /// Packets that reached the host and found the socket's buffer full.
    pub(super) overflowed: u64,
}

/// Receives the load `number` until `sender_ended`, at `end`, and nothing more arrives, or it arrives too late.
///
/// # Errors
/// The socket is broken.
pub(super) fn run(
    socket: &UdpSocket,
    number: u32,
    flows: usize,
    end: Instant,
    sender_ended: &AtomicBool,
) -> Result<Received> {
    let overflowed = overflow(socket)?;
    let mut batch = ReceiveBatch::new();
    let mut sequences: Vec<Sequence> = (0..flows).map(|_| Sequence::new()).collect();
    let mut last = Instant::now();
    loop {
        let mut fresh = 0;
        match batch.receive(socket) {
            Ok(headers) => {
                for header in headers.filter(|header| header.load == number) {
                    let sequence = sequences.get_mut(header.flow as usize);
                    fresh += u64::from(sequence.is_some_and(|sequence| sequence.record(header.sequence)));
                }
            }
            Err(error) if is_silence(&error) => {}
            Err(error) => return Err(error).context("cannot receive"),
        }
        let now = Instant::now();
        if fresh > 0 || !sender_ended.load(Ordering::Acquire) {
            last = now;
        }
        if now - last >= SILENCE || now > end + LATEST {
            break;
        }
    }
    let sum = |count: fn(&Sequence) -> u64| sequences.iter().map(count).sum();
    Ok(Received {
        total: sum(Sequence::received),
        duplicated: sum(Sequence::duplicated),
        reordered: sum(Sequence::reordered),
        overflowed: u64::from(overflow(socket)?.wrapping_sub(overflowed)),
    })
}

fn is_silence(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

/// Packets that the socket has had no room for so far (`SO_MEMINFO` of socket(7), word `SK_MEMINFO_DROPS` of linux/sock_diag.h).
fn overflow(socket: &UdpSocket) -> Result<u32> {
    const WORDS: usize = 9;
    const DROPS: usize = 8;
    let mut words = [0_u32; WORDS];
    let mut length = size_of_val(&words) as libc::socklen_t;
    // SAFETY: the pointer and the length describe `words`, which the kernel fills at most.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_MEMINFO,
            words.as_mut_ptr().cast(),
            &raw mut length,
        )
    };
    Errno::result(result).context("the socket tells nothing about its memory")?;
    Ok(words[DROPS])
}
