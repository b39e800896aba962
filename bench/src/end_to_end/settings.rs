//! How much is measured.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::generator::{PacketSize, Placement};

/// What the reader of a result has to know about how it came about.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// How often each system is started and measured; the order rotates.
    pub(crate) rounds: usize,
    /// Lengths of inner IP packets; `imix` is 64, 570 and 1400 bytes in the proportion 7:4:1.
    pub(crate) sizes: Vec<String>,
    /// UDP flows (source ports) of a load.
    pub(crate) flows: u16,
    /// Time that counts of a UDP load, in seconds.
    pub(crate) trial_seconds: f64,
    /// Time that counts of the load that confirms a zero-loss rate, in seconds.
    pub(crate) confirm_seconds: f64,
    /// Time that counts of TCP streams, in seconds.
    pub(crate) tcp_seconds: f64,
    /// Numbers of TCP streams at once.
    pub(crate) tcp_streams: Vec<usize>,
    /// Round trips per figure and round.
    pub(crate) round_trips: usize,
    /// Processor of the generator's threads at host A; none means the scheduler's choice.
    pub(crate) sender_processor: Option<usize>,
    /// Processor of the generator's threads at host B.
    pub(crate) receiver_processor: Option<usize>,
}

impl Settings {
    /// For figures to quote.
    pub(crate) fn full() -> Self {
        Self {
            rounds: 3,
            sizes: ["64", "512", "1400", "imix"].map(str::to_owned).to_vec(),
            flows: 8,
            trial_seconds: 0.12,
            confirm_seconds: 1.0,
            tcp_seconds: 0.8,
            tcp_streams: vec![1, 4],
            round_trips: 1000,
            sender_processor: None,
            receiver_processor: None,
        }
    }

    /// A look: every step, but short.
    pub(crate) fn quick() -> Self {
        Self {
            rounds: 1,
            sizes: vec!["1400".to_owned()],
            trial_seconds: 0.1,
            confirm_seconds: 0.1,
            tcp_seconds: 0.2,
            round_trips: 100,
            ..Self::full()
        }
    }

    /// The sizes as the generator takes them.
    ///
    /// # Errors
    /// A size is none.
    pub(crate) fn packet_sizes(&self) -> anyhow::Result<Vec<PacketSize>> {
        self.sizes.iter().map(|size| size.parse().map_err(anyhow::Error::msg)).collect()
    }

    /// About how long it takes to measure so many systems: searches take more or less trials.
    pub(crate) fn estimate(&self, systems: usize) -> Duration {
        const START: f64 = 4.0;
        /// Trials of a search for the best rate in the first round, and later, where it starts near.
        const TRIALS: [f64; 2] = [12.0, 8.0];
        /// Short and long trials of a search for the rate without loss.
        const ZERO_LOSS: [f64; 2] = [6.0, 1.5];
        /// Warm-up and silence at the end.
        const AROUND_TRIAL: f64 = 0.12;
        /// Sizes for which one gateway alone is measured.
        const ALONE: f64 = 2.0;
        let trial = self.trial_seconds + AROUND_TRIAL;
        let long = self.confirm_seconds + AROUND_TRIAL;
        let sizes = self.sizes.len() as f64;
        let searches = sizes + ALONE.min(sizes);
        let streams = self.tcp_streams.len() as f64 * (self.tcp_seconds + 0.3);
        let round = START + sizes * trial + long + self.beside_load().as_secs_f64() + streams;
        let later = self.rounds.saturating_sub(1) as f64;
        let once = searches * TRIALS[0] * trial + sizes * (ZERO_LOSS[0] * trial + ZERO_LOSS[1] * long);
        let per_system = once + later * searches * TRIALS[1] * trial + self.rounds as f64 * round;
        Duration::from_secs_f64(systems as f64 * per_system)
    }

    pub(crate) fn placement(&self) -> Placement {
        Placement { sender: self.sender_processor, receiver: self.receiver_processor }
    }

    pub(crate) fn trial(&self) -> Duration {
        Duration::from_secs_f64(self.trial_seconds)
    }

    pub(crate) fn confirmation(&self) -> Duration {
        Duration::from_secs_f64(self.confirm_seconds)
    }

    /// How long the load lasts beside which round trips are made: at more than a millisecond each they become fewer.
    pub(crate) fn beside_load(&self) -> Duration {
        Duration::from_micros(1200) * self.round_trips.max(500) as u32
    }

    pub(crate) fn tcp(&self) -> Duration {
        Duration::from_secs_f64(self.tcp_seconds)
    }
}

impl fmt::Display for Settings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = |processor: Option<usize>| {
            processor.map_or_else(|| "any processor".to_owned(), |number| format!("processor {number}"))
        };
        write!(
            formatter,
            "{} rounds, order rotated; UDP loads of {} s in {} flows, zero-loss rates confirmed for {} s; TCP for {} s; {} round \
             trips; sender on {}, receiver on {}",
            self.rounds,
            self.trial_seconds,
            self.flows,
            self.confirm_seconds,
            self.tcp_seconds,
            self.round_trips,
            place(self.sender_processor),
            place(self.receiver_processor)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eleven_systems_take_a_quarter_of_an_hour_and_a_quick_look_at_them_two_minutes() {
        assert!(Settings::full().estimate(11) <= Duration::from_mins(15));
        assert!(Settings::quick().estimate(11) <= Duration::from_secs(2 * 60 + 30));
    }
}
