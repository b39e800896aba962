//! Processor time to the nanosecond, which stays true when others use the processor, too.

use anyhow::Result;
use nix::time::{ClockId, clock_gettime};

/// Measures the processor time of the calling thread, and of the kernel's work for packets that interrupted it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stopwatch {
    start_ns: i64,
}

impl Stopwatch {
    /// Starts.
    ///
    /// # Errors
    /// The kernel has no such clock.
    pub(super) fn start() -> Result<Self> {
        Ok(Self { start_ns: now_ns()? })
    }

    /// Time since the start, in ns. To be called by the same thread.
    ///
    /// # Errors
    /// The kernel has no such clock.
    pub(super) fn ns(self) -> Result<f64> {
        Ok((now_ns()? - self.start_ns) as f64)
    }
}

fn now_ns() -> Result<i64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}
