//! What the shared bandwidth budget says of a packet now. Nothing is charged.

use std::sync::atomic::AtomicU64;

use anyhow::Result;
use gateway_common::budget::admission::{Clocks, Packet, Verdict, admit, ahead};
use gateway_common::budget::{Direction, TICK_SHIFT};
use gateway_common::{Budget, RoundMeter, ShareMeter};

use super::tables::Tracer;
use crate::worker::clock::now_ns;

/// Whether a packet passes, and what was found.
pub(super) struct BudgetState {
    pub(super) passes: bool,
    pub(super) detail: String,
}

impl Tracer {
    /// `budget::admit` of a packet of `bytes` without ECN.
    pub(super) fn judge(&self, tunnel: u32, direction: Direction, bytes: u32) -> Result<BudgetState> {
        let budget = self.budget()?;
        if budget.is_active == 0 {
            return Ok(BudgetState { passes: true, detail: "no limit".to_owned() });
        }
        let meter = Budget::meter(budget.is_separate, direction);
        let of_gateway = self.round_meter(meter)?;
        let of_tunnel = self.share_meter(tunnel * Direction::COUNT + meter)?;
        let share = self.share(tunnel)?;
        let now_ns = now_ns();
        let told = |clock, depth| {
            let us = |ticks| (ticks >> TICK_SHIFT) / 1000;
            format!("{} of {} µs ahead of", us(ahead(clock, now_ns << TICK_SHIFT)), us(depth))
        };
        let mut details = Vec::new();
        if budget.byte_time != 0 {
            details.push(format!("{} the gateway's rate", told(of_gateway.arrival, budget.depth)));
        }
        if share.guarantee_byte_time != 0 {
            let guaranteed = told(of_tunnel.guarantee, share.guarantee_depth);
            details.push(format!("{guaranteed} what is guaranteed"));
        }
        if share.ceiling_byte_time != 0 {
            details.push(format!("{} the ceiling", told(of_tunnel.ceiling, share.ceiling_depth)));
        }
        if details.is_empty() {
            details.push("no limit for this connection".to_owned());
        }
        let copies = Copies::new(&of_gateway, &of_tunnel);
        let packet = Packet { now_ns, bytes, is_ecn_capable: false };
        let passes = admit(&copies, &budget, &share, &packet) != Verdict::Drop;
        Ok(BudgetState { passes, detail: details.join(", ") })
    }
}

/// Copies of the clocks, which are charged in their place.
struct Copies {
    arrival: AtomicU64,
    round: AtomicU64,
    held_until: AtomicU64,
    used: AtomicU64,
    guarantee: AtomicU64,
    ceiling: AtomicU64,
}

impl Copies {
    fn new(of_gateway: &RoundMeter, of_tunnel: &ShareMeter) -> Self {
        Self {
            arrival: of_gateway.arrival.into(),
            round: of_gateway.round.into(),
            held_until: of_gateway.held_until.into(),
            used: of_tunnel.used.into(),
            guarantee: of_tunnel.guarantee.into(),
            ceiling: of_tunnel.ceiling.into(),
        }
    }
}

impl<'a> Clocks for &'a Copies {
    type Word = &'a AtomicU64;

    fn arrival(self) -> Self::Word {
        &self.arrival
    }

    fn round(self) -> Self::Word {
        &self.round
    }

    fn held_until(self) -> Self::Word {
        &self.held_until
    }

    fn used(self) -> Self::Word {
        &self.used
    }

    fn guarantee(self) -> Self::Word {
        &self.guarantee
    }

    fn ceiling(self) -> Self::Word {
        &self.ceiling
    }
}
