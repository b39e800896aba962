//! The program that is attached to interfaces: decides what a frame is.

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use gateway_common::wire::{
    ETH_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN, NAT_T_PORT, PROTO_ESP,
    PROTO_UDP, UDP_LEN, VLAN_ID_MASK,
};
use gateway_common::{
    CapturePoint, DropReason, Ethernet, GatewayConfig, Ipv4, Ipv6, Port, PortRole, ProgramSlot, RouteKind,
};

use crate::drop::drop;
use crate::maps::{CONFIG, PORTS, PROGRAMS};
use crate::packet::{Udp, at, frame_len};
use crate::route::Family;
use crate::{capture, decap, encap};

/// Attached to every LAN and WAN interface and to the peer of `vgw0`.
#[xdp]
pub(crate) fn gateway(ctx: XdpContext) -> u32 {
    capture::after(&ctx, CapturePoint::DroppedOnArrival, 0, classify(&ctx).unwrap_or(XDP_PASS))
}

/// Goes on where `gateway` found an IPv6 packet. A program of its own, so that each has room on its stack.
#[xdp]
pub(crate) fn gateway6(ctx: XdpContext) -> u32 {
    capture::after(&ctx, CapturePoint::DroppedOnArrival, 0, classify6(&ctx).unwrap_or(XDP_PASS))
}

/// The verdict, or `None` for frames that are the kernel's business.
#[inline(always)]
fn classify(ctx: &XdpContext) -> Option<u32> {
    let ethernet = at::<Ethernet>(ctx, 0)?;
    let ip = at::<Ipv4>(ctx, ETH_LEN)?;
    // SAFETY: both lie within the frame.
    let (ethernet, ip) = unsafe { (&mut *ethernet, &mut *ip) };
    if is_priority_tagged(ethernet, ip) {
        return if is_served(ctx) { Some(drop(0, DropReason::PriorityTag)) } else { None };
    }
    if ethernet.ethertype == ETHERTYPE_IPV6.to_be_bytes() {
        // SAFETY: nothing with a destructor is alive.
        unsafe { PROGRAMS.tail_call(ctx, ProgramSlot::Gateway6 as u32) };
        return Some(drop(0, DropReason::Internal));
    }
    if ethernet.ethertype != ETHERTYPE_IPV4.to_be_bytes() {
        return None;
    }
    let config = CONFIG.get(0)?;
    let wan_addr = config.wan_addr4;
    route_in(ctx, config, ethernet, ip, wan_addr)
}

/// As [`classify`], for a frame that bears the EtherType of IPv6.
#[inline(always)]
fn classify6(ctx: &XdpContext) -> Option<u32> {
    let ethernet = at::<Ethernet>(ctx, 0)?;
    let ip = at::<Ipv6>(ctx, ETH_LEN)?;
    // SAFETY: both lie within the frame.
    let (ethernet, ip) = unsafe { (&mut *ethernet, &mut *ip) };
    let config = CONFIG.get(0)?;
    let wan_addr = config.wan_addr6;
    route_in(ctx, config, ethernet, ip, wan_addr)
}

/// What becomes of the packet `ip`. `wan_addr` is the address of its version that ESP for this gateway is sent to.
#[inline(always)]
fn route_in<I: Family>(
    ctx: &XdpContext,
    config: &GatewayConfig,
    ethernet: &Ethernet,
    ip: &mut I,
    wan_addr: I::Address,
) -> Option<u32> {
    // SAFETY: entries are only replaced as a whole by the agent.
    let port = unsafe { PORTS.get(ctx.ingress_ifindex() as u32) }?;
    let roles = port.roles;
    if !ip.has_right_version() {
        return None;
    }
    let is_from_stack = roles & PortRole::TUNNEL != 0;
    if !is_from_stack {
        if ethernet.destination != port.mac {
            return None;
        }
        if roles & PortRole::WAN != 0 && ip.destination() == wan_addr {
            return from_wan(ctx, port, ip);
        }
    }
    let to = I::lookup(ip.destination());
    if to.kind != RouteKind::REMOTE {
        return if is_from_stack {
            // Back it would come here again.
            Some(drop(0, DropReason::NoRoute))
        } else if to.kind == RouteKind::LOCAL {
            refuse_in_the_clear(ip)
        } else {
            None
        };
    }
    if roles & (PortRole::LAN | PortRole::TUNNEL) == 0 {
        return Some(drop(to.tunnel, DropReason::Unprotected));
    }
    match encap::encapsulate(ctx, config, port, ip, to.tunnel) {
        None if is_from_stack => Some(drop(to.tunnel, DropReason::Internal)),
        verdict => verdict,
    }
}

/// Whether the frame came from an interface of the gateway's.
#[inline(always)]
fn is_served(ctx: &XdpContext) -> bool {
    // SAFETY: only whether there is an entry is asked.
    unsafe { PORTS.get(ctx.ingress_ifindex() as u32) }.is_some()
}

/// Whether the frame bears a tag of VLAN 0 (IEEE 802.1Q clause 9.6). The kernel strips it and routes the packet as if it
/// had come untagged, so that what is refused here would pass with a tag.
#[inline(always)]
fn is_priority_tagged(ethernet: &Ethernet, behind: &Ipv4) -> bool {
    let ethertype = u16::from_be_bytes(ethernet.ethertype);
    let vlan = u16::from_be_bytes([behind.version_ihl, behind.tos]) & VLAN_ID_MASK;
    (ethertype == ETHERTYPE_VLAN || ethertype == ETHERTYPE_SERVICE_VLAN) && vlan == 0
}

/// Packets to the gateway's own outer address: ESP, plain or in UDP, is ours unless it is a fragment or has options or extension
/// headers.
#[inline(always)]
pub(crate) fn from_wan<I: Family>(ctx: &XdpContext, port: &Port, ip: &I) -> Option<u32> {
    if ip.is_fragment() || ip.header_len() as usize != I::LEN {
        return None;
    }
    if ETH_LEN as u32 + ip.total_len() > frame_len(ctx) {
        return Some(drop(0, DropReason::Malformed));
    }
    match ip.protocol() {
        PROTO_ESP => Some(decap::decapsulate(ctx, port, ip, ETH_LEN + I::LEN)),
        PROTO_UDP => {
            let udp = at::<Udp>(ctx, ETH_LEN + I::LEN)?;
            // SAFETY: lies within the frame.
            let udp = unsafe { &*udp };
            if udp.destination != NAT_T_PORT.to_be_bytes() {
                return None;
            }
            let marker = at::<[u8; 4]>(ctx, ETH_LEN + I::LEN + UDP_LEN)?;
            // SAFETY: lies within the frame. Zero is the non-ESP marker of IKE (RFC 3948 section 2.2); a keep-alive is
            // shorter than a marker unless the frame was padded, then the length tells.
            if unsafe { *marker } == [0; 4] || u16::from_be_bytes(udp.len) < (UDP_LEN + 4) as u16 {
                return None;
            }
            if u32::from(u16::from_be_bytes(udp.len)) != ip.total_len() - I::LEN as u32 {
                return Some(drop(0, DropReason::Malformed));
            }
            Some(decap::decapsulate(ctx, port, ip, ETH_LEN + I::LEN + UDP_LEN))
        }
        _ => None,
    }
}

/// A packet for this VNet that claims to come from a remote one, but did not come out of a tunnel, is forged.
#[inline(always)]
fn refuse_in_the_clear<I: Family>(ip: &I) -> Option<u32> {
    let from = I::lookup(ip.source());
    if from.kind == RouteKind::REMOTE { Some(drop(from.tunnel, DropReason::Unprotected)) } else { None }
}
