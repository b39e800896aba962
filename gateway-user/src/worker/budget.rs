//! The shared bandwidth budget, as the XDP programs charge it.

use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway_common::budget::Direction;
use gateway_common::budget::admission::{self, Clocks, Packet, Verdict};
use gateway_common::{Budget, RoundMeter, Share, ShareMeter, ecn};

use super::mapped::Entry;
use super::maps::Maps;

/// Judges an inner packet of `bytes` with ECN field `ecn` that comes out of `tunnel`, and charges it if it passes.
#[inline]
pub(super) fn admit(maps: &Maps, tunnel: u32, bytes: u32, ecn: u8, now_ns: u64) -> Verdict {
    let Some(entry) = maps.budget.at(0) else { return Verdict::Pass };
    if entry.word(offset_of!(Budget, is_active)).load(Ordering::Relaxed) == 0 {
        return Verdict::Pass;
    }
    let budget = entry.load();
    let direction = Direction::Inbound;
    let meter = Budget::meter(budget.is_separate, direction);
    let (Some(share), Some(of_tunnel), Some(of_gateway)) = (
        maps.shares.at(tunnel),
        maps.share_meters.at(tunnel.saturating_mul(Direction::COUNT).saturating_add(meter)),
        maps.round_meters.at(meter),
    ) else {
        return Verdict::Pass;
    };
    let clocks = MappedClocks { of_gateway, of_tunnel };
    let share: Share = share.load();
    let packet = Packet { now_ns, bytes, is_ecn_capable: ecn & 3 != ecn::NOT_ECT };
    let verdict = admission::admit(clocks, &budget, &share, &packet);
    maps.count_verdict(verdict, tunnel, direction, bytes);
    verdict
}

/// Clocks in maps.
#[derive(Clone, Copy)]
struct MappedClocks<'map> {
    of_gateway: Entry<'map, RoundMeter>,
    of_tunnel: Entry<'map, ShareMeter>,
}

impl<'map> Clocks for MappedClocks<'map> {
    type Word = &'map AtomicU64;

    #[inline]
    fn arrival(self) -> Self::Word {
        self.of_gateway.word(offset_of!(RoundMeter, arrival))
    }

    #[inline]
    fn round(self) -> Self::Word {
        self.of_gateway.word(offset_of!(RoundMeter, round))
    }

    #[inline]
    fn held_until(self) -> Self::Word {
        self.of_gateway.word(offset_of!(RoundMeter, held_until))
    }

    #[inline]
    fn used(self) -> Self::Word {
        self.of_tunnel.word(offset_of!(ShareMeter, used))
    }

    #[inline]
    fn guarantee(self) -> Self::Word {
        self.of_tunnel.word(offset_of!(ShareMeter, guarantee))
    }

    #[inline]
    fn ceiling(self) -> Self::Word {
        self.of_tunnel.word(offset_of!(ShareMeter, ceiling))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 5_000_000_000;

    #[test]
    fn packets_pass_are_marked_and_dropped_and_counted_as_in_the_kernel() {
        let maps = Maps::anonymous();
        assert_eq!(admit(&maps, 1, 1000, 0, NOW), Verdict::Pass, "no budget, no limit");
        let budget = Budget::new(1_000_000, 16_000);
        maps.budget.at(0).unwrap().store(&budget);
        maps.shares.at(1).unwrap().store(&Share::new(1, &budget));
        let verdicts: Vec<_> = (0..40).map(|_| admit(&maps, 1, 1000, ecn::ECT_0, NOW)).collect();
        let count = |wanted| verdicts.iter().filter(|verdict| **verdict == wanted).count() as u64;
        let (passed, marked, dropped) = (count(Verdict::Pass), count(Verdict::Mark), count(Verdict::Drop));
        assert!(passed > 5 && marked > 0 && dropped > 0, "{verdicts:?}");
        let counted = maps.budget_counters.at(1).unwrap().load();
        assert_eq!(
            (counted.passed_packets, counted.passed_bytes),
            (passed + marked, 1000 * (passed + marked))
        );
        assert_eq!((counted.marked_packets, counted.dropped_packets), (marked, dropped));
        let ahead = maps.round_meters.at(0).unwrap().load().arrival - (NOW << 6);
        let bytes_ahead = (u128::from(ahead) << 14) / u128::from(budget.byte_time);
        assert!(bytes_ahead.abs_diff(u128::from(counted.passed_bytes)) <= 1, "{bytes_ahead}");
        // The bucket of the other direction is full when each has its own.
        maps.budget.at(0).unwrap().store(&Budget { is_separate: 1, ..budget });
        assert_eq!(admit(&maps, 1, 1000, 0, NOW), Verdict::Pass);
        assert_eq!(admit(&maps, 99, 1000, 0, NOW), Verdict::Pass, "no such tunnel");
    }
}
