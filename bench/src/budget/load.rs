//! What tunnels want, and what arrives of it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// What the load is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Protocol {
    /// Datagrams at a fixed rate.
    Udp,
    /// Streams at full speed.
    Tcp,
}

/// How the load is distributed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Demand {
    /// Every tunnel wants the same.
    Equal,
    /// Each wants more than the one before.
    Skewed,
}

impl Demand {
    /// What each tunnel wants: bit/s, or a number of streams. With UDP all of it is more than a fair share: one and a half times as much,
    /// or from there to five times as much. With TCP it is one stream, or from one to four.
    pub(super) fn of(self, protocol: Protocol, tunnels: u16, limit: u64) -> Vec<u64> {
        let fair = limit as f64 / f64::from(tunnels);
        let wanted = |tunnel: u16| {
            let place = f64::from(tunnel) / f64::from(tunnels - 1);
            match (protocol, self) {
                (Protocol::Udp, Self::Equal) => (1.5 * fair) as u64,
                (Protocol::Udp, Self::Skewed) => (fair * (1.5 + 3.5 * place)) as u64,
                (Protocol::Tcp, Self::Equal) => 1,
                (Protocol::Tcp, Self::Skewed) => 1 + (3.0 * place).round() as u64,
            }
        };
        (0..tunnels).map(wanted).collect()
    }
}

/// Bytes of inner IP packets by tunnel, second by second.
pub(super) struct Arrivals {
    /// For each second its length, and what arrived.
    pub(super) seconds: Vec<(f64, Vec<u64>)>,
}

impl Arrivals {
    /// Reads counters that receivers move, every second after `warm_up`.
    pub(super) fn watch(counters: &[AtomicU64], warm_up: u32, seconds: u32) -> Self {
        std::thread::sleep(Duration::from_secs(warm_up.into()));
        let read = || -> Vec<u64> { counters.iter().map(|count| count.load(Ordering::Relaxed)).collect() };
        let (mut start, mut before) = (Instant::now(), read());
        let second = |_| {
            std::thread::sleep(Duration::from_secs(1));
            let (now, counts) = (Instant::now(), read());
            let arrived = counts.iter().zip(&before).map(|(now, before)| now - before).collect();
            let length = (now - start).as_secs_f64();
            (start, before) = (now, counts);
            (length, arrived)
        };
        Self { seconds: (0..seconds).map(second).collect() }
    }

    /// Bytes of all tunnels in all seconds.
    pub(super) fn total(&self) -> u64 {
        self.seconds.iter().flat_map(|(_, bytes)| bytes).sum()
    }

    /// Bytes of each tunnel in all seconds.
    pub(super) fn by_tunnel(&self) -> Vec<u64> {
        let mut sums = vec![0; self.seconds.first().map_or(0, |(_, bytes)| bytes.len())];
        for (_, bytes) in &self.seconds {
            for (sum, bytes) in sums.iter_mut().zip(bytes) {
                *sum += bytes;
            }
        }
        sums
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "equal",
            Self::Skewed => "skewed",
        })
    }
}
