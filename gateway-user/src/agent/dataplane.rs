//! The part of the datapath that the core uses, as a seam for tests.

use crate::datapath::{
    BandwidthLimit, CaptureSpec, CaptureStream, Datapath, DatapathStats, Direction, EngineStats,
    PacketPolicy, SaConfig, SaCounters, Trace, TraceFrom, TracedPacket, TunnelChange, TunnelId, TunnelShare,
    TunnelStats,
};

/// What the core asks of a datapath; [`Datapath`] documents each function.
pub(super) trait Dataplane {
    fn change_tunnels(&mut self, changes: Vec<TunnelChange>);
    async fn changed(&mut self) -> Vec<anyhow::Result<()>>;
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
    fn trace(
        &self,
        packet: &TracedPacket,
        from: TraceFrom,
        name_of: &dyn Fn(u32) -> String,
    ) -> anyhow::Result<Trace>;
    fn capture(&self, spec: CaptureSpec) -> anyhow::Result<CaptureStream>;
}

impl Dataplane for Datapath {
    fn change_tunnels(&mut self, changes: Vec<TunnelChange>) {
        Self::change_tunnels(self, changes);
    }

    async fn changed(&mut self) -> Vec<anyhow::Result<()>> {
        Self::changed(self).await
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

    fn trace(
        &self,
        packet: &TracedPacket,
        from: TraceFrom,
        name_of: &dyn Fn(u32) -> String,
    ) -> anyhow::Result<Trace> {
        Self::trace(self, packet, from, name_of)
    }

    fn capture(&self, spec: CaptureSpec) -> anyhow::Result<CaptureStream> {
        Self::capture(self, spec)
    }
}
