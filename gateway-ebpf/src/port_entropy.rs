//! The UDP source port of a packet whose SA spreads its flows over ports.

use aya_ebpf::programs::XdpContext;
use gateway_common::Ipv4;
use gateway_common::port_entropy::source_port;
use gateway_common::wire::{ETH_LEN, IPV4_LEN, PROTO_TCP, PROTO_UDP};

use crate::packet::at;

/// Bytes of source and destination port at the start of TCP and UDP.
const PORTS_LEN: usize = 4;

/// Source port, network order, for the inner packet `ip` at its place behind the Ethernet header. Fragments have the port of
/// their addresses, the first one too: all of one packet go the same way.
#[inline(always)]
pub(crate) fn of_flow(ctx: &XdpContext, ip: &Ipv4) -> [u8; 2] {
    source_port(ip.source, ip.destination, ip.protocol, ports(ctx, ip).unwrap_or(0)).to_be_bytes()
}

#[inline(always)]
fn ports(ctx: &XdpContext, ip: &Ipv4) -> Option<u32> {
    let has_ports = ip.protocol == PROTO_TCP || ip.protocol == PROTO_UDP;
    if !has_ports
        || ip.is_fragment()
        || ip.header_len() as usize != IPV4_LEN
        || ip.total_len() < (IPV4_LEN + PORTS_LEN) as u32
    {
        return None;
    }
    let ports = at::<[u8; PORTS_LEN]>(ctx, ETH_LEN + IPV4_LEN)?;
    // SAFETY: lies within the frame.
    Some(u32::from_ne_bytes(unsafe { *ports }))
}
