//! The clock that the XDP programs use, too.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock (`bpf_ktime_get_ns`).
#[inline]
pub(crate) fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("every Linux kernel has a monotonic clock");
    now.tv_sec().cast_unsigned() * 1_000_000_000 + now.tv_nsec().cast_unsigned()
}
