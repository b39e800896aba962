//! Anti-replay (RFC 4303 section 3.4.3), for all CPUs that receive one SA, in XDP programs and in workers.

use crate::SharedWord;
use crate::limits::{REPLAY_SLOT_BITS, REPLAY_SLOTS};

/// Attempts to win a slot or the window's edge against other CPUs.
const ATTEMPTS: u32 = 8;

/// Marks an authenticated packet as seen; false if another one with its number was faster or the window moved past it.
///
/// `highest` is [`crate::Sa::sequence`], `slot` the word of [`crate::Sa::replay`] at [`slot_index`]`(sequence)`.
#[inline(always)]
pub fn accept<W: SharedWord>(highest: W, slot: W, window: u32, sequence: u64) -> bool {
    if is_left_of_window(highest.load(), window, sequence) {
        return false;
    }
    let mut marked = false;
    for _ in 0..ATTEMPTS {
        let before = slot.load();
        let Some(after) = mark(before, sequence) else { return false };
        if slot.compare_exchange(before, after) {
            marked = true;
            break;
        }
    }
    if marked {
        for _ in 0..ATTEMPTS {
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
    use super::*;
    use crate::limits::{REPLAY_WINDOW_DEFAULT, REPLAY_WINDOW_MAX};
    extern crate std;
    use core::sync::atomic::AtomicU64;
    use core::sync::atomic::Ordering::Relaxed;
    use std::collections::BTreeSet;
    use std::thread;

    struct Ring {
        highest: AtomicU64,
        slots: [AtomicU64; REPLAY_SLOTS],
    }

    impl Ring {
        fn new() -> Self {
            Self { highest: AtomicU64::new(0), slots: [const { AtomicU64::new(0) }; REPLAY_SLOTS] }
        }

        fn accept(&self, window: u32, sequence: u64) -> bool {
            accept(&self.highest, &self.slots[slot_index(sequence)], window, sequence)
        }
    }

    fn next_random(state: &mut u64) -> u64 {
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        *state
    }

    #[test]
    fn agrees_with_a_set_of_seen_numbers() {
        for (window, start) in [
            (64, 0),
            (1024, 0),
            (REPLAY_WINDOW_DEFAULT, 0),
            (REPLAY_WINDOW_MAX, 0),
            (1024, (1_u64 << 32) - 5000),
        ] {
            let mut random = 0x9e37_79b9_7f4a_7c15 ^ u64::from(window);
            let ring = Ring::new();
            ring.highest.store(start, Relaxed);
            let mut seen = BTreeSet::new();
            let mut highest = start;
            for _ in 0..200_000 {
                let spread = 2 * u64::from(window) + 3;
                let offset = next_random(&mut random) % spread;
                let jump = if next_random(&mut random).is_multiple_of(5000) { 100_000 } else { 4 };
                let sequence = (highest + jump).saturating_sub(offset).max(1);
                let expected = sequence + u64::from(window) > highest && !seen.contains(&sequence);
                assert_eq!(
                    ring.accept(window, sequence),
                    expected,
                    "sequence {sequence} after {highest}, window {window}"
                );
                if expected {
                    seen.insert(sequence);
                    highest = highest.max(sequence);
                    seen = seen.split_off(&highest.saturating_sub(u64::from(window)));
                }
            }
        }
    }

    #[test]
    fn several_threads_accept_each_number_once() {
        const NUMBERS: u64 = 50_000;
        let ring = Ring::new();
        let accepted: u64 = thread::scope(|scope| {
            let count =
                || (1..=NUMBERS).filter(|number| ring.accept(REPLAY_WINDOW_MAX, *number)).count() as u64;
            let threads = [scope.spawn(count), scope.spawn(count), scope.spawn(count)];
            threads.map(|thread| thread.join().unwrap()).iter().sum()
        });
        // A thread that falls behind the window loses nothing: those that are ahead were there before.
        assert_eq!(accepted, NUMBERS);
        assert_eq!(ring.highest.load(Relaxed), NUMBERS);
    }

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
}
