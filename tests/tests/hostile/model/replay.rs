//! Anti-replay as a set of numbers (RFC 4303 section 3.4.3 and appendix A2).

use std::collections::BTreeSet;

/// Packets that the window holds.
pub(crate) const WINDOW: u64 = 8160;

/// What an inbound SA has seen.
#[derive(Clone, Debug, Default)]
pub(crate) struct Window {
    /// Highest number authenticated.
    pub(crate) highest: u64,
    seen: BTreeSet<u64>,
}

impl Window {
    /// The full number of a packet that carries `low`, if the packet may be new.
    pub(crate) fn admit(&self, extended: bool, low: u32) -> Option<u64> {
        let sequence = if extended { self.infer(low)? } else { u64::from(low) };
        (sequence != 0 && !self.is_late(sequence) && !self.has_seen(sequence)).then_some(sequence)
    }

    /// Whether the window has moved past a number.
    pub(crate) fn is_late(&self, sequence: u64) -> bool {
        sequence + WINDOW <= self.highest
    }

    /// Whether a number within the window was marked.
    pub(crate) fn has_seen(&self, sequence: u64) -> bool {
        self.seen.contains(&sequence)
    }

    /// The only number with these lower 32 bits among the 2^32 from the left edge of the window on; `None` if that is none.
    fn infer(&self, low: u32) -> Option<u64> {
        let left_edge = i128::from(self.highest) - i128::from(WINDOW) + 1;
        let distance = (i128::from(low) - left_edge).rem_euclid(1 << 32);
        u64::try_from(left_edge + distance).ok()
    }

    /// Notes that a packet was authenticated.
    pub(crate) fn mark(&mut self, sequence: u64) {
        self.seen.insert(sequence);
        self.highest = self.highest.max(sequence);
        while self.seen.first().is_some_and(|first| first + WINDOW <= self.highest) {
            self.seen.pop_first();
        }
    }
}
