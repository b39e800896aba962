//! Counters of the datapath.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

use anyhow::{Context as _, Result};
use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray};
use gateway_common::budget::Direction;
use gateway_common::{BudgetCounters, DropReason, TunnelCounters};

use super::budget::BandwidthLimit;
use super::engine::EngineStats;
use super::object::{Plain, duplicate, mapped};
use super::tunnel::TunnelId;
use crate::worker::mapped::{Entry, Mapped};

/// Everything that the datapath counts.
#[derive(Clone, Debug, Default)]
pub struct DatapathStats {
    /// When it was read, in ns of the monotonic clock.
    pub read_ns: u64,
    /// Per tunnel.
    pub tunnels: BTreeMap<TunnelId, TunnelStats>,
    /// Drops of packets that belong to no tunnel, by [`DropReason::name`]; reasons that never occurred are left out.
    pub drops: BTreeMap<&'static str, u64>,
    /// The shared budget.
    pub budget: BudgetStats,
    /// How the programs run on the interfaces: `native` or `generic`.
    pub xdp_mode: String,
    /// What seals and opens packets.
    pub engine: EngineStats,
}

/// Counters of one tunnel.
#[derive(Clone, Debug, Default)]
pub struct TunnelStats {
    /// Traffic.
    pub counters: TunnelCounters,
    /// Drops by [`DropReason::name`]; reasons that never occurred are left out.
    pub drops: BTreeMap<&'static str, u64>,
    /// Largest inner IP packet, in bytes.
    pub mtu: u32,
}

/// Use of the shared bandwidth budget.
#[derive(Clone, Copy, Debug, Default)]
pub struct BudgetStats {
    /// The limit in force.
    pub limit: BandwidthLimit,
    /// What became of packets on their way into tunnels.
    pub outbound: BudgetCounters,
    /// What became of packets out of tunnels.
    pub inbound: BudgetCounters,
}

/// Handles to the maps with counters.
pub struct Counters {
    traffic: PerCpuArray<MapData, Plain<TunnelCounters>>,
    worker_traffic: Mapped<TunnelCounters>,
    /// Of packets that belong to no tunnel.
    stray_drops: PerCpuArray<MapData, u64>,
    drops: Mapped<u64>,
    budget: PerCpuArray<MapData, Plain<BudgetCounters>>,
    worker_budget: Array<MapData, Plain<BudgetCounters>>,
}

impl Counters {
    /// Opens the maps of `ebpf`.
    ///
    /// # Errors
    /// A map is missing.
    pub fn new(ebpf: &Ebpf) -> Result<Self> {
        Ok(Self {
            traffic: duplicate(ebpf, "COUNTERS")?.try_into()?,
            worker_traffic: mapped(ebpf, "WORKER_COUNTERS")?,
            stray_drops: duplicate(ebpf, "STRAY_DROPS")?.try_into()?,
            drops: mapped(ebpf, "DROPS")?,
            budget: duplicate(ebpf, "BUDGET_COUNTERS")?.try_into()?,
            worker_budget: duplicate(ebpf, "WORKER_BUDGET_COUNTERS")?.try_into()?,
        })
    }

    /// Traffic of a tunnel, summed over CPUs and workers.
    ///
    /// # Errors
    /// There is no such tunnel.
    pub fn traffic(&self, tunnel: u32) -> Result<TunnelCounters> {
        let workers = self.worker_traffic.at(tunnel).with_context(|| no_counters(tunnel))?;
        let by_workers = |offset| workers.word(offset).load(Ordering::Relaxed);
        let mut sum = TunnelCounters {
            in_packets: by_workers(offset_of!(TunnelCounters, in_packets)),
            in_bytes: by_workers(offset_of!(TunnelCounters, in_bytes)),
            out_packets: by_workers(offset_of!(TunnelCounters, out_packets)),
            out_bytes: by_workers(offset_of!(TunnelCounters, out_bytes)),
            in_marked: by_workers(offset_of!(TunnelCounters, in_marked)),
            out_marked: by_workers(offset_of!(TunnelCounters, out_marked)),
        };
        for Plain(part) in self.traffic.get(&tunnel, 0)?.iter() {
            sum.in_packets += part.in_packets;
            sum.in_bytes += part.in_bytes;
            sum.out_packets += part.out_packets;
            sum.out_bytes += part.out_bytes;
            sum.in_marked += part.in_marked;
            sum.out_marked += part.out_marked;
        }
        Ok(sum)
    }

    /// Drops of a tunnel (0: of packets that belong to none) that occurred, summed over CPUs and workers.
    ///
    /// # Errors
    /// There is no such tunnel.
    pub fn drops(&self, tunnel: u32) -> Result<BTreeMap<&'static str, u64>> {
        let mut drops = BTreeMap::new();
        for reason in DropReason::ALL {
            let mut count = self.drops_of(tunnel, *reason)?.word(0).load(Ordering::Relaxed);
            if tunnel == 0 {
                count += self.stray_drops.get(&(*reason as u32), 0)?.iter().sum::<u64>();
            }
            if count != 0 {
                drops.insert(reason.name(), count);
            }
        }
        Ok(drops)
    }

    /// What the budget decided, summed over CPUs and workers; with the `limit` in force.
    ///
    /// # Errors
    /// The kernel refused the look-up.
    pub fn budget(&self, limit: BandwidthLimit) -> Result<BudgetStats> {
        let (outbound, inbound) = (self.verdicts(Direction::Outbound)?, self.verdicts(Direction::Inbound)?);
        Ok(BudgetStats { limit, outbound, inbound })
    }

    fn verdicts(&self, direction: Direction) -> Result<BudgetCounters> {
        let mut sum = BudgetCounters::default();
        let workers = self.worker_budget.get(&(direction as u32), 0)?;
        for Plain(part) in self.budget.get(&(direction as u32), 0)?.iter().chain([&workers]) {
            sum.passed_packets += part.passed_packets;
            sum.passed_bytes += part.passed_bytes;
            sum.marked_packets += part.marked_packets;
            sum.marked_bytes += part.marked_bytes;
            sum.dropped_packets += part.dropped_packets;
            sum.dropped_bytes += part.dropped_bytes;
        }
        Ok(sum)
    }

    /// Sets the traffic and drop counters of a tunnel to zero.
    ///
    /// # Errors
    /// There is no such tunnel.
    pub fn reset(&mut self, tunnel: u32) -> Result<()> {
        let cpus = aya::util::nr_cpus().map_err(|(file, error)| anyhow::anyhow!("{file}: {error}"))?;
        let zeros = Plain(TunnelCounters::default());
        self.traffic.set(tunnel, vec![zeros; cpus].try_into()?, 0)?;
        let workers = self.worker_traffic.at(tunnel).with_context(|| no_counters(tunnel))?;
        for offset in (0..size_of::<TunnelCounters>()).step_by(size_of::<u64>()) {
            workers.word(offset).store(0, Ordering::Relaxed);
        }
        for reason in DropReason::ALL {
            self.drops_of(tunnel, *reason)?.word(0).store(0, Ordering::Relaxed);
        }
        Ok(())
    }

    fn drops_of(&self, tunnel: u32, reason: DropReason) -> Result<Entry<'_, u64>> {
        let index = tunnel.checked_mul(DropReason::COUNT).and_then(|start| start.checked_add(reason as u32));
        index.and_then(|index| self.drops.at(index)).with_context(|| no_counters(tunnel))
    }
}

fn no_counters(tunnel: u32) -> String {
    format!("there are no counters for tunnel {tunnel}")
}
