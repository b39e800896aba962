//! The maps that a worker uses while it works.

use std::mem::offset_of;
use std::path::Path;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use aya::maps::{Map, MapData, XskMap};
use gateway_common::budget::Direction;
use gateway_common::budget::admission::Verdict;
use gateway_common::{
    Budget, BudgetCounters, Control, DropReason, Flow, Lane, RoundMeter, Sa, Share, ShareMeter, Slot,
    TunnelCounters,
};

use super::mapped::Mapped;

/// Maps of the gateway in the memory of this process.
pub(super) struct Maps {
    pub(super) sas: Mapped<Sa>,
    pub(super) lanes: Mapped<Lane>,
    pub(super) slots: Mapped<Slot>,
    pub(super) control: Mapped<Control>,
    pub(super) flows: Mapped<Flow>,
    pub(super) budget: Mapped<Budget>,
    pub(super) shares: Mapped<Share>,
    pub(super) round_meters: Mapped<RoundMeter>,
    pub(super) share_meters: Mapped<ShareMeter>,
    pub(super) budget_counters: Mapped<BudgetCounters>,
    counters: Mapped<TunnelCounters>,
    drops: Mapped<u64>,
}

impl Maps {
    /// Maps what is pinned in `directory`.
    pub(super) fn open(directory: &Path) -> Result<Self> {
        Ok(Self {
            sas: Mapped::open(directory, "SAS", true)?,
            lanes: Mapped::open(directory, "LANES", true)?,
            slots: Mapped::open(directory, "SLOTS", true)?,
            control: Mapped::open(directory, "CONTROL", false)?,
            flows: Mapped::open(directory, "FLOWS", false)?,
            budget: Mapped::open(directory, "BUDGET", false)?,
            shares: Mapped::open(directory, "SHARES", false)?,
            round_meters: Mapped::open(directory, "ROUND_METERS", true)?,
            share_meters: Mapped::open(directory, "SHARE_METERS", true)?,
            budget_counters: Mapped::open(directory, "WORKER_BUDGET_COUNTERS", true)?,
            counters: Mapped::open(directory, "WORKER_COUNTERS", true)?,
            drops: Mapped::open(directory, "DROPS", true)?,
        })
    }

    /// Maps of zeros for a few SAs and tunnels, that nothing stands behind.
    #[cfg(test)]
    pub(super) fn anonymous() -> Self {
        Self {
            sas: Mapped::anonymous(8),
            lanes: Mapped::anonymous(8),
            slots: Mapped::anonymous(16),
            control: Mapped::anonymous(1),
            flows: Mapped::anonymous(gateway_common::limits::FLOWS),
            budget: Mapped::anonymous(1),
            shares: Mapped::anonymous(4),
            round_meters: Mapped::anonymous(Direction::COUNT),
            share_meters: Mapped::anonymous(4 * Direction::COUNT),
            budget_counters: Mapped::anonymous(Direction::COUNT),
            counters: Mapped::anonymous(4),
            drops: Mapped::anonymous(4 * DropReason::COUNT),
        }
    }

    /// Entries of maps indexed by tunnel.
    pub(super) fn tunnels(&self) -> u32 {
        self.counters.len()
    }

    /// Counts `count` drops for `tunnel` (0: none known).
    pub(super) fn count_drops(&self, tunnel: u32, reason: DropReason, count: u64) {
        let index = tunnel.checked_mul(DropReason::COUNT).and_then(|start| start.checked_add(reason as u32));
        if let Some(entry) = index.and_then(|index| self.drops.at(index)) {
            entry.word(0).fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Counts what the budget decided about an inner packet of `tunnel`.
    #[inline]
    pub(super) fn count_verdict(&self, verdict: Verdict, tunnel: u32, direction: Direction, bytes: u32) {
        let mut one = BudgetCounters::default();
        one.count(verdict, bytes);
        if let Some(entry) = self.budget_counters.at(direction as u32) {
            for (offset, value) in [
                (offset_of!(BudgetCounters, passed_packets), one.passed_packets),
                (offset_of!(BudgetCounters, passed_bytes), one.passed_bytes),
                (offset_of!(BudgetCounters, marked_packets), one.marked_packets),
                (offset_of!(BudgetCounters, marked_bytes), one.marked_bytes),
                (offset_of!(BudgetCounters, dropped_packets), one.dropped_packets),
                (offset_of!(BudgetCounters, dropped_bytes), one.dropped_bytes),
            ] {
                if value != 0 {
                    entry.word(offset).fetch_add(value, Ordering::Relaxed);
                }
            }
        }
        if verdict == Verdict::Mark
            && let Some(entry) = self.counters.at(tunnel)
        {
            let offset = match direction {
                Direction::Outbound => offset_of!(TunnelCounters, out_marked),
                Direction::Inbound => offset_of!(TunnelCounters, in_marked),
            };
            entry.word(offset).fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Counts inner packets of `tunnel` that were opened and forwarded.
    pub(super) fn count_inbound(&self, tunnel: u32, packets: u64, bytes: u64) {
        if let Some(entry) = self.counters.at(tunnel) {
            entry.word(offset_of!(TunnelCounters, in_packets)).fetch_add(packets, Ordering::Relaxed);
            entry.word(offset_of!(TunnelCounters, in_bytes)).fetch_add(bytes, Ordering::Relaxed);
        }
    }
}

/// Opens the map of sockets.
pub(super) fn sockets(directory: &Path) -> Result<XskMap<MapData>> {
    let path = directory.join("XSKS");
    let data = MapData::from_pin(&path).with_context(|| format!("cannot open map {}", path.display()))?;
    Ok(Map::XskMap(data).try_into()?)
}
