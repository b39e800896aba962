//! What was measured, as JSON keeps it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::generator::{Delivery, PacketSize, RoundTrips};
use super::settings::Settings;
use super::statistics::{Figure, quantile};
use super::system::Kind;

/// Everything end to end.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct EndToEnd {
    pub(crate) settings: Settings,
    /// In the order of the report.
    pub(crate) systems: Vec<SystemResults>,
}

/// One system.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SystemResults {
    /// As `--systems` takes it.
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) kind: Kind,
    /// What is missing, when it could not be measured here.
    pub(crate) not_installed: Option<String>,
    pub(crate) results: Results,
}

/// Figures of one system. Rates are in packets per second, times in µs.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Results {
    /// What went wrong; empty when all was measured.
    pub(crate) failures: Vec<String>,
    /// By size of the inner IP packets: `64`, …, `imix`.
    pub(crate) sizes: BTreeMap<String, SizeResults>,
    /// Goodput in bit/s by number of streams.
    pub(crate) tcp: BTreeMap<usize, Figure>,
    /// Round trips with nothing else on the way.
    pub(crate) idle: Delay,
    /// Round trips beside a load of 1400-byte packets at half the best rate.
    pub(crate) loaded: Delay,
    /// Processor time at that load.
    pub(crate) usage: UsagePerGigabyte,
    /// How packets came to this project's workers in the loads of the best rates, where there are workers.
    pub(crate) hand_over: Option<HandOver>,
    /// What leaves gateway A when gateway B is not there, by size.
    pub(crate) alone: BTreeMap<String, Figure>,
}

/// UDP at one size.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SizeResults {
    /// Mean length of the inner IP packets, in bytes.
    pub(crate) mean_bytes: f64,
    /// The best rate received at host B.
    pub(crate) received: Figure,
    /// What was offered then.
    pub(crate) offered_at_best: Figure,
    /// The highest rate without loss; 0 when every rate lost packets. Measured in the first round alone.
    pub(crate) zero_loss: Option<f64>,
    /// Over all loads.
    pub(crate) arrivals: Arrivals,
}

/// How packets arrived.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Arrivals {
    /// Packets, each counted once.
    pub(crate) packets: u64,
    /// Of these, behind one that was sent later in the same flow.
    pub(crate) reordered: u64,
    /// Packets that had arrived before.
    pub(crate) duplicated: u64,
    /// Packets that reached host B and found no room in the receiver's buffer.
    pub(crate) overflowed: u64,
}

/// Packets at the hand-over to workers of engine `xsk`, both gateways together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HandOver {
    /// Handed over.
    pub(crate) handed_over: u64,
    /// Of these, left in place of one that arrived.
    #[serde(default)]
    pub(crate) exchanged: u64,
    /// Left to the kernel engine because the worker had enough of them waiting.
    pub(crate) full: u64,
    /// Left to the kernel engine because the worker did not get on.
    pub(crate) stalled: u64,
}

/// Delay of round trips.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Delay {
    pub(crate) p50: Figure,
    pub(crate) p99: Figure,
    /// Of the last round, at [`Self::SHARES`].
    pub(crate) distribution: Vec<f64>,
    /// Round trips measured, and those that did not come back, over all rounds.
    pub(crate) measured: usize,
    pub(crate) lost: usize,
}

/// Processor time in seconds per 10⁹ bytes of inner IP packets received. Time of kernel work in interrupt context counts for
/// whoever was interrupted; only `busy` is free of that.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct UsagePerGigabyte {
    /// The whole machine.
    pub(crate) busy: Figure,
    /// Taken by the hypervisor.
    pub(crate) stolen: Figure,
    /// The generator's own threads.
    pub(crate) generator: Figure,
    /// The gateways' processes.
    pub(crate) gateways: Figure,
}

impl EndToEnd {
    /// Names of the systems that could not be measured in full although they are installed.
    pub(crate) fn failed(&self) -> impl Iterator<Item = &str> {
        let failed = self.systems.iter().filter(|system| !system.results.failures.is_empty());
        failed.map(|system| system.name.as_str())
    }
}

impl SizeResults {
    pub(crate) fn new(size: PacketSize) -> Self {
        Self {
            mean_bytes: size.mean(),
            received: Figure::default(),
            offered_at_best: Figure::default(),
            zero_loss: None,
            arrivals: Arrivals::default(),
        }
    }
}

impl Arrivals {
    /// Adds those of a load.
    pub(crate) fn add(&mut self, delivery: &Delivery) {
        self.packets += delivery.received;
        self.reordered += delivery.reordered;
        self.duplicated += delivery.duplicated;
        self.overflowed += delivery.overflowed;
    }
}

impl HandOver {
    /// Adds those of another round.
    pub(crate) fn add(&mut self, other: &Self) {
        self.handed_over += other.handed_over;
        self.exchanged += other.exchanged;
        self.full += other.full;
        self.stalled += other.stalled;
    }

    /// What came about since `before`. A worker that was started anew counts from the start.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            handed_over: self.handed_over.saturating_sub(before.handed_over),
            exchanged: self.exchanged.saturating_sub(before.exchanged),
            full: self.full.saturating_sub(before.full),
            stalled: self.stalled.saturating_sub(before.stalled),
        }
    }
}

impl Delay {
    /// Shares of the round trips that took no longer than the entry of `distribution` at the same place.
    pub(crate) const SHARES: [f64; 12] =
        [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999];

    /// The time that `share` of the round trips took at most, in the last round; `share` is one of [`Self::SHARES`].
    pub(crate) fn at(&self, share: f64) -> Option<f64> {
        let index = Self::SHARES.iter().position(|known| (known - share).abs() < 1e-9)?;
        self.distribution.get(index).copied()
    }

    /// Adds a round.
    ///
    /// # Errors
    /// No packet came back.
    pub(crate) fn add(&mut self, trips: &RoundTrips) -> anyhow::Result<()> {
        let at = |share| quantile(&trips.micros, share);
        let (Some(p50), Some(p99)) = (at(0.5), at(0.99)) else {
            anyhow::bail!("none of {} packets came back", trips.lost)
        };
        self.p50.push(p50);
        self.p99.push(p99);
        self.distribution = Self::SHARES.iter().filter_map(|&share| at(share)).collect();
        self.measured += trips.micros.len();
        self.lost += trips.lost;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_json_keeps_can_be_read_back() {
        let mut results = Results::default();
        results.tcp.entry(4).or_default().push(2e9);
        let system = SystemResults {
            name: "plain".to_owned(),
            description: String::new(),
            kind: Kind::Reference,
            not_installed: None,
            results,
        };
        let text = serde_json::to_string(&system).unwrap();
        let read: SystemResults = serde_json::from_str(&text).unwrap();
        assert_eq!(read.results.tcp[&4].rounds, [2e9]);
    }

    #[test]
    fn lost_round_trips_have_no_time() {
        let mut delay = Delay::default();
        delay.add(&RoundTrips { micros: vec![30.0, 10.0, 20.0], lost: 2 }).unwrap();
        assert_eq!((delay.p50.median(), delay.p99.median()), (Some(20.0), Some(30.0)));
        assert_eq!((delay.measured, delay.lost), (3, 2));
        assert_eq!([0.25, 0.5, 0.33].map(|share| delay.at(share)), [Some(10.0), Some(20.0), None]);
        assert!(delay.add(&RoundTrips { micros: vec![], lost: 7 }).is_err());
    }
}
