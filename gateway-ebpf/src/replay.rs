//! Anti-replay on the SA's shared window (RFC 4303 section 3.4.3), correct with several CPUs receiving one SA.

use gateway_common::Sa;
use gateway_common::replay::{infer_sequence, is_left_of_window, mark, slot_index};

use crate::atomic;

/// Attempts to win a slot or the window's edge against other CPUs.
const ATTEMPTS: u32 = 8;

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
        let sequence = if extended { infer_sequence(highest, window, low)? } else { u64::from(low) };
        if sequence == 0 || is_left_of_window(highest, window, sequence) {
            return None;
        }
        let slot = (&raw const (*sa).replay).cast::<u64>().add(slot_index(sequence));
        mark(atomic::load(slot), sequence).map(|_| sequence)
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
        let highest = &raw mut (*sa).sequence;
        if is_left_of_window(atomic::load(highest), (*sa).replay_window, sequence) {
            return false;
        }
        let slot = (&raw mut (*sa).replay).cast::<u64>().add(slot_index(sequence));
        let mut marked = false;
        for _ in 0..ATTEMPTS {
            let before = atomic::load(slot);
            let Some(after) = mark(before, sequence) else { return false };
            if atomic::compare_exchange(slot, before, after) {
                marked = true;
                break;
            }
        }
        if marked {
            for _ in 0..ATTEMPTS {
                let before = atomic::load(highest);
                if before >= sequence || atomic::compare_exchange(highest, before, sequence) {
                    break;
                }
            }
        }
        marked
    }
}
