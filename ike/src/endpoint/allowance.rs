//! How often something may happen that strangers can cause.

use std::time::{Duration, Instant};

/// A token bucket.
pub(super) struct Allowance {
    tokens: u32,
    most: u32,
    /// Time for one more token.
    interval: Duration,
    /// When the last token was added.
    added: Option<Instant>,
}

impl Allowance {
    /// `most` at once, and one more after each `interval`.
    pub(super) fn new(most: u32, interval: Duration) -> Self {
        Self { tokens: most, most, interval, added: None }
    }

    /// Whether it may happen once more.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let added = *self.added.get_or_insert(now);
        let earned = now.saturating_duration_since(added).as_nanos() / self.interval.as_nanos().max(1);
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(self.most);
            self.added = Some(if self.tokens == self.most { now } else { added + self.interval * earned });
        }
        let may = self.tokens > 0;
        self.tokens -= u32::from(may);
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_at_once_and_then_one_per_interval() {
        let start = Instant::now();
        let mut allowance = Allowance::new(3, Duration::from_secs(1));
        let taken = |allowance: &mut Allowance, at: u64| {
            (0..10).filter(|_| allowance.take(start + Duration::from_millis(at))).count()
        };
        assert_eq!(taken(&mut allowance, 0), 3);
        assert_eq!(taken(&mut allowance, 999), 0);
        assert_eq!(taken(&mut allowance, 1000), 1);
        assert_eq!(taken(&mut allowance, 3500), 2);
        assert_eq!(taken(&mut allowance, 4000), 1);
        assert_eq!(taken(&mut allowance, 1_000_000), 3);
    }
}
