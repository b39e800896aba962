//! Errors of ICMP from routers that no prefix covers.

use std::net::IpAddr;

use anyhow::Result;
use gateway_common::icmp::Icmp;
use gateway_common::wire::{PROTO_ICMP, PROTO_ICMPV6};
use gateway_common::{Ipv4, Ipv6, Route, RouteKind};

use super::packet::TracedPacket;
use super::tables::Tracer;

/// Length of the header of an error, and of what it must quote of the payload, in bytes.
const HEADER_LEN: u32 = 8;
const QUOTED_PAYLOAD: u32 = 8;

impl Tracer {
    /// `icmp::answers_outbound` if `source` is [`RouteKind::LOCAL`] and `destination` is [`RouteKind::REMOTE`], `icmp::answers_inbound` the
    /// other way round. `from` is the route to the packet's source. A quoted packet is taken to be one that may be quoted.
    pub(super) fn is_relayed(
        &self,
        packet: &TracedPacket,
        from: Route,
        source: u32,
        destination: u32,
        tunnel: u32,
    ) -> Result<bool> {
        let Some([sender, receiver]) = packet.quotes else { return Ok(false) };
        let (protocol, is_martian) = match packet.source {
            IpAddr::V4(address) => (PROTO_ICMP, Ipv4::is_martian(address.octets())),
            IpAddr::V6(address) => (PROTO_ICMPV6, Ipv6::is_martian(address.octets())),
        };
        let must_have = 2 * packet.header_len() + HEADER_LEN + QUOTED_PAYLOAD;
        if packet.protocol != protocol
            || from.kind != RouteKind::NONE
            || is_martian
            || packet.size < must_have
            || packet.destination != sender
        {
            return Ok(false);
        }
        let lies_in = |address, kind| -> Result<bool> {
            let route = self.route(address)?;
            Ok(route.kind == kind && (kind != RouteKind::REMOTE || route.tunnel == tunnel))
        };
        Ok(lies_in(sender, source)? && lies_in(receiver, destination)?)
    }
}
