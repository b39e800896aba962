//! Slots: memory through which frames go to a worker and come back in place of others.

use crate::{Handoff, Pod};

/// Value of array map `SLOTS` (mmap-able): a frame on its way through a worker.
///
/// A lane has a ring of [`crate::Lane::slots`] of these, those of lane `n` begin at index `(n - 1) * slots`. Number `i` of
/// the lane, counted from 0 for ever, lies in the one at `i` modulo `slots`. The XDP program fills the slot that
/// [`crate::Lane::produced`] stands at; the worker works on it in place and says in `out_*` what is to be sent; whoever moves
/// [`crate::Lane::sent`] past it sends that. Until then the slot belongs to nobody else. Two slots always stay empty: those
/// that `sent` was moved past last may still be read.
///
/// ```text
/// sent ≤ consumed ≤ produced ≤ sent + limit      limit = slots - 2
///      ▲ can go   ▲ to work on
/// ```
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug)]
pub struct Slot {
    /// The work. Written by the XDP program.
    pub handoff: Handoff,
    /// Bytes of `frame` that are in use, from the Ethernet header on. Written by the XDP program.
    pub len: u32,
    /// Where in `frame` that which is to be sent begins, at most [`Slot::OUT_START_MAX`]. Written by the worker.
    pub out_start: u32,
    /// Its length in bytes, at most [`Slot::ROOM`]; 0 if nothing is to be sent. Written by the worker.
    pub out_len: u32,
    /// Interface to send it on. Written by the worker.
    pub out_ifindex: u32,
    /// Explicit padding to a cache line.
    pub reserved: [u32; 8],
    /// The frame.
    pub frame: [u8; Self::ROOM + Self::OUT_START_MAX + 1],
}

impl Slot {
    /// Slots of a lane that stay empty.
    pub const EMPTY: u64 = 2;
    /// Longest frame that goes through a slot, in bytes, Ethernet header included.
    pub const ROOM: usize = 1792;
    /// Bytes that may be in front of what is sent: more than all headers of an ESP packet. All ones, so that it serves as a mask.
    pub const OUT_START_MAX: usize = 127;
    /// A lane asks for its worker's attention again after so many frames that found it asleep.
    pub const RING_AGAIN: u64 = 64;
}

impl Slot {
    /// Index into `SLOTS` of frame `number` of `lane`, whose ring has `slots` entries, a power of two.
    #[inline(always)]
    pub const fn index(lane: u32, slots: u64, number: u64) -> u32 {
        (lane as u64).wrapping_sub(1).wrapping_mul(slots).wrapping_add(number & slots.wrapping_sub(1)) as u32
    }
}

// SAFETY: repr(C), integers only; the size shows that nothing is padded implicitly.
unsafe impl Pod for Slot {}
const _: () = assert!(size_of::<Slot>() == 2048);
const _: () = assert!(core::mem::offset_of!(Slot, frame) == 128);
const _: () = assert!((Slot::OUT_START_MAX + 1).is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_lane_has_a_ring_of_its_own() {
        assert_eq!(Slot::index(1, 8, 0), 0);
        assert_eq!(Slot::index(1, 8, 7), 7);
        assert_eq!(Slot::index(1, 8, 8), 0);
        assert_eq!(Slot::index(3, 8, 21), 16 + 5);
        assert_eq!(Slot::index(2, 4, u64::MAX), 4 + 3);
    }
}
