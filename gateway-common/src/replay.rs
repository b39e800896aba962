//! Anti-replay (RFC 4303 section 3.4.3), for all CPUs that receive one SA, in XDP programs and in workers.

use crate::SharedWord;
use crate::limits::{REPLAY_SLOT_BITS, REPLAY_SLOTS};

/// Attempts to win a slot against other CPUs. Each that fails was another packet's success, of which a slot sees one for each of
/// its numbers: whoever has a number left wins with the last attempt at the latest.
const SLOT_ATTEMPTS: u32 = REPLAY_SLOT_BITS as u32 + 1;

/// Attempts to move the window's edge. Where it lags behind what is marked, no number is accepted twice: the slots tell.
const EDGE_ATTEMPTS: u32 = 8;

/// Full sequence number of a packet that carries `low`, if it could still be accepted. Called before authentication, so it changes
/// nothing.
///
/// `highest` is what [`crate::Sa::sequence`] holds, `slot` reads the word of [`crate::Sa::replay`] at an index from [`slot_index`].
#[inline(always)]
pub fn precheck(
    highest: u64,
    window: u32,
    extended: bool,
    low: u32,
    slot: impl FnOnce(usize) -> u64,
) -> Option<u64> {
    let sequence = if extended { infer_sequence(highest, window, low)? } else { u64::from(low) };
    if sequence == 0 || is_left_of_window(highest, window, sequence) {
        return None;
    }
    mark(slot(slot_index(sequence)), sequence).map(|_| sequence)
}

/// Marks an authenticated packet as seen; false if another one with its number was faster or the window moved past it.
///
/// `highest` is [`crate::Sa::sequence`], `slot` the word of [`crate::Sa::replay`] at [`slot_index`]`(sequence)`.
#[inline(always)]
pub fn accept<W: SharedWord>(highest: W, slot: W, window: u32, sequence: u64) -> bool {
    if is_left_of_window(highest.load(), window, sequence) {
        return false;
    }
    let mut marked = false;
    for _ in 0..SLOT_ATTEMPTS {
        let before = slot.load();
        let Some(after) = mark(before, sequence) else { return false };
        if slot.compare_exchange(before, after) {
            marked = true;
            break;
        }
    }
    if marked {
        for _ in 0..EDGE_ATTEMPTS {
            let before = highest.load();
            if before >= sequence || highest.compare_exchange(before, sequence) {
                break;
            }
        }
    }
    marked
}

/// Full 64-bit sequence number of a packet that carries only its low half (RFC 4303 appendix A2.2).
///
/// `highest` is the highest sequence number authenticated so far, `window` the window size in packets (at least 1).
/// `None` if the packet can only belong before sequence number zero.
#[inline(always)]
pub const fn infer_sequence(highest: u64, window: u32, low: u32) -> Option<u64> {
    let highest_low = highest as u32;
    let highest_high = highest >> 32;
    let bottom = highest_low.wrapping_sub(window - 1);
    let high = if highest_low >= window - 1 {
        // The window lies within one half: smaller numbers belong to the next one.
        if low >= bottom { highest_high } else { highest_high + 1 }
    } else if low >= bottom {
        // The window reaches back into the previous half.
        if highest_high == 0 {
            return None;
        }
        highest_high - 1
    } else {
        highest_high
    };
    Some(high << 32 | low as u64)
}

/// Whether `sequence` lies left of the window that ends at `highest`.
#[inline(always)]
pub const fn is_left_of_window(highest: u64, window: u32, sequence: u64) -> bool {
    sequence.saturating_add(window as u64) <= highest
}

/// Slot of the ring that keeps `sequence`.
#[inline(always)]
pub const fn slot_index(sequence: u64) -> usize {
    (sequence / REPLAY_SLOT_BITS) as usize & (REPLAY_SLOTS - 1)
}

/// Content of the slot after `sequence` was received, given its content before; `None` if the number was seen already or
/// the slot has moved on to a later block.
///
/// Blocks are compared modulo 2^32. That is exact while a slot is entered at least once in 2^36 sequence numbers, and a sender that
/// uses one number after the other enters each slot every 8192.
#[inline(always)]
pub const fn mark(slot: u64, sequence: u64) -> Option<u64> {
    let block = (sequence / REPLAY_SLOT_BITS) as u32;
    let bit = 1_u64 << (sequence % REPLAY_SLOT_BITS);
    let slot_block = (slot >> 32) as u32;
    if slot_block == block {
        if slot & bit != 0 { None } else { Some(slot | bit) }
    } else if block.wrapping_sub(slot_block).cast_signed() < 0 {
        None
    } else {
        Some((block as u64) << 32 | bit)
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use super::*;
    use crate::limits::REPLAY_WINDOW_MAX;

    #[test]
    fn infers_the_upper_half_around_a_wrap() {
        let window = 1024;
        for distance in 0..3000_u64 {
            let sequence = (1_u64 << 32) - 1500 + distance;
            for highest in [sequence - 1, sequence.saturating_sub(500), sequence + 500, sequence + 1023] {
                assert_eq!(
                    infer_sequence(highest, window, sequence as u32),
                    Some(sequence),
                    "highest {highest:#x}"
                );
            }
        }
        assert_eq!(infer_sequence(0, window, 1), Some(1));
        assert_eq!(infer_sequence(5, window, u32::MAX), None);
        assert_eq!(infer_sequence(2_000_000, window, 5), Some((1 << 32) + 5));
    }

    /// A slot in which other CPUs mark the numbers `next` to `end`, one just before each attempt.
    #[derive(Clone, Copy)]
    struct Contended<'a> {
        word: &'a Cell<u64>,
        next: &'a Cell<u64>,
        end: u64,
    }

    impl SharedWord for Contended<'_> {
        fn load(self) -> u64 {
            self.word.get()
        }

        fn compare_exchange(self, expected: u64, new: u64) -> bool {
            if self.next.get() < self.end
                && let Some(after) = mark(self.word.get(), self.next.get())
            {
                self.next.set(self.next.get() + 1);
                self.word.set(after);
            }
            let is_won = self.word.get() == expected;
            if is_won {
                self.word.set(new);
            }
            is_won
        }

        fn fetch_add(self, value: u64) -> u64 {
            self.word.replace(self.word.get() + value)
        }
    }

    #[test]
    fn a_packet_gets_through_however_many_others_are_at_its_slot() {
        let (word, highest, next) = (Cell::new(0), Cell::new(95), Cell::new(64));
        let slot = Contended { word: &word, next: &next, end: 95 };
        let edge = Contended { word: &highest, next: &next, end: 0 };
        assert!(accept(edge, slot, REPLAY_WINDOW_MAX, 95));
        assert_eq!((next.get(), word.get()), (95, 2 << 32 | u64::from(u32::MAX)));
        assert!(!accept(edge, slot, REPLAY_WINDOW_MAX, 95));
    }
}
