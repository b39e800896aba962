//! Errors of ICMP from routers that no prefix covers: they belong to the traffic of a tunnel when the packet that they quote does
//! (RFC 4301 section 6.2).

use aya_ebpf::programs::XdpContext;
use gateway_common::icmp::Error;
use gateway_common::limits::MAX_FRAME;
use gateway_common::wire::ETH_LEN;
use gateway_common::{Route, RouteKind};

use crate::packet::at;
use crate::route::Family;

/// Whether the packet `ip`, which came out of `tunnel`, is an error about a packet that went into it: the quoted one goes from
/// this VNet to a prefix behind the tunnel, and its sender gets the error.
#[inline(always)]
pub(crate) fn answers_outbound<I: Family>(ctx: &XdpContext, ip: &I, from: Route, tunnel: u32) -> bool {
    is_relayed(ctx, ip, from, RouteKind::LOCAL, RouteKind::REMOTE, tunnel)
}

/// Whether the packet `ip`, which is for `tunnel`, is an error about a packet that came out of it: the quoted one goes from a prefix
/// behind the tunnel to this VNet, and its sender gets the error.
#[inline(always)]
pub(crate) fn answers_inbound<I: Family>(ctx: &XdpContext, ip: &I, from: Route, tunnel: u32) -> bool {
    is_relayed(ctx, ip, from, RouteKind::REMOTE, RouteKind::LOCAL, tunnel)
}

/// `from` is what the prefixes say of the error's source. `source` and `destination` are the kinds of prefixes that the quoted packet's
/// addresses must lie in, the remote one that of `tunnel`.
#[inline(always)]
fn is_relayed<I: Family>(
    ctx: &XdpContext,
    ip: &I,
    from: Route,
    source: u32,
    destination: u32,
    tunnel: u32,
) -> bool {
    // A source that some prefix covers is held to that prefix.
    if ip.protocol() != I::PROTOCOL
        || ip.is_fragment()
        || from.kind != RouteKind::NONE
        || I::is_martian(ip.source())
    {
        return false;
    }
    let header_len = ip.header_len() as usize;
    if header_len < I::LEN {
        return false;
    }
    let offset = (ETH_LEN + header_len) & MAX_FRAME;
    let Some(error) = at::<Error<I>>(ctx, offset) else { return false };
    // SAFETY: lies within the frame, and has no alignment.
    let error = unsafe { &*error };
    if !error.quotes_a_packet(ip) {
        return false;
    }
    let quoted = &error.quoted;
    lies_in::<I>(quoted.source(), source, tunnel) && lies_in::<I>(quoted.destination(), destination, tunnel)
}

/// Whether `address` lies in a prefix of the kind `kind`, if it is a remote one in one of `tunnel`.
#[inline(always)]
fn lies_in<I: Family>(address: I::Address, kind: u32, tunnel: u32) -> bool {
    let route = I::lookup(address);
    route.kind == kind && (kind != RouteKind::REMOTE || route.tunnel == tunnel)
}
