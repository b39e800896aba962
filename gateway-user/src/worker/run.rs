//! A worker at work: rounds, sleep, and the end.

use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

use anyhow::Result;
use nix::errno::Errno;
use xsk::Waiter;

use super::clock::now_ns;
use super::engine::Engine;

/// Time between two looks at everything that is not a packet, in ns.
const HOUSEKEEPING_NS: u64 = 250_000_000;
/// The same while frames are missing that were handed over: long enough that they would have arrived.
const HOUSEKEEPING_MISSING_NS: u64 = 5_000_000;
/// Longest sleep.
const SLEEP: Duration = Duration::from_secs(1);
/// First sleep while an interface does not take frames; it is doubled up to [`SLEEP`].
const SLEEP_UNSENT: Duration = Duration::from_millis(1);
/// Looks for packets before a sleep.
const LOOKS: u32 = 32;
/// Rounds after the end has come, for frames that are still on their way: at least, and at most while there are any.
const LAST_ROUNDS: (u32, u32) = (8, 1024);

/// Handles packets until the lifeline of `watch` is closed at its other end.
///
/// # Errors
/// The kernel refuses what it granted before.
pub(super) fn run(mut engine: Engine<'_>, mut watch: Watch, busy_poll: bool) -> Result<()> {
    let mut next_housekeeping = 0;
    let mut looks = 0;
    let mut sleep_unsent = SLEEP_UNSENT;
    engine.open_lanes(now_ns());
    loop {
        let now = now_ns();
        let has_worked = engine.round(now)?;
        if now >= next_housekeeping {
            if watch.has_ended(Duration::ZERO)? {
                break;
            }
            engine.keep_house(now)?;
            next_housekeeping = now + HOUSEKEEPING_NS;
        }
        if has_worked {
            looks = 0;
            sleep_unsent = SLEEP_UNSENT;
            continue;
        }
        // Waiting is what makes the kernel send what it did not take before.
        if looks < LOOKS || busy_poll && !engine.has_unsent() {
            looks += 1;
            std::hint::spin_loop();
            continue;
        }
        // What cannot be sent now waits like everything else that an interface does not take.
        let patience = engine.patience(now).filter(|left| *left > 0 || !engine.has_unsent());
        let mut sleep = patience.map_or(SLEEP, Duration::from_nanos);
        if engine.is_missing_frames() {
            next_housekeeping = next_housekeeping.min(now + HOUSEKEEPING_MISSING_NS);
            sleep = sleep.min(Duration::from_nanos(HOUSEKEEPING_MISSING_NS));
        }
        if engine.has_unsent() {
            sleep = sleep.min(sleep_unsent);
            sleep_unsent = (2 * sleep_unsent).min(SLEEP);
        }
        looks = 0;
        if !engine.fall_asleep() {
            continue;
        }
        if watch.has_ended(sleep)? {
            break;
        }
        engine.wake();
    }
    engine.close_lanes();
    for round in 1..=LAST_ROUNDS.1 {
        if !engine.round(now_ns())? && round >= LAST_ROUNDS.0 {
            break;
        }
        std::thread::yield_now();
    }
    engine.send_finished()
}

/// Everything that ends a sleep.
pub(super) struct Watch {
    waiter: Waiter,
    lifeline: OwnedFd,
}

impl Watch {
    /// Watches the sockets of `engine`, and a descriptor whose other end is closed when the worker is to end.
    pub(super) fn new(engine: &Engine<'_>, lifeline: OwnedFd) -> Result<Self> {
        let mut descriptors = vec![lifeline.try_clone()?];
        for lane in engine.lanes() {
            descriptors.push(lane.socket.as_fd().try_clone_to_owned()?);
        }
        Ok(Self { waiter: Waiter::new(descriptors), lifeline })
    }

    /// Sleeps until there is something to do, at most for `sleep`. True when the lifeline is closed.
    fn has_ended(&mut self, sleep: Duration) -> Result<bool> {
        if !self.waiter.wait(sleep)? {
            return Ok(false);
        }
        let lifeline = self.waiter.readiness(0);
        if !lifeline.readable {
            return Ok(lifeline.ended);
        }
        // Nobody says anything more; the end reads as no bytes.
        match nix::unistd::read(&self.lifeline, &mut [0; 64]) {
            Ok(read) => Ok(read == 0),
            Err(Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
