//! What anti-replay is to do, in the plainest words: the numbers that were seen, and the highest of them.

use std::collections::HashSet;

/// The receiver of one SA.
pub(crate) struct Model {
    window: u64,
    extended: bool,
    highest: u64,
    seen: HashSet<u64>,
}

/// What is to become of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// It passes.
    Accepted,
    /// Its number is refused.
    Refused,
    /// Its number is taken for another one, with which it is not authentic (RFC 4303 appendix A2).
    Mistaken,
}

impl Model {
    /// A receiver with a window of `window` packets that has seen number `highest` and none beside it.
    pub(crate) fn new(window: u32, extended: bool, highest: u64) -> Self {
        Self { window: window.into(), extended, highest, seen: HashSet::from([highest]) }
    }

    /// The highest number seen.
    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }

    /// The packet of number `sequence` arrives; the sender has used it, so it is not 0.
    pub(crate) fn receive(&mut self, sequence: u64) -> Expected {
        let is_in_window = sequence + self.window > self.highest;
        if self.extended {
            // Of the numbers with the same lower half, the receiver takes the one in the 2^32 that begin with the window.
            let is_left = !is_in_window;
            let is_right = sequence + self.window > self.highest + (1 << 32);
            if is_left || is_right {
                return self.mistaken(sequence);
            }
        } else if !is_in_window {
            return Expected::Refused;
        }
        if !self.seen.insert(sequence) {
            return Expected::Refused;
        }
        self.highest = self.highest.max(sequence);
        if self.seen.len() as u64 > 4 * self.window {
            let left = self.highest.saturating_sub(self.window);
            self.seen.retain(|number| *number > left);
        }
        Expected::Accepted
    }

    /// The number it is taken for may not exist or have been seen, too, and is refused then before the packet is opened.
    fn mistaken(&self, sequence: u64) -> Expected {
        let bottom = (self.highest + 1).wrapping_sub(self.window).cast_signed();
        let behind = (sequence.cast_signed() - bottom).rem_euclid(1 << 32);
        let taken_for = bottom + behind;
        let is_possible = taken_for > 0 && !self.seen.contains(&taken_for.cast_unsigned());
        if is_possible { Expected::Mistaken } else { Expected::Refused }
    }
}

/// A generator of pseudo-random numbers (xorshift64) that shows its seed when the test fails.
pub(crate) struct Random {
    seed: u64,
    state: u64,
}

impl Random {
    /// The same numbers for the same `seed`, which is not 0.
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, state: seed }
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state % end
    }

    /// The number of the next packet, after `highest` with a window of `window`: mostly the next ones out of order, and everything
    /// else that a network or a sender may do, at the window's edges above all. It may lie before 1.
    pub(crate) fn arrival(&mut self, highest: u64, window: u32) -> i64 {
        let (highest, window) = (highest.cast_signed(), i64::from(window));
        let far = self.below(3 * window.cast_unsigned()).cast_signed();
        // A slot's length, the ring's, and more than the ring.
        let jumps = [31, 32, 33, 8159, 8160, 8161, 8192, 100_000];
        let jump = jumps[self.below(jumps.len() as u64) as usize];
        match self.below(100) {
            0..50 => highest + 4 - far.rem_euclid(8),
            50..75 => highest - far.rem_euclid(window),
            // Both sides of the left edge.
            75..90 => highest - window + 2 - far.rem_euclid(4),
            90..95 => highest - far,
            95..98 => highest + far,
            98 => highest + jump,
            _ => highest - jump,
        }
    }
}

impl Drop for Random {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the pseudo-random numbers had seed {:#x}", self.seed);
        }
    }
}
