//! The time of day, which certificates need.

use std::time::{Duration, Instant};

/// The time of day as it was told last, if ever.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct WallClock(Option<(Instant, Duration)>);

impl WallClock {
    /// At `now` it is `since_epoch` after 1970-01-01 00:00 UTC.
    pub(crate) fn new(now: Instant, since_epoch: Duration) -> Self {
        Self(Some((now, since_epoch)))
    }

    /// The time since 1970-01-01 00:00 UTC.
    pub(crate) fn at(self, now: Instant) -> Option<Duration> {
        let (then, since_epoch) = self.0?;
        Some(since_epoch + now.saturating_duration_since(then))
    }
}
