//! The shared bandwidth budget.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use gateway_common::budget::Direction;
use gateway_common::budget::admission::{self, Clocks, Packet, Verdict};
use gateway_common::{Budget, RoundMeter, Share, ShareMeter, ecn};

use crate::atomic::MapWord;
use crate::maps::{BUDGET, BUDGET_COUNTERS, COUNTERS, ROUND_METERS, SHARE_METERS, SHARES};

/// Judges an inner packet of `bytes` with ECN field `ecn` by the budget of the gateway and the share of `tunnel`, and charges it if it
/// passes.
#[inline(always)]
pub(crate) fn admit(tunnel: u32, direction: Direction, bytes: u32, ecn: u8) -> Verdict {
    let Some(budget) = BUDGET.get(0) else { return Verdict::Pass };
    if budget.is_active == 0 {
        return Verdict::Pass;
    }
    let verdict = judge(budget, tunnel, direction, bytes, u32::from(ecn & 3));
    count(verdict, tunnel, direction, bytes);
    verdict
}

/// A function of its own, as are those that it calls, because the stack of the programs that call it is full.
#[inline(never)]
fn judge(budget: &Budget, tunnel: u32, direction: Direction, bytes: u32, ecn: u32) -> Verdict {
    let meter = Budget::meter(budget.is_separate, direction);
    let Some(of_gateway) = ROUND_METERS.get_ptr_mut(meter) else { return Verdict::Pass };
    let Some(of_tunnel) = SHARE_METERS.get_ptr_mut(tunnel * Direction::COUNT + meter) else {
        return Verdict::Pass;
    };
    let Some(share) = SHARES.get(tunnel) else { return Verdict::Pass };
    let clocks = MapClocks { of_gateway, of_tunnel };
    // SAFETY: a helper without arguments.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let is_ecn_capable = ecn != u32::from(ecn::NOT_ECT);
    weigh(clocks, budget, share, &Packet { now_ns, bytes, is_ecn_capable })
}

#[inline(never)]
fn weigh(clocks: MapClocks, budget: &Budget, share: &Share, packet: &Packet) -> Verdict {
    admission::admit(clocks, budget, share, packet)
}

/// Clocks in map values.
#[derive(Clone, Copy)]
struct MapClocks {
    of_gateway: *mut RoundMeter,
    of_tunnel: *mut ShareMeter,
}

impl Clocks for MapClocks {
    type Word = MapWord;

    #[inline(always)]
    fn arrival(self) -> MapWord {
        // SAFETY: lies in a map value, and is accessed with atomic instructions only.
        unsafe { MapWord::new(&raw mut (*self.of_gateway).arrival) }
    }

    #[inline(always)]
    fn round(self) -> MapWord {
        // SAFETY: as above.
        unsafe { MapWord::new(&raw mut (*self.of_gateway).round) }
    }

    #[inline(always)]
    fn held_until(self) -> MapWord {
        // SAFETY: as above.
        unsafe { MapWord::new(&raw mut (*self.of_gateway).held_until) }
    }

    #[inline(always)]
    fn used(self) -> MapWord {
        // SAFETY: as above.
        unsafe { MapWord::new(&raw mut (*self.of_tunnel).used) }
    }

    #[inline(always)]
    fn guarantee(self) -> MapWord {
        // SAFETY: as above.
        unsafe { MapWord::new(&raw mut (*self.of_tunnel).guarantee) }
    }

    #[inline(always)]
    fn ceiling(self) -> MapWord {
        // SAFETY: as above.
        unsafe { MapWord::new(&raw mut (*self.of_tunnel).ceiling) }
    }
}

#[inline(never)]
fn count(verdict: Verdict, tunnel: u32, direction: Direction, bytes: u32) {
    if let Some(counters) = BUDGET_COUNTERS.get_ptr_mut(direction as u32) {
        // SAFETY: the map is per CPU and XDP does not preempt itself on one CPU.
        unsafe { (*counters).count(verdict, bytes) };
    }
    if let Verdict::Mark = verdict
        && let Some(counters) = COUNTERS.get_ptr_mut(tunnel)
    {
        // SAFETY: as above.
        unsafe { (*counters).count_mark(direction) };
    }
}
