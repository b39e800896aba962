//! The part of the datapath that the core uses, as a seam for tests.

use ipnet::IpNet;

use crate::datapath::{
    BandwidthLimit, Datapath, DatapathStats, Direction, EngineStats, PacketPolicy, SaConfig, SaCounters,
    TunnelId, TunnelShare, TunnelStats,
};

/// What the core asks of a datapath; [`Datapath`] documents each function.
pub(super) trait Dataplane {
    async fn set_tunnel(&mut self, id: TunnelId, remote_prefixes: &[IpNet]) -> anyhow::Result<()>;
    async fn remove_tunnel(&mut self, id: TunnelId) -> anyhow::Result<()>;
    async fn settle(&mut self) -> anyhow::Result<()>;
    fn install_inbound(&mut self, id: TunnelId, sa: &SaConfig) -> anyhow::Result<()>;
    fn install_outbound(&mut self, id: TunnelId, sa: &SaConfig) -> anyhow::Result<()>;
    fn remove_inbound(&mut self, id: TunnelId, spi: u32) -> anyhow::Result<()>;
    fn remove_outbound(&mut self, id: TunnelId, spi: u32) -> anyhow::Result<()>;
    fn set_policy(&mut self, id: TunnelId, policy: PacketPolicy);
    fn set_limit(&mut self, limit: BandwidthLimit) -> anyhow::Result<()>;
    fn set_share(&mut self, id: TunnelId, share: TunnelShare) -> anyhow::Result<()>;
    fn stats(&self) -> anyhow::Result<DatapathStats>;
    fn tunnel_stats(&self, id: TunnelId) -> anyhow::Result<TunnelStats>;
    fn engine_stats(&self) -> EngineStats;
    fn sa_counters(&self, id: TunnelId, direction: Direction, spi: u32) -> anyhow::Result<SaCounters>;
}

impl Dataplane for Datapath {
    async fn set_tunnel(&mut self, id: TunnelId, remote_prefixes: &[IpNet]) -> anyhow::Result<()> {
        Self::set_tunnel(self, id, remote_prefixes).await
    }

    async fn remove_tunnel(&mut self, id: TunnelId) -> anyhow::Result<()> {
        Self::remove_tunnel(self, id).await
    }

    async fn settle(&mut self) -> anyhow::Result<()> {
        Self::settle(self).await
    }

    fn install_inbound(&mut self, id: TunnelId, sa: &SaConfig) -> anyhow::Result<()> {
        Self::install_inbound(self, id, sa)
    }

    fn install_outbound(&mut self, id: TunnelId, sa: &SaConfig) -> anyhow::Result<()> {
        Self::install_outbound(self, id, sa)
    }

    fn remove_inbound(&mut self, id: TunnelId, spi: u32) -> anyhow::Result<()> {
        Self::remove_inbound(self, id, spi)
    }

    fn remove_outbound(&mut self, id: TunnelId, spi: u32) -> anyhow::Result<()> {
        Self::remove_outbound(self, id, spi)
    }

    fn set_policy(&mut self, id: TunnelId, policy: PacketPolicy) {
        Self::set_policy(self, id, policy);
    }

    fn set_limit(&mut self, limit: BandwidthLimit) -> anyhow::Result<()> {
        Self::set_limit(self, limit)
    }

    fn set_share(&mut self, id: TunnelId, share: TunnelShare) -> anyhow::Result<()> {
        Self::set_share(self, id, share)
    }

    fn stats(&self) -> anyhow::Result<DatapathStats> {
        Self::stats(self)
    }

    fn tunnel_stats(&self, id: TunnelId) -> anyhow::Result<TunnelStats> {
        Self::tunnel_stats(self, id)
    }

    fn engine_stats(&self) -> EngineStats {
        Self::engine_stats(self)
    }

    fn sa_counters(&self, id: TunnelId, direction: Direction, spi: u32) -> anyhow::Result<SaCounters> {
        Self::sa_counters(self, id, direction, spi)
    }
}
