//! Accounting on SAs.

use gateway_common::{Event, EventKind, Sa};

use crate::{atomic, event};

/// Whether the SA has passed its hard lifetime in bytes.
///
/// # Safety
/// `sa` must point into map `SAS`.
#[inline(always)]
pub(crate) unsafe fn is_expired(sa: *const Sa) -> bool {
    // SAFETY: as the caller vouches.
    unsafe { (*sa).hard_bytes != 0 && atomic::load(&raw const (*sa).bytes) >= (*sa).hard_bytes }
}

/// Counts a packet that passed, and raises the soft-lifetime event when the SA reaches it.
///
/// # Safety
/// `sa` must point into map `SAS`.
#[inline(always)]
pub(crate) unsafe fn count(sa: *mut Sa, tunnel: u32, bytes: u32) {
    // SAFETY: as the caller vouches; the counters are accessed with atomic instructions only.
    unsafe {
        let packets = atomic::fetch_add(&raw mut (*sa).packets, 1) + 1;
        let total = atomic::fetch_add(&raw mut (*sa).bytes, u64::from(bytes)) + u64::from(bytes);
        let soft_bytes = (*sa).soft_bytes;
        let soft_packets = (*sa).soft_packets;
        if Sa::reaches_soft_lifetime(soft_bytes, soft_packets, total, packets)
            && atomic::compare_exchange(&raw mut (*sa).soft_raised, 0, 1)
        {
            let event = Event {
                kind: EventKind::SoftLifetime as u32,
                tunnel,
                spi: (*sa).spi,
                reserved: 0,
                source: [0; 2],
            };
            if !event::raise(event) {
                // The ring is full: the next packet tries again.
                (&raw mut (*sa).soft_raised).write_volatile(0);
            }
        }
    }
}
