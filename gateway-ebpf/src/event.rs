//! Events for the agent, rate-limited so that a flood costs neither ring space nor agent time.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use gateway_common::ip::{Words, to_words};
use gateway_common::{Event, EventKind, Job, Sa};

use crate::atomic;
use crate::maps::{EVENT_TIMES, EVENTS};

/// At most one event per kind and tunnel in this time; the drop counters tell the rest.
const INTERVAL_NS: u64 = 100_000_000;

/// Raises an event unless one of its kind was raised for the tunnel a moment ago. True if it was raised.
#[inline(always)]
pub(crate) fn raise_limited(kind: EventKind, tunnel: u32, spi: [u8; 4], source: Words) -> bool {
    let [front, back] = source;
    raise_if_due(kind as u32, tunnel, u32::from_ne_bytes(spi), front, back)
}

/// A function of its own, so that its callers need not keep room on the stack for each event that they might raise.
#[inline(never)]
fn raise_if_due(kind: u32, tunnel: u32, spi: u32, front: u64, back: u64) -> bool {
    let Some(last) = EVENT_TIMES.get_ptr_mut(tunnel * EventKind::COUNT + kind) else { return false };
    // SAFETY: helper without arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    // SAFETY: `last` points to an aligned u64 in a map value.
    unsafe {
        let before = atomic::load(last);
        if now.wrapping_sub(before) < INTERVAL_NS || !atomic::compare_exchange(last, before, now) {
            return false;
        }
    }
    raise(Event { kind, tunnel, spi: spi.to_ne_bytes(), reserved: 0, source: [front, back] })
}

/// Raises an event; false if the ring is full. Written in place, since stacks have no room for it.
#[inline(always)]
pub(crate) fn raise(event: Event) -> bool {
    let Some(mut entry) = EVENTS.reserve::<Event>(0) else { return false };
    entry.write(event);
    entry.submit(0);
    true
}

/// Hook of the AEAD programs for a wrong integrity check value.
#[inline(always)]
pub(crate) fn authentication_failed(job: &Job, sa: *const Sa) {
    // SAFETY: `sa` comes from a map look-up that succeeded.
    let (spi, source) = unsafe { ((*sa).spi, to_words(&(*sa).remote_addr)) };
    raise_limited(EventKind::AuthenticationFailed, job.tunnel, spi, source);
}
