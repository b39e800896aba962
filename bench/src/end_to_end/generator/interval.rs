//! When a measurement counts.

use std::thread;
use std::time::{Duration, Instant};

/// A stretch of time after a warm-up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interval {
    pub(crate) begin: Instant,
    pub(crate) end: Instant,
}

impl Interval {
    /// The stretch of `length` that begins `warm_up` from now.
    pub(crate) fn after(warm_up: Duration, length: Duration) -> Self {
        let begin = Instant::now() + warm_up;
        Self { begin, end: begin + length }
    }

    /// Length in seconds.
    pub(crate) fn seconds(&self) -> f64 {
        (self.end - self.begin).as_secs_f64()
    }

    /// Samples something that grows at both ends, sleeping in between; returns its growth per second.
    ///
    /// # Errors
    /// Those of `sample`.
    pub(crate) fn growth_per_second<E>(&self, mut sample: impl FnMut() -> Result<u64, E>) -> Result<f64, E> {
        thread::sleep(self.begin.saturating_duration_since(Instant::now()));
        // The samples themselves take time; as a part of the stretch it can only make the growth look smaller.
        let from = Instant::now();
        let first = sample()?;
        thread::sleep(self.end.saturating_duration_since(from));
        let last = sample()?;
        Ok((last - first) as f64 / from.elapsed().as_secs_f64())
    }
}

/// A counter that is fed all the time and tells how much of it fell into an interval.
#[derive(Debug)]
pub(super) struct Meter {
    interval: Interval,
    total: u64,
    before: Option<u64>,
    within: Option<u64>,
}

impl Meter {
    pub(super) fn new(interval: Interval) -> Self {
        Self { interval, total: 0, before: None, within: None }
    }

    /// Counts `amount`, which came about just before `now`.
    pub(super) fn add(&mut self, now: Instant, amount: u64) {
        if self.before.is_none() && now >= self.interval.begin {
            self.before = Some(self.total);
        }
        if self.within.is_none() && now >= self.interval.end {
            self.within = Some(self.total - self.before.unwrap_or(self.total));
        }
        self.total += amount;
    }

    /// Everything that was counted.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// What was counted within the interval.
    pub(super) fn within(&self) -> u64 {
        self.within.unwrap_or_else(|| self.total - self.before.unwrap_or(self.total))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slow_samples_make_no_growth_faster() {
        let mut samples = [0, 100].into_iter();
        let now = Instant::now();
        let growth = Interval { begin: now, end: now }.growth_per_second(|| {
            thread::sleep(Duration::from_millis(20));
            samples.next().ok_or(())
        });
        // Both samples together take at least 40 ms.
        assert!(growth.is_ok_and(|growth| growth <= 100.0 / 0.04), "{growth:?}");
    }

    #[test]
    fn a_meter_counts_what_falls_into_the_interval() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut meter = Meter::new(Interval { begin: at(10), end: at(20) });
        for second in 0..30 {
            meter.add(at(second), 3);
        }
        assert_eq!((meter.total(), meter.within()), (90, 30));
    }

    #[test]
    fn a_meter_that_ends_early_counts_what_there_was() {
        let begin = Instant::now();
        let mut meter = Meter::new(Interval { begin, end: begin + Duration::from_secs(20) });
        meter.add(begin + Duration::from_secs(1), 7);
        assert_eq!(meter.within(), 7);
        assert_eq!(Meter::new(Interval { begin, end: begin }).within(), 0);
    }
}
