//! Counters of the datapath.

use std::collections::BTreeMap;

use anyhow::Result;
use aya::Ebpf;
use aya::maps::{Array, MapData, PerCpuArray};
use gateway_common::budget::Direction;
use gateway_common::{BudgetCounters, DropReason, TunnelCounters};

use super::budget::BandwidthLimit;
use super::engine::EngineStats;
use super::object::{Plain, duplicate};
use super::tunnel::TunnelId;

/// Everything that the datapath counts.
#[derive(Clone, Debug, Default)]
pub struct DatapathStats {
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
    worker_traffic: Array<MapData, Plain<TunnelCounters>>,
    drops: PerCpuArray<MapData, u64>,
    worker_drops: Array<MapData, u64>,
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
            worker_traffic: duplicate(ebpf, "WORKER_COUNTERS")?.try_into()?,
            drops: duplicate(ebpf, "DROPS")?.try_into()?,
            worker_drops: duplicate(ebpf, "WORKER_DROPS")?.try_into()?,
            budget: duplicate(ebpf, "BUDGET_COUNTERS")?.try_into()?,
            worker_budget: duplicate(ebpf, "WORKER_BUDGET_COUNTERS")?.try_into()?,
        })
    }

    /// Traffic of a tunnel, summed over CPUs and workers.
    ///
    /// # Errors
    /// There is no such tunnel.
    pub fn traffic(&self, tunnel: u32) -> Result<TunnelCounters> {
        let mut sum = TunnelCounters::default();
        let workers = self.worker_traffic.get(&tunnel, 0)?;
        for Plain(part) in self.traffic.get(&tunnel, 0)?.iter().chain([&workers]) {
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
            let index = tunnel * DropReason::COUNT + *reason as u32;
            let count: u64 =
                self.drops.get(&index, 0)?.iter().sum::<u64>() + self.worker_drops.get(&index, 0)?;
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
        self.worker_traffic.set(tunnel, zeros, 0)?;
        for reason in DropReason::ALL {
            let index = tunnel * DropReason::COUNT + *reason as u32;
            self.drops.set(index, vec![0; cpus].try_into()?, 0)?;
            self.worker_drops.set(index, 0, 0)?;
        }
        Ok(())
    }
}
