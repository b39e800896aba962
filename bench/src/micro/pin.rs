//! Threads on processors of their own.

use anyhow::{Context as _, Result};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

/// Processor of whatever sends, and of all that the kernel does in its wake.
pub(super) const GENERATOR: usize = 0;

/// Processor of user-space forwarders, workers of the gateway included.
pub(super) const FORWARDER: usize = 1;

/// Gives the calling thread its processors back when it is dropped.
pub(super) struct Pinned(CpuSet);

/// Moves the calling thread to `processor`.
///
/// # Errors
/// There is no such processor.
pub(super) fn to_processor(processor: usize) -> Result<Pinned> {
    let this = Pid::from_raw(0);
    let before = sched_getaffinity(this)?;
    let mut only = CpuSet::new();
    only.set(processor)?;
    sched_setaffinity(this, &only).with_context(|| format!("there is no processor {processor}"))?;
    Ok(Pinned(before))
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // A thread that stays where it is is no harm.
        let _ = sched_setaffinity(Pid::from_raw(0), &self.0);
    }
}
