//! The program that is attached to interfaces: decides what a frame is.

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use gateway_common::wire::{
    ETH_LEN, ETHERTYPE_IPV4, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN, IPV4_LEN, NAT_T_PORT, PROTO_ESP,
    PROTO_UDP, UDP_LEN, VLAN_ID_MASK,
};
use gateway_common::{DropReason, Ethernet, Ipv4, Port, PortRole, RouteKind};

use crate::drop::drop;
use crate::maps::{CONFIG, PORTS};
use crate::packet::{Udp, at, frame_len};
use crate::{decap, encap, route};

/// Attached to every LAN and WAN interface and to the peer of `vgw0`.
#[xdp]
pub(crate) fn gateway(ctx: XdpContext) -> u32 {
    classify(&ctx).unwrap_or(XDP_PASS)
}

/// The verdict, or `None` for frames that are the kernel's business.
#[inline(always)]
fn classify(ctx: &XdpContext) -> Option<u32> {
    // SAFETY: entries are only replaced as a whole by the agent.
    let port = unsafe { PORTS.get(ctx.ingress_ifindex() as u32) }?;
    let roles = port.roles;
    let ethernet = at::<Ethernet>(ctx, 0)?;
    let ip = at::<Ipv4>(ctx, ETH_LEN)?;
    // SAFETY: both lie within the frame.
    let (ethernet, ip) = unsafe { (&mut *ethernet, &mut *ip) };
    if is_priority_tagged(ethernet, ip) {
        return Some(drop(0, DropReason::PriorityTag));
    }
    if ethernet.ethertype != ETHERTYPE_IPV4.to_be_bytes() || ip.version_ihl >> 4 != 4 {
        return None;
    }
    if roles & PortRole::TUNNEL != 0 {
        return Some(from_stack(ctx, port, ip));
    }
    if ethernet.destination != port.mac {
        return None;
    }
    let config = CONFIG.get(0)?;
    if roles & PortRole::WAN != 0 && ip.destination == config.wan_addr {
        return from_wan(ctx, port, ip);
    }
    let to = route::lookup(ip.destination);
    match to.kind {
        RouteKind::REMOTE if roles & PortRole::LAN == 0 => Some(drop(to.tunnel, DropReason::Unprotected)),
        RouteKind::REMOTE => encap::encapsulate(ctx, config, port, ip, to.tunnel),
        RouteKind::LOCAL => refuse_in_the_clear(ip),
        _ => None,
    }
}

/// Packets that the kernel routed to `vgw0`. Nothing goes back: it would come here again.
#[inline(always)]
fn from_stack(ctx: &XdpContext, port: &Port, ip: &mut Ipv4) -> u32 {
    let to = route::lookup(ip.destination);
    if to.kind != RouteKind::REMOTE {
        return drop(0, DropReason::NoRoute);
    }
    let Some(config) = CONFIG.get(0) else { return drop(to.tunnel, DropReason::Internal) };
    encap::encapsulate(ctx, config, port, ip, to.tunnel)
        .unwrap_or_else(|| drop(to.tunnel, DropReason::Internal))
}

/// Whether the frame bears a tag of VLAN 0 (IEEE 802.1Q clause 9.6). The kernel strips it and routes the packet as if it
/// had come untagged, so that what is refused here would pass with a tag.
#[inline(always)]
fn is_priority_tagged(ethernet: &Ethernet, behind: &Ipv4) -> bool {
    let ethertype = u16::from_be_bytes(ethernet.ethertype);
    let vlan = u16::from_be_bytes([behind.version_ihl, behind.tos]) & VLAN_ID_MASK;
    (ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_SERVICE_VLAN) && vlan == 0
}

/// Packets to the gateway's own outer address: ESP, plain or in UDP, is ours unless it is a fragment.
#[inline(always)]
fn from_wan(ctx: &XdpContext, port: &Port, ip: &Ipv4) -> Option<u32> {
    if ip.is_fragment() || ip.header_len() as usize != IPV4_LEN {
        return None;
    }
    if ETH_LEN as u32 + ip.total_len() > frame_len(ctx) {
        return Some(drop(0, DropReason::Malformed));
    }
    match ip.protocol {
        PROTO_ESP => Some(decap::decapsulate(ctx, port, ip, ETH_LEN + IPV4_LEN)),
        PROTO_UDP => {
            let udp = at::<Udp>(ctx, ETH_LEN + IPV4_LEN)?;
            // SAFETY: lies within the frame.
            let udp = unsafe { &*udp };
            if udp.destination != NAT_T_PORT.to_be_bytes() {
                return None;
            }
            let marker = at::<[u8; 4]>(ctx, ETH_LEN + IPV4_LEN + UDP_LEN)?;
            // SAFETY: lies within the frame. Zero is the non-ESP marker of IKE (RFC 3948 section 2.2); a keep-alive is
            // shorter than a marker unless the frame was padded, then the length tells.
            if unsafe { *marker } == [0; 4] || u16::from_be_bytes(udp.len) < (UDP_LEN + 4) as u16 {
                return None;
            }
            if u32::from(u16::from_be_bytes(udp.len)) != ip.total_len() - IPV4_LEN as u32 {
                return Some(drop(0, DropReason::Malformed));
            }
            Some(decap::decapsulate(ctx, port, ip, ETH_LEN + IPV4_LEN + UDP_LEN))
        }
        _ => None,
    }
}

/// A packet for this VNet that claims to come from a remote one, but did not come out of a tunnel, is forged.
#[inline(always)]
fn refuse_in_the_clear(ip: &Ipv4) -> Option<u32> {
    let from = route::lookup(ip.source);
    if from.kind == RouteKind::REMOTE { Some(drop(from.tunnel, DropReason::Unprotected)) } else { None }
}
