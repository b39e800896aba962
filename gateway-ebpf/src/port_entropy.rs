//! Numbers of flows, for what routers and network cards spread packets by.

use aya_ebpf::programs::XdpContext;
use gateway_common::ip::halves;
use gateway_common::port_entropy::{hash, word};
use gateway_common::wire::{ETH_LEN, PROTO_TCP, PROTO_UDP};

use crate::packet::at;
use crate::route::Family;

/// Bytes of source and destination port at the start of TCP and UDP.
const PORTS_LEN: usize = 4;

/// Number of the flow of the inner packet `ip` at its place behind the Ethernet header. Fragments have that of their addresses,
/// the first one too: all of one packet go the same way.
#[inline(always)]
pub(crate) fn of_flow<I: Family>(ctx: &XdpContext, ip: &I) -> u32 {
    let [source, destination] = ip.words().map(|address| {
        let halves = halves(address);
        if I::IS_V6 { word(halves) } else { halves[3] }
    });
    hash(source, destination, ip.protocol(), ports(ctx, ip).unwrap_or(0))
}

#[inline(always)]
fn ports<I: Family>(ctx: &XdpContext, ip: &I) -> Option<u32> {
    let has_ports = ip.protocol() == PROTO_TCP || ip.protocol() == PROTO_UDP;
    if !has_ports
        || ip.is_fragment()
        || ip.header_len() as usize != I::LEN
        || ip.total_len() < (I::LEN + PORTS_LEN) as u32
    {
        return None;
    }
    let ports = at::<[u8; PORTS_LEN]>(ctx, ETH_LEN + I::LEN)?;
    // SAFETY: lies within the frame.
    Some(u32::from_ne_bytes(unsafe { *ports }))
}
