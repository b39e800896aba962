//! A gateway's budget with tunnels that send by simulated time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use gateway_common::budget::admission::{Clocks, Packet, Verdict, admit};
use gateway_common::budget::{DEPTH_MIN, depth_bytes};
use gateway_common::{Budget, Share};

/// Nanoseconds in a second.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Where simulated time begins, as if the machine had run for an hour.
pub(crate) const START: u64 = 3600 * SECOND;

/// What tunnels have in common.
pub(crate) struct Gateway {
    pub(crate) budget: Budget,
    pub(crate) tunnels: Vec<Tunnel>,
    words: [AtomicU64; 3],
}

/// One tunnel and what became of its packets.
pub(crate) struct Tunnel {
    pub(crate) share: Share,
    /// Bytes.
    pub(crate) passed: AtomicU64,
    /// Packets.
    pub(crate) marked: AtomicU64,
    /// Packets.
    pub(crate) dropped: AtomicU64,
    words: [AtomicU64; 3],
}

/// The words of the gateway and of one tunnel.
#[derive(Clone, Copy)]
struct Shared<'w>(&'w [AtomicU64; 3], &'w [AtomicU64; 3]);

impl<'w> Clocks for Shared<'w> {
    type Word = &'w AtomicU64;

    fn arrival(self) -> Self::Word {
        &self.0[0]
    }

    fn round(self) -> Self::Word {
        &self.0[1]
    }

    fn used(self) -> Self::Word {
        &self.1[0]
    }

    fn guarantee(self) -> Self::Word {
        &self.1[1]
    }

    fn ceiling(self) -> Self::Word {
        &self.1[2]
    }

    fn held_until(self) -> Self::Word {
        &self.0[2]
    }
}

impl Gateway {
    /// A gateway with the usual bucket for this rate in bit/s, and tunnels of these weights.
    pub(crate) fn new(rate: u64, weights: &[u16]) -> Self {
        let mut gateway = Self {
            budget: Budget::default(),
            tunnels: Vec::new(),
            words: [0, u64::MAX - 5, 0].map(AtomicU64::new),
        };
        gateway.set(rate, weights);
        gateway
    }

    /// Changes rate and weights as the agent does.
    pub(crate) fn set(&mut self, rate: u64, weights: &[u16]) {
        let max_weight = u64::from(weights.iter().copied().max().unwrap_or(1));
        self.budget = Budget { max_weight, ..Budget::new(rate, depth_bytes(rate, DEPTH_MIN)) };
        for (index, weight) in weights.iter().enumerate() {
            let share = Share::new(*weight, &self.budget);
            match self.tunnels.get_mut(index) {
                Some(tunnel) => tunnel.share = share,
                None => self.tunnels.push(Tunnel {
                    share,
                    passed: AtomicU64::new(0),
                    marked: AtomicU64::new(0),
                    dropped: AtomicU64::new(0),
                    words: [0; 3].map(AtomicU64::new),
                }),
            }
        }
    }

    /// What becomes of a packet of `bytes` of a tunnel.
    pub(crate) fn admit(&self, tunnel: usize, now_ns: u64, bytes: u32, is_ecn_capable: bool) -> Verdict {
        let tunnel = &self.tunnels[tunnel];
        let packet = Packet { now_ns, bytes, is_ecn_capable };
        let verdict = admit(Shared(&self.words, &tunnel.words), &self.budget, &tunnel.share, &packet);
        match verdict {
            Verdict::Pass => {}
            Verdict::Mark => drop(tunnel.marked.fetch_add(1, Relaxed)),
            Verdict::Drop => {
                tunnel.dropped.fetch_add(1, Relaxed);
                return verdict;
            }
        }
        tunnel.passed.fetch_add(u64::from(bytes), Relaxed);
        verdict
    }

    /// The rate in bit/s at which each tunnel passed in the last `seconds`, which are forgotten.
    pub(crate) fn take_rates(&self, seconds: f64) -> Vec<f64> {
        let passed = self.tunnels.iter().map(|tunnel| tunnel.passed.swap(0, Relaxed));
        passed.map(|bytes| bytes as f64 * 8.0 / seconds).collect()
    }
}

/// A tunnel that sends datagrams whatever becomes of them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flood {
    pub(crate) tunnel: usize,
    /// Mean rate in bit/s.
    pub(crate) rate: f64,
    pub(crate) bytes: u32,
    /// Datagrams that come at once.
    pub(crate) burst: u32,
}

impl Flood {
    pub(crate) fn new(tunnel: usize, rate: f64) -> Self {
        Self { tunnel, rate, bytes: 1400, burst: 1 }
    }
}

/// Lets the tunnels send from `from_ns` for `seconds`; gaps between bursts vary by half of their mean.
pub(crate) fn flood(gateway: &Gateway, floods: &[Flood], from_ns: u64, seconds: f64) {
    let mut random = Random(from_ns | 1);
    let end = from_ns + (seconds * SECOND as f64) as u64;
    let mut queue: BinaryHeap<_> = (0..floods.len()).map(|index| Reverse((from_ns, index))).collect();
    while let Some(Reverse((now, index))) = queue.pop() {
        if now >= end {
            continue;
        }
        let flood = floods[index];
        for _ in 0..flood.burst {
            gateway.admit(flood.tunnel, now, flood.bytes, false);
        }
        let gap = f64::from(flood.burst * flood.bytes) * 8.0 * SECOND as f64 / flood.rate;
        queue.push(Reverse((now + (gap * (0.5 + random.unit())) as u64 + 1, index)));
    }
}

/// Fairness of rates (Jain, Chiu and Hawe 1984): 1 if they are all the same.
pub(crate) fn jain(rates: impl IntoIterator<Item = f64> + Clone) -> f64 {
    let (sum, squares, count) =
        rates.into_iter().fold((0.0, 0.0, 0.0), |(s, q, n), rate| (s + rate, q + rate * rate, n + 1.0));
    sum * sum / (count * squares)
}

/// Fails unless `value` is within `percent` of `expected`.
#[track_caller]
pub(crate) fn assert_near(value: f64, expected: f64, percent: f64) {
    let error = (value / expected - 1.0) * 100.0;
    assert!(error.abs() <= percent, "{value} is {error:+.2} % off {expected}");
}

/// A xorshift generator: the same numbers in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// A number from 0 up to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}
