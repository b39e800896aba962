//! Keeps what others can cause at will (forged packets, unreachable peers) from flooding the log.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// Pause between two messages of one kind.
const PAUSE: Duration = Duration::from_secs(10);

/// Lets one message per kind and [`PAUSE`] through and counts the others. The kinds must be few: each is remembered.
#[derive(Debug)]
pub(super) struct Throttle<K> {
    kinds: HashMap<K, Kind>,
}

#[derive(Debug)]
struct Kind {
    last: Instant,
    suppressed: u64,
}

impl<K: Eq + Hash> Throttle<K> {
    pub(super) fn new() -> Self {
        Self { kinds: HashMap::new() }
    }

    /// Whether a message of this kind may be written now; if so, how many were suppressed since the last one.
    pub(super) fn admit(&mut self, now: Instant, kind: K) -> Option<u64> {
        let Some(known) = self.kinds.get_mut(&kind) else {
            self.kinds.insert(kind, Kind { last: now, suppressed: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(known.last) < PAUSE {
            known.suppressed += 1;
            return None;
        }
        known.last = now;
        Some(std::mem::take(&mut known.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_per_pause_and_kind() {
        let start = Instant::now();
        let mut throttle = Throttle::new();
        assert_eq!(throttle.admit(start, 'a'), Some(0));
        assert_eq!(throttle.admit(start, 'a'), None);
        assert_eq!(throttle.admit(start, 'b'), Some(0));
        assert_eq!(throttle.admit(start + Duration::from_secs(9), 'a'), None);
        assert_eq!(throttle.admit(start + PAUSE, 'a'), Some(2));
        assert_eq!(throttle.admit(start + PAUSE, 'a'), None);
    }
}
