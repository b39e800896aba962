//! What would become of a packet.

use std::net::IpAddr;
use std::time::Instant;

use gateway_common::wire::{IPV4_LEN, IPV6_LEN};
use ike::PeerId;
use ipnet::IpNet;

use super::super::dataplane::Dataplane;
use super::{Core, connection_name};
use crate::api::command::Refusal;
use crate::api::trace::{
    TraceAction, TraceFrom, TraceHop, TraceReport, TraceRequest, TraceSa, TraceStep, TraceVerdict,
};
use crate::datapath::{
    Trace, TraceFrom as Origin, TracedHop, TracedPacket, TracedSa, TracedVerdict, TunnelId, interface_name,
};

/// Name of the interface into the kernel.
const VGW0: &str = "vgw0";

impl<D: Dataplane> Core<D> {
    pub(super) fn trace(&self, now: Instant, request: &TraceRequest) -> Result<TraceReport, Refusal> {
        let TraceRequest { source, destination, size, ttl, port, dont_fragment, quotes, .. } = *request;
        let invalid = |message: String| Refusal::Invalid { message, details: Vec::new() };
        if source.is_ipv4() != destination.is_ipv4() {
            return Err(invalid(format!(
                "source {source} and destination {destination} are of different families"
            )));
        }
        let (version, header_len) = if source.is_ipv4() { ("IPv4", IPV4_LEN) } else { ("IPv6", IPV6_LEN) };
        if usize::from(size) < header_len {
            return Err(invalid(format!(
                "size {size} is shorter than an {version} header, {header_len} bytes"
            )));
        }
        if let Some(other) = quotes.into_iter().flatten().find(|quoted| quoted.is_ipv4() != source.is_ipv4())
        {
            return Err(invalid(format!(
                "quoted address {other} is not {version}, which the packet is that quotes it"
            )));
        }
        let protocol = request.protocol();
        if quotes.is_some() && protocol != request.icmp() {
            return Err(invalid(format!(
                "a packet of protocol {protocol} quotes none: errors over {version} are of protocol {}",
                request.icmp()
            )));
        }
        let from = request.from.clone().unwrap_or_else(|| self.origin_of(source));
        let origin = match &from {
            TraceFrom::Lan => Origin::Lan,
            TraceFrom::Wan => Origin::Wan,
            TraceFrom::Host => Origin::Host,
            TraceFrom::Tunnel(site) => Origin::Tunnel(TunnelId(self.connection(site)?.id)),
        };
        let size = size.into();
        let packet = TracedPacket { source, destination, protocol, port, size, ttl, dont_fragment, quotes };
        let name_of = |tunnel: u32| self.name_of_tunnel(tunnel).unwrap_or_else(|| format!("number {tunnel}"));
        let trace = self.dataplane.trace(&packet, origin, &name_of);
        let trace =
            trace.map_err(|error| Refusal::Failed(format!("cannot look the packet up: {error:#}")))?;
        Ok(self.trace_report(now, from, trace))
    }

    /// A packet from behind a connection comes from its tunnel.
    fn origin_of(&self, source: IpAddr) -> TraceFrom {
        let is_behind = |prefix: &IpNet| prefix.contains(&source);
        let mut connections = self.connections.iter();
        let site =
            connections.find(|(_, connection)| connection.resolved.remote_prefixes.iter().any(is_behind));
        site.map_or(TraceFrom::Lan, |(site, _)| TraceFrom::Tunnel(site.clone()))
    }

    fn name_of_tunnel(&self, tunnel: u32) -> Option<String> {
        self.site_of(PeerId(tunnel)).map(|site| connection_name(&self.settings.vnet, site))
    }

    fn trace_report(&self, now: Instant, from: TraceFrom, trace: Trace) -> TraceReport {
        let Trace { steps, verdict, tunnel, sa, next_hop } = trace;
        let (action, reason, interface) = match verdict {
            TracedVerdict::Forward(ifindex) => (TraceAction::Forward, None, Some(interface_name(ifindex))),
            TracedVerdict::Stack => (TraceAction::Forward, None, Some(VGW0.to_owned())),
            TracedVerdict::Kernel => (TraceAction::Kernel, None, None),
            TracedVerdict::Drop { reason, .. } => (TraceAction::Drop, Some(reason.name().to_owned()), None),
        };
        let steps = steps.into_iter().map(|step| TraceStep {
            rule: step.rule.to_owned(),
            passed: step.passed,
            detail: step.detail,
        });
        TraceReport {
            from,
            steps: steps.collect(),
            verdict: TraceVerdict { action, reason, interface },
            connection: tunnel.and_then(|tunnel| self.name_of_tunnel(tunnel)),
            sa: sa.map(|sa| self.sa_report(now, tunnel, sa)),
            next_hop: next_hop.map(hop_report),
        }
    }

    fn sa_report(&self, now: Instant, tunnel: Option<u32>, sa: TracedSa) -> TraceSa {
        let peer = tunnel.and_then(|tunnel| self.endpoint.status(PeerId(tunnel)));
        let rekey_at = peer.as_ref().and_then(|peer| {
            let children = peer.child.iter().chain(&peer.resource_children);
            children.into_iter().find(|child| child.outbound_spi == sa.spi).map(|child| child.rekey_at)
        });
        TraceSa {
            spi: format!("{:08x}", sa.spi),
            algorithm: sa.algorithm,
            next_sequence: sa.next_sequence,
            bytes: sa.bytes,
            bytes_left: sa.bytes_left,
            rekey_in_seconds: rekey_at.map(|at| at.saturating_duration_since(now).as_secs()),
            local: sa.local,
            remote: sa.remote,
        }
    }
}

fn hop_report(hop: TracedHop) -> TraceHop {
    TraceHop { result: hop.result.to_owned(), interface: hop.interface, address: hop.address, mac: hop.mac }
}
