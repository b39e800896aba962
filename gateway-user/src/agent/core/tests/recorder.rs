//! A datapath that only writes down what it is told.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use anyhow::bail;

use super::super::super::dataplane::Dataplane;
use crate::datapath::{
    BandwidthLimit, CaptureSpec, CaptureStream, DatapathStats, Direction, EngineStats, PacketPolicy,
    SaConfig, SaCounters, Trace, TraceFrom, TraceStep, TracedPacket, TracedVerdict, TunnelChange, TunnelId,
    TunnelShare, TunnelStats,
};

/// Every call as a line of text, and what to answer.
#[derive(Debug, Default)]
pub(super) struct Recorder {
    pub(super) calls: Vec<String>,
    /// Outbound and inbound SAs that were installed, in this order.
    pub(super) installed: Vec<SaConfig>,
    /// Makes every installation fail with this message.
    pub(super) refuse: Option<&'static str>,
    /// Tunnels that can be neither set nor removed.
    pub(super) broken_tunnels: BTreeSet<u32>,
    /// The bandwidth, and what each tunnel gets of it.
    pub(super) limit: BandwidthLimit,
    pub(super) shares: BTreeMap<u32, TunnelShare>,
    /// Outcomes of changes that were not told yet.
    pub(super) outcomes: VecDeque<Vec<anyhow::Result<()>>>,
    pub(super) stats: DatapathStats,
    /// The policies told last.
    pub(super) policies: HashMap<TunnelId, PacketPolicy>,
    /// What single SAs have carried.
    pub(super) sa_counters: HashMap<(Direction, u32), SaCounters>,
    /// Captures that were started.
    pub(super) captures: RefCell<Vec<CaptureSpec>>,
    /// How often the counters of all tunnels were read.
    pub(super) reads_of_all: Cell<u32>,
}

impl Recorder {
    fn install(&mut self, what: &str, id: TunnelId, sa: &SaConfig) -> anyhow::Result<()> {
        let resource = sa.resource.map_or_else(String::new, |resource| format!(" for {resource}"));
        self.calls.push(format!("install_{what} {} {:08x}{resource}", id.0, sa.spi));
        self.installed.push(sa.clone());
        match self.refuse {
            Some(reason) => bail!(reason),
            None => Ok(()),
        }
    }

    fn change_tunnel(&mut self, call: String, id: TunnelId) -> anyhow::Result<()> {
        self.calls.push(call);
        if self.broken_tunnels.contains(&id.0) {
            bail!("no route to tunnel {}", id.0);
        }
        Ok(())
    }
}

impl Dataplane for Recorder {
    fn change_tunnels(&mut self, changes: Vec<TunnelChange>) {
        let outcomes = changes.into_iter().map(|change| match change {
            TunnelChange::Set(id, prefixes) => {
                let prefixes: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
                self.change_tunnel(format!("set_tunnel {} [{}]", id.0, prefixes.join(" ")), id)
            }
            TunnelChange::Remove(id) => self.change_tunnel(format!("remove_tunnel {}", id.0), id),
        });
        let outcomes = outcomes.collect();
        self.outcomes.push_back(outcomes);
    }

    async fn changed(&mut self) -> Vec<anyhow::Result<()>> {
        self.outcomes.pop_front().expect("somebody waits for nothing")
    }

    async fn settle(&mut self) -> anyhow::Result<()> {
        self.calls.push("settle".to_owned());
        Ok(())
    }

    fn install_inbound(&mut self, id: TunnelId, sa: &SaConfig) -> anyhow::Result<()> {
        self.install("inbound", id, sa)
    }

    fn install_outbound(&mut self, id: TunnelId, sa: &SaConfig) -> anyhow::Result<()> {
        self.install("outbound", id, sa)
    }

    fn remove_inbound(&mut self, id: TunnelId, spi: u32) -> anyhow::Result<()> {
        self.calls.push(format!("remove_inbound {} {spi:08x}", id.0));
        Ok(())
    }

    fn remove_outbound(&mut self, id: TunnelId, spi: u32) -> anyhow::Result<()> {
        self.calls.push(format!("remove_outbound {} {spi:08x}", id.0));
        Ok(())
    }

    fn set_policy(&mut self, id: TunnelId, policy: PacketPolicy) {
        self.policies.insert(id, policy);
    }

    fn set_limit(&mut self, limit: BandwidthLimit) -> anyhow::Result<()> {
        self.limit = limit;
        Ok(())
    }

    fn set_share(&mut self, id: TunnelId, share: TunnelShare) -> anyhow::Result<()> {
        self.shares.insert(id.0, share);
        Ok(())
    }

    fn stats(&self) -> anyhow::Result<DatapathStats> {
        self.reads_of_all.update(|reads| reads + 1);
        Ok(self.stats.clone())
    }

    fn tunnel_stats(&self, id: TunnelId) -> anyhow::Result<TunnelStats> {
        Ok(self.stats.tunnels.get(&id).cloned().unwrap_or_default())
    }

    fn engine_stats(&self) -> EngineStats {
        self.stats.engine.clone()
    }

    fn sa_counters(&self, _: TunnelId, direction: Direction, spi: u32) -> anyhow::Result<SaCounters> {
        Ok(self.sa_counters.get(&(direction, spi)).copied().unwrap_or_default())
    }

    fn capture(&self, spec: CaptureSpec) -> anyhow::Result<CaptureStream> {
        if let Some(reason) = self.refuse {
            bail!(reason);
        }
        self.captures.borrow_mut().push(spec);
        Ok(CaptureStream::channel(1).1)
    }

    fn trace(
        &self,
        packet: &TracedPacket,
        from: TraceFrom,
        name_of: &dyn Fn(u32) -> String,
    ) -> anyhow::Result<Trace> {
        let asked = format!("{from:?} {} {} {}", packet.source, packet.destination, name_of(1));
        let step = TraceStep { rule: "asked", passed: true, detail: asked };
        Ok(Trace {
            steps: vec![step],
            verdict: TracedVerdict::Kernel,
            tunnel: Some(1),
            sa: None,
            next_hop: None,
        })
    }
}
