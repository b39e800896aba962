//! Which processor a thread of the generator runs on.

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;

/// Processors of the generator's two sides; `None` leaves it to the scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// Of host A.
    pub(crate) sender: Option<usize>,
    /// Of host B.
    pub(crate) receiver: Option<usize>,
}

/// Binds the calling thread to `processor`.
///
/// # Errors
/// There is no such processor for this process.
pub(super) fn pin(processor: Option<usize>) -> Result<()> {
    let Some(processor) = processor else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(processor)?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("cannot run on processor {processor}"))
}
