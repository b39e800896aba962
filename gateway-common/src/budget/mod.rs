//! The shared bandwidth budget: what the agent says, and the clocks that the datapath moves.
//!
//! `docs/ARCHITECTURE.md` explains the scheme, [`admission`] carries it out. Rates count bytes of inner IP packets. Times of the clocks
//! are *ticks* of 2^-[`TICK_SHIFT`] ns of the monotonic clock; they wrap, and only their differences mean something.

pub mod admission;

use crate::Pod;
use admission::Verdict;

/// Binary digits of a tick behind the point of a nanosecond.
pub const TICK_SHIFT: u32 = 6;

/// Binary digits behind the point of a byte's time in ns: [`Budget::byte_time`].
pub const BYTE_TIME_SHIFT: u32 = 20;

/// Binary digits behind the point of a tick where it is divided by a weight: [`Share::inverse_weight`].
pub const WEIGHT_SHIFT: u32 = 16;

/// Bounds of a tunnel's weight.
pub const WEIGHTS: (u16, u16) = (1, 1000);

/// Depth of a bucket as the time it takes to fill it. What a bucket passes at once beside its rate, at most 11/8 of this, is less than
/// 2 % of what passes in a second.
pub const DEPTH_MS: u64 = 14;

/// No bucket is shallower, or a slow rate would pass no burst of full-size packets.
pub const DEPTH_MIN: u64 = 16 * 1024;

/// The same for what is guaranteed: two full-size packets.
pub const GUARANTEE_DEPTH_MIN: u64 = 3 * 1024;

/// Slowest rate that is counted exactly, in bit/s; a slower one counts as this.
const RATE_MIN: u64 = 8;

/// The single entry of array map `BUDGET`: what holds for all tunnels. Written by the agent only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Budget {
    /// 0 if no packet needs to be looked at: no tunnel has a ceiling, and the gateway no limit.
    pub is_active: u64,
    /// Time that one byte takes at the gateway's rate, in 2^-20 ns; 0 for no limit.
    pub byte_time: u64,
    /// Depth of the bucket in ticks.
    pub depth: u64,
    /// The largest weight of all tunnels.
    pub max_weight: u64,
    /// 0 if one bucket serves both directions, 1 if each has its own.
    pub is_separate: u64,
}

// SAFETY: repr(C), integers only.
unsafe impl Pod for Budget {}

/// Value of array map `SHARES`, indexed by tunnel number: what holds for one tunnel. Written by the agent only. All zeros stand for a
/// tunnel without a share of its own: it gets what the others leave, first come first served.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// The tunnel's weight.
    pub weight: u64,
    /// 2^16 by the weight.
    pub inverse_weight: u64,
    /// How far the tunnel's count may lag behind the gateway's round, in the units of both ([`RoundMeter`]).
    pub credit: u64,
    /// Time that one byte takes at the guaranteed rate, in 2^-20 ns; 0 for no guarantee.
    pub guarantee_byte_time: u64,
    /// Depth of its bucket in ticks.
    pub guarantee_depth: u64,
    /// Time that one byte takes at the highest rate, in 2^-20 ns; 0 for no ceiling.
    pub ceiling_byte_time: u64,
    /// Depth of its bucket in ticks.
    pub ceiling_depth: u64,
    /// Zero.
    pub reserved: u64,
}

// SAFETY: repr(C), integers only.
unsafe impl Pod for Share {}

/// Value of array map `ROUND_METERS`, one for each direction, or the first for both. Changed by the datapath only.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundMeter {
    /// Virtual clock of the gateway's rate (generic cell rate algorithm, ITU-T I.371): the tick at which everything that passed has
    /// been carried at that rate.
    pub arrival: u64,
    /// What a busy tunnel of weight 1 has been given, as the ticks that it takes at the gateway's rate, times 2^16.
    pub round: u64,
    /// Tick until which the round does not go on, because a tunnel that lags far behind lost a packet.
    pub held_until: u64,
    /// Zero; keeps the two directions apart in the cache.
    pub reserved: [u64; 5],
}

// SAFETY: repr(C), integers only, and as long as it is aligned.
unsafe impl Pod for RoundMeter {}

/// Value of array map `SHARE_METERS`: two for each tunnel, at `2 * tunnel + meter` ([`Budget::meter`]). Changed by the datapath only.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ShareMeter {
    /// What the tunnel has used, by its weight, in the units of [`RoundMeter::round`].
    pub used: u64,
    /// Virtual clock of the guaranteed rate.
    pub guarantee: u64,
    /// Virtual clock of the highest rate.
    pub ceiling: u64,
    /// Zero.
    pub reserved: u64,
}

// SAFETY: repr(C), integers only.
unsafe impl Pod for ShareMeter {}

/// What the budget decided, in one direction: value of the per-CPU array map `BUDGET_COUNTERS` and of array map
/// `WORKER_BUDGET_COUNTERS`, indexed by [`Direction`].
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BudgetCounters {
    /// Packets that passed, marked ones included.
    pub passed_packets: u64,
    /// Their bytes.
    pub passed_bytes: u64,
    /// Packets that were marked.
    pub marked_packets: u64,
    /// Their bytes.
    pub marked_bytes: u64,
    /// Packets that were dropped.
    pub dropped_packets: u64,
    /// Their bytes.
    pub dropped_bytes: u64,
}

// SAFETY: repr(C), integers only.
unsafe impl Pod for BudgetCounters {}

/// Where a packet goes.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into the tunnel.
    Outbound = 0,
    /// Out of the tunnel.
    Inbound = 1,
}

impl BudgetCounters {
    /// Counts what became of a packet.
    #[inline(always)]
    pub const fn count(&mut self, verdict: Verdict, bytes: u32) {
        if let Verdict::Drop = verdict {
            self.dropped_packets += 1;
            self.dropped_bytes += bytes as u64;
            return;
        }
        self.passed_packets += 1;
        self.passed_bytes += bytes as u64;
        if let Verdict::Mark = verdict {
            self.marked_packets += 1;
            self.marked_bytes += bytes as u64;
        }
    }
}

impl Direction {
    /// How many there are.
    pub const COUNT: u32 = 2;
}

impl Budget {
    /// The budget that passes `bits_per_second` (not 0), with a bucket of `depth_bytes`, for tunnels of weight 1.
    pub const fn new(bits_per_second: u64, depth_bytes: u64) -> Self {
        let byte_time = byte_time(bits_per_second);
        Self {
            is_active: 1,
            byte_time,
            depth: ((depth_bytes as u128 * byte_time as u128) >> (BYTE_TIME_SHIFT - TICK_SHIFT)) as u64,
            max_weight: 1,
            is_separate: 0,
        }
    }

    /// The entry of `ROUND_METERS`, and of the tunnel's two in `SHARE_METERS`, that packets of a direction are charged to.
    #[inline(always)]
    pub const fn meter(is_separate: u64, direction: Direction) -> u32 {
        if is_separate != 0 { direction as u32 } else { 0 }
    }
}

impl Share {
    /// The share of a tunnel of `weight` in `budget`, without guarantee or ceiling.
    pub const fn new(weight: u16, budget: &Budget) -> Self {
        let inverse_weight = (1 << WEIGHT_SHIFT) / weight as u64;
        // Differences of the counts must stay clear of half their range.
        let credit = budget.depth.saturating_mul(inverse_weight);
        let credit = if credit > CREDIT_MAX { CREDIT_MAX } else { credit };
        Self {
            weight: weight as u64,
            inverse_weight,
            credit,
            guarantee_byte_time: 0,
            guarantee_depth: 0,
            ceiling_byte_time: 0,
            ceiling_depth: 0,
            reserved: 0,
        }
    }

    /// The same with a guaranteed rate in bit/s (not 0).
    #[must_use]
    pub const fn with_guarantee(self, bits_per_second: u64) -> Self {
        let bucket = Budget::new(bits_per_second, depth_bytes(bits_per_second, GUARANTEE_DEPTH_MIN));
        Self { guarantee_byte_time: bucket.byte_time, guarantee_depth: bucket.depth, ..self }
    }

    /// The same with a highest rate in bit/s (not 0).
    #[must_use]
    pub const fn with_ceiling(self, bits_per_second: u64) -> Self {
        let bucket = Budget::new(bits_per_second, depth_bytes(bits_per_second, DEPTH_MIN));
        Self { ceiling_byte_time: bucket.byte_time, ceiling_depth: bucket.depth, ..self }
    }
}

/// Largest credit: a quarter of it must be a distance that no count of a busy tunnel has.
const CREDIT_MAX: u64 = 1 << 59;

/// Depth of the bucket for a rate, in bytes.
pub const fn depth_bytes(bits_per_second: u64, min: u64) -> u64 {
    let bytes = (bits_per_second as u128 * DEPTH_MS as u128 / 8000) as u64;
    if bytes > min { bytes } else { min }
}

/// Time that one byte takes at a rate, in 2^-20 ns.
pub const fn byte_time(bits_per_second: u64) -> u64 {
    let rate = if bits_per_second > RATE_MIN { bits_per_second } else { RATE_MIN };
    ((8_000_000_000_u128 << BYTE_TIME_SHIFT) / rate as u128) as u64
}

/// Ticks that `bytes` take.
#[inline(always)]
pub const fn cost(byte_time: u64, bytes: u32) -> u64 {
    (byte_time * bytes as u64) >> (BYTE_TIME_SHIFT - TICK_SHIFT)
}

/// Where a virtual clock is to stand at tick `now` when its rate changes, so that as many bytes are ahead as before. A rate that was or
/// becomes none leaves nothing ahead.
pub const fn rescaled(clock: u64, now: u64, byte_time: u64, new_byte_time: u64) -> u64 {
    let ahead = admission::ahead(clock, now);
    if byte_time == 0 || ahead == 0 {
        return now;
    }
    now.wrapping_add((ahead as u128 * new_byte_time as u128 / byte_time as u128) as u64)
}
