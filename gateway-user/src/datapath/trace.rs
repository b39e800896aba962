//! What the XDP programs would do with a packet, rule by rule, from the maps that they read. Nothing is sent, counted or changed.
//!
//! The order of the rules is that of `gateway-ebpf`: `entry`, `encap` and `decap`. What the kernel's forwarding table says is asked by
//! program `way`, with the same call that the datapath makes.

mod budget;
mod packet;
mod relay;
mod report;
mod tables;

use std::net::IpAddr;

use anyhow::Result;
use gateway_common::budget::Direction;
use gateway_common::wire::{
    ESP_ICV_LEN, ESP_IV_LEN, ESP_LEN, ESP_TRAILER_LEN, NAT_T_PORT, PROTO_ESP, PROTO_UDP, UDP_LEN,
};
use gateway_common::{DropReason, Lane, LaneState, Port, PortRole, RouteKind, SaFlags, dscp};

use self::packet::header_len;
pub use self::packet::{Origin, TracedPacket};
use self::report::Log;
pub use self::report::{Trace, TraceStep, TracedHop, TracedSa, TracedVerdict};
pub use self::tables::Tracer;
pub(crate) use self::tables::interface_name;
use self::tables::{NextHop, SaState};
use super::object::Object;
use crate::worker::clock::now_ns;

/// One question, while it is being answered.
struct Run<'a> {
    tables: &'a Tracer,
    object: &'a Object,
    packet: &'a TracedPacket,
    name_of: &'a dyn Fn(u32) -> String,
    log: Log,
}

impl Tracer {
    /// What becomes of `packet`, which comes from `origin`. `name_of` tells the name of the connection with a tunnel number.
    ///
    /// # Errors
    /// The kernel refused a look-up, or the packet's addresses are of different families.
    pub fn trace(
        &self,
        object: &Object,
        packet: &TracedPacket,
        origin: Origin,
        name_of: &dyn Fn(u32) -> String,
    ) -> Result<Trace> {
        let mut run = Run { tables: self, object, packet, name_of, log: Log::default() };
        let verdict = match origin {
            Origin::Interface(ifindex) => run.interface(ifindex)?,
            Origin::Tunnel { tunnel, ingress_ifindex } => run.tunnel(tunnel, ingress_ifindex)?,
        };
        Ok(run.log.end(verdict))
    }
}

impl Run<'_> {
    /// `entry::route_in`.
    fn interface(&mut self, ifindex: u32) -> Result<TracedVerdict> {
        let Some(port) = self.tables.port(ifindex)? else {
            self.log.stop("interface", "the gateway does not use this interface: packets are the kernel's");
            return Ok(TracedVerdict::Kernel);
        };
        if port.roles & PortRole::TUNNEL != 0 {
            return self.stack(ifindex, &port);
        }
        let roles = match port.roles & (PortRole::LAN | PortRole::WAN) {
            PortRole::LAN => "faces the VNet",
            PortRole::WAN => "faces the peers",
            _ => "faces both the VNet and the peers",
        };
        self.log.pass("interface", roles);
        let packet = self.packet;
        if port.roles & PortRole::WAN != 0 && self.tables.is_wan_address(packet.destination)? {
            return Ok(self.gateway_address());
        }
        let to = self.tables.route(packet.destination)?;
        match to.kind {
            RouteKind::REMOTE if port.roles & PortRole::LAN == 0 => {
                let name = (self.name_of)(to.tunnel);
                self.log.stop("destination", format!("{} lies behind connection {name}", packet.destination));
                Ok(self.drop(
                    to.tunnel,
                    DropReason::Unprotected,
                    "no LAN interface: nothing may enter a tunnel here",
                ))
            }
            RouteKind::REMOTE => self.encapsulate(ifindex, &port, to.tunnel, true),
            RouteKind::LOCAL => self.refuse_in_the_clear(),
            _ => {
                self.log.stop(
                    "destination",
                    format!("{} is neither in the VNet nor behind a connection", packet.destination),
                );
                Ok(TracedVerdict::Kernel)
            }
        }
    }

    /// `entry::route_in` behind the kernel's own routing.
    fn stack(&mut self, ifindex: u32, port: &Port) -> Result<TracedVerdict> {
        let to = self.tables.route(self.packet.destination)?;
        if to.kind != RouteKind::REMOTE {
            let text =
                format!("{} is not behind a connection: no route leads to vgw0", self.packet.destination);
            self.log.stop("destination", text);
            return Ok(TracedVerdict::Kernel);
        }
        self.log.pass("interface", "the kernel routes it to vgw0, and does TTL, fragmentation and ICMP");
        self.encapsulate(ifindex, port, to.tunnel, false)
    }

    /// `entry::from_wan`.
    fn gateway_address(&mut self) -> TracedVerdict {
        let packet = self.packet;
        let is_esp =
            packet.protocol == PROTO_ESP || packet.protocol == PROTO_UDP && packet.port == Some(NAT_T_PORT);
        self.log.stop(
            "destination",
            if is_esp {
                "the gateway's own address: ESP is opened with the SA of its SPI, IKE is the agent's; for what is inside, \
                 ask with --from tunnel:CONNECTION"
            } else {
                "the gateway's own address: the kernel's"
            },
        );
        TracedVerdict::Kernel
    }

    /// `entry::refuse_in_the_clear`.
    fn refuse_in_the_clear(&mut self) -> Result<TracedVerdict> {
        let TracedPacket { source, destination, .. } = *self.packet;
        self.log.pass("destination", format!("{destination} lies in the VNet"));
        let from = self.tables.route(source)?;
        if from.kind == RouteKind::REMOTE {
            let name = (self.name_of)(from.tunnel);
            let text =
                format!("{source} lies behind connection {name}, but the packet came out of no tunnel");
            return Ok(self.drop(from.tunnel, DropReason::Unprotected, text));
        }
        self.log
            .stop("source", format!("{source} is not behind a connection: the kernel forwards the packet"));
        Ok(TracedVerdict::Kernel)
    }

    /// `encap::encapsulate`.
    fn encapsulate(
        &mut self,
        ifindex: u32,
        port: &Port,
        tunnel: u32,
        is_forwarded: bool,
    ) -> Result<TracedVerdict> {
        let TracedPacket { source, destination, size, ttl, .. } = *self.packet;
        let packet = self.packet;
        let name = (self.name_of)(tunnel);
        self.log.tunnel = Some(tunnel);
        self.log.pass("destination", format!("{destination} lies behind connection {name}"));
        let from = self.tables.route(source)?;
        if from.kind == RouteKind::LOCAL {
            self.log.pass("source", format!("{source} lies in the VNet"));
        } else if self.tables.is_relayed(packet, from, RouteKind::REMOTE, RouteKind::LOCAL, tunnel)? {
            self.log.pass("source", format!("an error about a packet that came out of connection {name}"));
        } else {
            let text = format!("{source} does not lie in the VNet");
            return Ok(self.drop(tunnel, DropReason::SourceOutsideVnet, text));
        }
        let entry = self.tables.tunnel(tunnel)?;
        if is_forwarded && ttl <= 1 {
            self.log.stop(
                "ttl",
                format!("TTL {ttl} ends here: the kernel tells the sender (ICMP time exceeded)"),
            );
            return Ok(TracedVerdict::Kernel);
        }
        if is_forwarded {
            self.log.pass("ttl", format!("TTL {ttl}, {} inside the tunnel", ttl - 1));
        }
        if is_forwarded && packet.concerns_routers() {
            self.log.stop("options", "hop-by-hop options concern each router: they are the kernel's");
            return Ok(TracedVerdict::Kernel);
        }
        if size > entry.mtu {
            let text = format!("{size} bytes, the tunnel carries {}", entry.mtu);
            if !is_forwarded {
                return Ok(self.drop(tunnel, DropReason::TooBig, text));
            }
            let then = if destination.is_ipv6() {
                "the kernel tells the sender (ICMPv6 packet too big)"
            } else if packet.dont_fragment {
                "the kernel tells the sender (ICMP fragmentation needed)"
            } else {
                "the kernel fragments it, and the fragments go through the tunnel"
            };
            self.log.stop("mtu", format!("{text}: {then}"));
            return Ok(TracedVerdict::Kernel);
        }
        self.log.pass("mtu", format!("{size} of {} bytes", entry.mtu));
        let index = self.tables.outbound_sa(tunnel, entry.outbound_sa)?;
        let sa = if index == 0 { None } else { self.tables.sa(index)? };
        let Some(sa) = sa else {
            return Ok(self.drop(
                tunnel,
                DropReason::NoOutboundSa,
                format!("connection {name} has no SA to send with"),
            ));
        };
        self.log.sa = Some(sa.traced());
        if sa.is_expired() {
            return Ok(self.drop(
                tunnel,
                DropReason::LifetimeExpired,
                format!("{sa}: its hard lifetime has passed"),
            ));
        }
        self.log.pass("sa", sa.to_string());
        self.seal(ifindex, port, tunnel, &sa)
    }

    /// `encap::seal`.
    fn seal(&mut self, ifindex: u32, port: &Port, tunnel: u32, sa: &SaState) -> Result<TracedVerdict> {
        let size = self.packet.size;
        let outer_len = outer_len(size, sa.flags, sa.local);
        let protocol = if sa.flags & SaFlags::UDP_ENCAP == 0 { PROTO_ESP } else { PROTO_UDP };
        let outer = TracedPacket {
            source: sa.local,
            destination: sa.remote,
            protocol,
            size: outer_len,
            ..self.packet.clone()
        };
        let class = dscp::outer(sa.outer_dscp, 0);
        let hop = Tracer::next_hop(self.object, &outer, class, ifindex)?;
        let what = format!("{} bytes from {} to {}", outer_len, sa.local, sa.remote);
        let Some(egress) = self.leave(&what, &hop) else {
            let text = format!("{what}: the kernel's routes refuse it");
            return Ok(self.drop(tunnel, DropReason::NoRoute, text));
        };
        if let Some(verdict) = self.budget(tunnel, Direction::Outbound)? {
            return Ok(verdict);
        }
        if sa.is_exhausted() {
            return Ok(self.drop(
                tunnel,
                DropReason::SequenceExhausted,
                format!("{sa}: 32-bit numbers are used up"),
            ));
        }
        self.log.pass("sequence", format!("number {}", sa.sequence + 1));
        self.engine(port, tunnel, Some(egress.ifindex(self.tables)?))?;
        Ok(egress)
    }

    /// `decap::forward`, of a packet that was opened and is no replay.
    fn tunnel(&mut self, tunnel: u32, ingress_ifindex: u32) -> Result<TracedVerdict> {
        let TracedPacket { source, destination, size, ttl, .. } = *self.packet;
        let name = (self.name_of)(tunnel);
        self.log.tunnel = Some(tunnel);
        self.log.pass("tunnel", format!("opened with an SA of connection {name}"));
        let packet = self.packet;
        let (from, to) = (self.tables.route(source)?, self.tables.route(destination)?);
        if from.kind == RouteKind::REMOTE && from.tunnel == tunnel {
            self.log.pass("source", format!("{source} lies behind connection {name}"));
        } else if self.tables.is_relayed(packet, from, RouteKind::LOCAL, RouteKind::REMOTE, tunnel)? {
            self.log.pass("source", format!("an error about a packet that went into connection {name}"));
        } else {
            let text = format!("{source} does not lie behind connection {name}");
            return Ok(self.drop(tunnel, DropReason::SelectorMismatch, text));
        }
        if to.kind != RouteKind::LOCAL {
            let text = format!("{destination} does not lie in the VNet");
            return Ok(self.drop(tunnel, DropReason::SelectorMismatch, text));
        }
        self.log.pass("destination", format!("{destination} lies in the VNet"));
        if let Some(verdict) = self.budget(tunnel, Direction::Inbound)? {
            return Ok(verdict);
        }
        let egress = if ttl <= 1 {
            self.log.pass("ttl", format!("TTL {ttl} ends here: the kernel tells the sender, by way of vgw0"));
            TracedVerdict::Stack
        } else if packet.concerns_routers() {
            self.log.pass("options", "hop-by-hop options concern each router: the kernel's, by way of vgw0");
            TracedVerdict::Stack
        } else {
            self.log.pass("ttl", format!("TTL {ttl}, {} afterwards", ttl - 1));
            let hop = Tracer::next_hop(self.object, packet, 0, ingress_ifindex)?;
            let what = format!("{size} bytes to {destination}");
            let Some(egress) = self.leave(&what, &hop) else {
                let text = format!("{what}: the kernel's routes refuse it");
                return Ok(self.drop(tunnel, DropReason::NoRoute, text));
            };
            if let TracedVerdict::Forward(ifindex) = egress
                && let Some(port) = self.tables.port(ifindex)?
                && port.roles & (PortRole::WAN | PortRole::LAN) == PortRole::WAN
            {
                let text = "it would leave in the clear through an interface that faces the peers only";
                return Ok(self.drop(tunnel, DropReason::NoRoute, text));
            }
            egress
        };
        if let Some(port) = self.tables.port(ingress_ifindex)? {
            self.engine(&port, tunnel, None)?;
        }
        Ok(egress)
    }

    /// Where the packet leaves; `None` if nowhere.
    fn leave(&mut self, what: &str, hop: &NextHop) -> Option<TracedVerdict> {
        self.log.next_hop = Some(hop.traced());
        match hop {
            NextHop::Unreachable => None,
            NextHop::Stack { why, .. } => {
                self.log.pass("next_hop", format!("{what}: {why}, so it goes by way of vgw0 and the kernel"));
                Some(TracedVerdict::Stack)
            }
            NextHop::Direct { ifindex, .. } => {
                self.log.pass("next_hop", format!("{what}: {}", hop.traced()));
                Some(TracedVerdict::Forward(*ifindex))
            }
        }
    }

    /// `budget::admit`, uncharged: the verdict if the packet is too much now.
    fn budget(&mut self, tunnel: u32, direction: Direction) -> Result<Option<TracedVerdict>> {
        let state = self.tables.judge(tunnel, direction, self.packet.size)?;
        if !state.passes {
            return Ok(Some(self.drop(tunnel, DropReason::BudgetExceeded, state.detail)));
        }
        self.log.pass("budget", state.detail);
        Ok(None)
    }

    /// `lane::find` for receive queue 0. A packet that is to be sealed needs a worker at its egress, too.
    fn engine(&mut self, port: &Port, tunnel: u32, egress: Option<u32>) -> Result<()> {
        let serves = |ifindex| {
            Ok::<_, anyhow::Error>(self.tables.port(ifindex)?.is_some_and(|port| port.first_lane != 0))
        };
        let text = if port.first_lane == 0 {
            "kernel".to_owned()
        } else if self.tables.is_watched(tunnel)? {
            "kernel, because a capture of the connection runs".to_owned()
        } else if egress.map(serves).transpose()? == Some(false) {
            "kernel, because no worker can send there".to_owned()
        } else {
            let lane = self.tables.lane(port.first_lane)?;
            match state_of(&lane) {
                LaneState::Open => format!("xsk, lane {} (receive queue 0)", port.first_lane),
                LaneState::Closed => "kernel, because no worker serves the queue".to_owned(),
                LaneState::Full => "kernel, because the worker's ring is full".to_owned(),
                LaneState::Stalled => "kernel, because the worker makes no progress".to_owned(),
            }
        };
        self.log.pass("engine", text);
        Ok(())
    }

    fn drop(&mut self, tunnel: u32, reason: DropReason, text: impl Into<String>) -> TracedVerdict {
        self.log.stop(reason.name(), text);
        TracedVerdict::Drop { tunnel, reason }
    }
}

/// Length of the IP packet from `local` that one of `inner_len` bytes becomes.
fn outer_len(inner_len: u32, flags: u32, local: IpAddr) -> u32 {
    let udp_len = if flags & SaFlags::UDP_ENCAP != 0 { UDP_LEN } else { 0 };
    let iv_len = if flags & SaFlags::IMPLICIT_IV != 0 { 0 } else { ESP_IV_LEN };
    let payload = (inner_len + ESP_TRAILER_LEN as u32).next_multiple_of(4);
    payload + header_len(local) + (ESP_LEN + iv_len + udp_len + ESP_ICV_LEN) as u32
}

/// What a lane does with the next frame.
fn state_of(lane: &Lane) -> LaneState {
    let waiting = Lane::under_way(lane.produced, lane.consumed);
    let held = if lane.slots == 0 { waiting } else { Lane::under_way(lane.produced, lane.sent) };
    Lane::state(lane.limit, held, waiting, lane.progress_ns, lane.waiting_since_ns, lane.diverted, now_ns())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sealed_packets_have_the_length_that_the_programs_give_them() {
        let [v4, v6] = ["192.0.2.1", "2001:db8::1"].map(|address| address.parse().unwrap());
        assert_eq!(outer_len(500, 0, v4), 20 + 8 + 8 + 504 + 16);
        assert_eq!(outer_len(500, SaFlags::IMPLICIT_IV, v4), 20 + 8 + 504 + 16);
        assert_eq!(outer_len(1438, SaFlags::UDP_ENCAP, v4), 1500);
        assert_eq!(outer_len(1418, SaFlags::UDP_ENCAP | SaFlags::OUTER_IPV6, v6), 1500);
    }
}
