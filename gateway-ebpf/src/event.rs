//! Events for the agent, rate-limited so that a flood costs neither ring space nor agent time.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use gateway_common::{Event, EventKind, Job, Sa};

use crate::atomic;
use crate::maps::{EVENT_TIMES, EVENTS};

/// At most one event per kind and tunnel in this time; the drop counters tell the rest.
const INTERVAL_NS: u64 = 100_000_000;

/// Raises an event unless one of its kind was raised for the tunnel a moment ago. True if it was raised.
#[inline(always)]
pub(crate) fn raise_limited(kind: EventKind, tunnel: u32, spi: [u8; 4], source: [u8; 4]) -> bool {
    let Some(last) = EVENT_TIMES.get_ptr_mut(tunnel * EventKind::COUNT + kind as u32) else { return false };
    // SAFETY: helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: `last` points to an aligned u64 in a map value.
    unsafe {
        let before = atomic::load(last);
        if now.wrapping_sub(before) < INTERVAL_NS || !atomic::compare_exchange(last, before, now) {
            return false;
        }
    }
    raise(&Event { kind: kind as u32, tunnel, spi, source })
}

/// Raises an event; false if the ring is full.
#[inline(always)]
pub(crate) fn raise(event: &Event) -> bool {
    EVENTS.output::<Event>(event, 0).is_ok()
}

/// Hook of the AEAD programs for a wrong integrity check value.
#[inline(always)]
pub(crate) fn authentication_failed(job: &Job, sa: *const Sa) {
    // SAFETY: `sa` comes from a map look-up that succeeded.
    let (spi, source) = unsafe { ((*sa).spi, (*sa).remote_addr) };
    raise_limited(EventKind::AuthenticationFailed, job.tunnel, spi, source);
}
