//! When the next packets are due.

use std::time::{Duration, Instant};

/// How much of a delay of the sender is made up for. What lies further back was not offered.
const PATIENCE: Duration = Duration::from_millis(2);

/// The schedule of a constant rate.
#[derive(Debug)]
pub(super) struct Pacer {
    start: Instant,
    per_second: f64,
    sent: u64,
    burst: u64,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// So many packets are due.
    Send(usize),
    /// None is due before that long.
    Wait(Duration),
}

impl Pacer {
    /// A schedule of `per_second` packets that begins at `start`. They go in bursts `interval` apart, or singly where that is
    /// longer.
    pub(super) fn new(start: Instant, per_second: f64, interval: Duration) -> Self {
        let burst = (per_second * interval.as_secs_f64()) as u64;
        Self { start, per_second, sent: 0, burst: burst.max(1) }
    }

    /// What to do at `now`, when at most `most` packets can be sent at once.
    pub(super) fn turn(&mut self, now: Instant, most: usize) -> Turn {
        let elapsed = now.saturating_duration_since(self.start);
        let due = (elapsed.as_secs_f64() * self.per_second) as u64;
        let behind = due.saturating_sub(self.sent);
        let burst = self.burst.min(most as u64);
        if behind < burst {
            let at = (self.sent + burst) as f64 / self.per_second;
            // A nanosecond more, lest rounding have it wake too early and spin.
            return Turn::Wait(
                (Duration::from_secs_f64(at) + Duration::from_nanos(1)).saturating_sub(elapsed),
            );
        }
        let forgiven = behind.saturating_sub((PATIENCE.as_secs_f64() * self.per_second) as u64 + burst);
        self.sent += forgiven;
        Turn::Send((behind - forgiven).min(most as u64) as usize)
    }

    /// Notes that packets were sent.
    pub(super) fn sent(&mut self, packets: usize) {
        self.sent += packets as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_micros(50);

    /// Packets sent within `seconds` by a sender that sleeps exactly as told.
    fn run(per_second: f64, seconds: u64, most: usize) -> (u64, usize) {
        let start = Instant::now();
        let (mut now, mut total, mut largest) = (start, 0, 0);
        let mut pacer = Pacer::new(start, per_second, INTERVAL);
        while now < start + Duration::from_secs(seconds) {
            match pacer.turn(now, most) {
                Turn::Send(packets) => {
                    pacer.sent(packets);
                    total += packets as u64;
                    largest = largest.max(packets);
                }
                Turn::Wait(time) => now += time,
            }
        }
        (total, largest)
    }

    #[test]
    fn the_rate_is_kept() {
        for rate in [10.0, 1234.5, 100_000.0, 900_000.0] {
            let (sent, _) = run(rate, 2, 64);
            let wanted = 2.0 * rate;
            assert!((sent as f64 - wanted).abs() <= 64.0, "{sent} of {wanted}");
        }
    }

    #[test]
    fn bursts_are_short() {
        assert_eq!(run(100_000.0, 1, 64).1, 5);
        assert_eq!(run(1000.0, 1, 64).1, 1);
    }

    #[test]
    fn a_long_delay_is_not_made_up_for() {
        let start = Instant::now();
        let mut pacer = Pacer::new(start, 100_000.0, INTERVAL);
        let late = start + Duration::from_secs(1);
        let mut sent = 0;
        while let Turn::Send(packets) = pacer.turn(late, 64) {
            pacer.sent(packets);
            sent += packets;
        }
        assert!((200..=210).contains(&sent), "{sent} packets in one go");
    }
}
