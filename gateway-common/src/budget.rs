//! The shared bandwidth budget.

use crate::{Pod, SharedWord};

/// The single entry of array map `BUDGET`: one token bucket for all tunnels of the gateway, kept as the virtual clock of the
/// generic cell rate algorithm (ITU-T I.371): a packet conforms while `arrival_ns` is less than `burst_ns` ahead of now.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// Time that one byte takes at the configured rate, in 2^-20 ns; 0 switches the budget off.
    pub byte_time: u64,
    /// How far the virtual clock may run ahead: the bucket's depth, in ns.
    pub burst_ns: u64,
    /// Counted by the datapath: theoretical arrival time of the next byte, in ns of the monotonic clock.
    pub arrival_ns: u64,
    /// Counted by the datapath: bytes of inner IP packets that conformed.
    pub passed_bytes: u64,
    /// Counted by the datapath: bytes of inner IP packets that were dropped.
    pub dropped_bytes: u64,
}

// SAFETY: repr(C), integers only.
unsafe impl Pod for Budget {}

/// Attempts to move the virtual clock before a packet is let through uncharged: losing every one of them takes as many
/// other CPUs that were charged meanwhile.
const ATTEMPTS: u32 = 8;

/// The fields of the [`Budget`] that change, where they lie in the map.
#[derive(Clone, Copy, Debug)]
pub struct Meter<W> {
    /// [`Budget::arrival_ns`].
    pub arrival_ns: W,
    /// [`Budget::passed_bytes`].
    pub passed_bytes: W,
    /// [`Budget::dropped_bytes`].
    pub dropped_bytes: W,
}

impl<W: SharedWord> Meter<W> {
    /// Charges an inner packet of `bytes` that arrives at `now_ns`; false if it must be dropped. `byte_time` (not 0) and
    /// `burst_ns` are those of the [`Budget`].
    #[inline(always)]
    pub fn admit(self, byte_time: u64, burst_ns: u64, now_ns: u64, bytes: u32) -> bool {
        let cost_ns = Budget::cost_ns(byte_time, bytes);
        for _ in 0..ATTEMPTS {
            let before = self.arrival_ns.load();
            let Some(after) = charge(before, now_ns, burst_ns, cost_ns) else {
                self.dropped_bytes.fetch_add(u64::from(bytes));
                return false;
            };
            if self.arrival_ns.compare_exchange(before, after) {
                break;
            }
        }
        self.passed_bytes.fetch_add(u64::from(bytes));
        true
    }
}

/// Virtual clock after a packet of `cost_ns` that arrives at `now_ns`; `None` if the packet does not conform.
#[inline(always)]
pub const fn charge(arrival_ns: u64, now_ns: u64, burst_ns: u64, cost_ns: u64) -> Option<u64> {
    let start = if arrival_ns > now_ns { arrival_ns } else { now_ns };
    if start - now_ns > burst_ns { None } else { Some(start + cost_ns) }
}

impl Budget {
    /// Binary digits behind the point of [`Budget::byte_time`].
    pub const BYTE_TIME_SHIFT: u32 = 20;

    /// A full bucket that passes `bits_per_second` (not 0) with a depth of `burst_bytes`.
    pub const fn new(bits_per_second: u64, burst_bytes: u64) -> Self {
        let byte_time = ((8_000_000_000_u128 << Self::BYTE_TIME_SHIFT) / bits_per_second as u128) as u64;
        let burst_ns = ((burst_bytes as u128 * byte_time as u128) >> Self::BYTE_TIME_SHIFT) as u64;
        Self { byte_time, burst_ns, arrival_ns: 0, passed_bytes: 0, dropped_bytes: 0 }
    }

    /// Time that `bytes` take at the configured rate, in ns.
    #[inline(always)]
    pub const fn cost_ns(byte_time: u64, bytes: u32) -> u64 {
        (byte_time * bytes as u64) >> Self::BYTE_TIME_SHIFT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_the_configured_rate_and_one_burst() {
        for (rate, bytes) in [(64_000, 84), (50_000_000, 1400), (100_000_000_000, 1500)] {
            let burst = 64_000;
            let budget = Budget::new(rate, burst);
            let cost = Budget::cost_ns(budget.byte_time, bytes);
            let (mut arrival, mut passed) = (0, 0_u64);
            let start = 1_000_000_000_u64;
            let duration = 10_000_000_000_u64;
            // Offered: twice the rate.
            let step = (cost / 2).max(1);
            let mut now = start;
            let mut packets = 0_u32;
            while now < start + duration && packets < 3_000_000 {
                if let Some(next) = charge(arrival, now, budget.burst_ns, cost) {
                    arrival = next;
                    passed += u64::from(bytes);
                }
                now += step;
                packets += 1;
            }
            let allowed = u128::from(rate) * u128::from(now - start) / 8_000_000_000 + u128::from(burst);
            assert!(
                allowed.abs_diff(u128::from(passed)) * 100 < allowed,
                "rate {rate}: passed {passed}, allowed {allowed}"
            );
        }
    }

    #[test]
    fn an_idle_bucket_does_not_save_more_than_its_depth() {
        let budget = Budget::new(8_000_000, 10_000);
        let cost = Budget::cost_ns(budget.byte_time, 1000);
        let now = 3_600_000_000_000;
        let mut arrival = 0;
        let mut passed = 0;
        while let Some(next) = charge(arrival, now, budget.burst_ns, cost) {
            arrival = next;
            passed += 1000;
        }
        assert_eq!(passed, 11_000);
    }
}
