//! Anti-replay on the SA's shared window (RFC 4303 section 3.4.3), correct with several CPUs receiving one SA.

use gateway_common::Sa;
use gateway_common::replay::{self, is_left_of_window, slot_index};

use crate::atomic::{self, MapWord};

/// Full sequence number of a packet, if it could still be accepted. Called before authentication, so it changes nothing.
///
/// # Safety
/// `sa` must point into map `SAS`.
#[inline(always)]
pub(crate) unsafe fn precheck(sa: *const Sa, extended: bool, low: u32) -> Option<u64> {
    // SAFETY: as the caller vouches.
    unsafe {
        let highest = atomic::load(&raw const (*sa).sequence);
        let window = (*sa).replay_window;
        replay::precheck(highest, window, extended, low, |index| {
            atomic::load((&raw const (*sa).replay).cast::<u64>().add(index))
        })
    }
}

/// Marks an authenticated packet as seen; false if another one with its number was faster or the window moved past it.
///
/// # Safety
/// `sa` must point into map `SAS`.
#[inline(always)]
pub(crate) unsafe fn accept(sa: *mut Sa, sequence: u64) -> bool {
    // SAFETY: as the caller vouches; the index is masked to the ring.
    unsafe {
        let highest = MapWord::new(&raw mut (*sa).sequence);
        let slot = MapWord::new((&raw mut (*sa).replay).cast::<u64>().add(slot_index(sequence)));
        replay::accept(highest, slot, (*sa).replay_window, sequence)
    }
}

/// Whether the window has moved past `sequence`.
///
/// # Safety
/// `sa` must point into map `SAS`.
#[inline(always)]
pub(crate) unsafe fn is_late(sa: *const Sa, sequence: u64) -> bool {
    // SAFETY: as the caller vouches.
    unsafe { is_left_of_window(atomic::load(&raw const (*sa).sequence), (*sa).replay_window, sequence) }
}
