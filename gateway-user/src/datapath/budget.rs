//! The shared bandwidth budget: what the agent writes into its maps.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, ensure};
use aya::Ebpf;
use aya::maps::{Array, MapData};
use gateway_common::budget::{DEPTH_MIN, Direction, TICK_SHIFT, depth_bytes, rescaled};
use gateway_common::{Budget, RoundMeter, Share, ShareMeter};

use super::object::{Plain, duplicate, mapped};
use crate::worker::clock::now_ns;
use crate::worker::mapped::Mapped;

/// What all tunnels of a gateway share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BandwidthLimit {
    /// Rate in bit/s, not 0; `None` for no limit.
    pub rate: Option<u64>,
    /// Whether each direction has this rate for itself, or both have it together.
    pub is_separate: bool,
}

/// What one tunnel gets of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TunnelShare {
    /// Its part in what busy tunnels share, against theirs.
    pub weight: u16,
    /// Rate in bit/s, not 0, that it always gets.
    pub guarantee: Option<u64>,
    /// Rate in bit/s, not 0, that it never exceeds.
    pub ceiling: Option<u64>,
}

impl Default for TunnelShare {
    fn default() -> Self {
        Self { weight: 1, guarantee: None, ceiling: None }
    }
}

/// The budget's maps. Its clocks go on whatever is changed.
pub struct BudgetControl {
    limit: BandwidthLimit,
    shares: BTreeMap<u32, TunnelShare>,
    /// How many tunnels have a weight.
    weights: BTreeMap<u16, u32>,
    /// How many tunnels have a ceiling.
    ceilings: u32,
    budget: Array<MapData, Plain<Budget>>,
    share: Array<MapData, Plain<Share>>,
    round_meters: Mapped<RoundMeter>,
    share_meters: Mapped<ShareMeter>,
}

impl BudgetControl {
    /// Opens the maps of `ebpf`. Nothing is limited yet.
    ///
    /// # Errors
    /// A map is missing, or cannot be mapped into memory.
    pub fn new(ebpf: &Ebpf) -> Result<Self> {
        let budget = duplicate(ebpf, "BUDGET")?.try_into()?;
        let share = duplicate(ebpf, "SHARES")?.try_into()?;
        Ok(Self {
            limit: BandwidthLimit::default(),
            shares: BTreeMap::new(),
            weights: BTreeMap::new(),
            ceilings: 0,
            budget,
            share,
            round_meters: mapped(ebpf, "ROUND_METERS")?,
            share_meters: mapped(ebpf, "SHARE_METERS")?,
        })
    }

    /// The limit in force.
    pub fn limit(&self) -> BandwidthLimit {
        self.limit
    }

    /// Changes what all tunnels share.
    ///
    /// # Errors
    /// The rate is 0, or the kernel refused an update.
    pub fn set_limit(&mut self, limit: BandwidthLimit) -> Result<()> {
        ensure!(limit.rate != Some(0), "the bandwidth must be more than 0 bit/s");
        self.limit = limit;
        self.write_budget()?;
        // Their credit depends on the rate.
        let tunnels: Vec<_> = self.shares.keys().copied().collect();
        tunnels.into_iter().try_for_each(|tunnel| self.write_share(tunnel))
    }

    /// Changes what a tunnel gets.
    ///
    /// # Errors
    /// The kernel refused an update.
    pub fn set_share(&mut self, tunnel: u32, share: TunnelShare) -> Result<()> {
        let before = self.shares.insert(tunnel, share);
        self.forget(before);
        *self.weights.entry(share.weight).or_default() += 1;
        self.ceilings += u32::from(share.ceiling.is_some());
        self.write_share(tunnel)?;
        self.write_budget()
    }

    /// Forgets a tunnel.
    ///
    /// # Errors
    /// The kernel refused an update.
    pub fn remove(&mut self, tunnel: u32) -> Result<()> {
        let before = self.shares.remove(&tunnel);
        if before.is_none() {
            return Ok(());
        }
        self.forget(before);
        self.write_share(tunnel)?;
        self.write_budget()
    }

    fn forget(&mut self, share: Option<TunnelShare>) {
        let Some(share) = share else { return };
        if let Some(count) = self.weights.get_mut(&share.weight) {
            *count -= 1;
            if *count == 0 {
                self.weights.remove(&share.weight);
            }
        }
        self.ceilings -= u32::from(share.ceiling.is_some());
    }

    fn wanted(&self) -> Budget {
        let max_weight = self.weights.last_key_value().map_or(1, |(weight, _)| u64::from(*weight));
        let is_separate = u64::from(self.limit.is_separate);
        if let Some(rate) = self.limit.rate {
            return Budget { max_weight, is_separate, ..Budget::new(rate, depth_bytes(rate, DEPTH_MIN)) };
        }
        let is_active = u64::from(self.ceilings > 0);
        Budget { is_active, max_weight, is_separate, ..Budget::default() }
    }

    fn write_budget(&mut self) -> Result<()> {
        let wanted = self.wanted();
        let Plain(before) = self.budget.get(&0, 0)?;
        if before == wanted {
            return Ok(());
        }
        self.budget.set(0, Plain(wanted), 0)?;
        for meter in 0..Direction::COUNT {
            if let Some(entry) = self.round_meters.at(meter) {
                let clock = entry.word(offset_of!(RoundMeter, arrival));
                rescale(clock, before.byte_time, wanted.byte_time);
            }
        }
        Ok(())
    }

    fn write_share(&mut self, tunnel: u32) -> Result<()> {
        let budget = self.wanted();
        let wanted = self.shares.get(&tunnel).map_or_else(Share::default, |share| {
            let mut entry = Share::new(share.weight, &budget);
            if let Some(rate) = share.guarantee {
                entry = entry.with_guarantee(rate);
            }
            if let Some(rate) = share.ceiling {
                entry = entry.with_ceiling(rate);
            }
            entry
        });
        let Plain(before) = self.share.get(&tunnel, 0)?;
        if before == wanted {
            return Ok(());
        }
        self.share.set(tunnel, Plain(wanted), 0)?;
        for meter in 0..Direction::COUNT {
            let Some(entry) = self.share_meters.at(tunnel * Direction::COUNT + meter) else { continue };
            let (guarantee, ceiling) = (offset_of!(ShareMeter, guarantee), offset_of!(ShareMeter, ceiling));
            rescale(entry.word(guarantee), before.guarantee_byte_time, wanted.guarantee_byte_time);
            rescale(entry.word(ceiling), before.ceiling_byte_time, wanted.ceiling_byte_time);
        }
        Ok(())
    }
}

/// Lets what passed ahead at one rate count for as many bytes at another. Packets go on meanwhile.
fn rescale(clock: &AtomicU64, byte_time: u64, new_byte_time: u64) {
    if byte_time == new_byte_time {
        return;
    }
    let now = now_ns() << TICK_SHIFT;
    let moved = |clock| Some(rescaled(clock, now, byte_time, new_byte_time));
    // The closure always has a value.
    let _ = clock.fetch_update(Ordering::AcqRel, Ordering::Acquire, moved);
}
