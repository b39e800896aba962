//! ESP that the kernel has put together from fragments.

use aya_ebpf::helpers::generated::bpf_xdp_adjust_head;
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use gateway_common::limits::MAX_FRAME;
use gateway_common::wire::ETH_LEN;
use gateway_common::{CapturePoint, DropReason, Ethernet, Ipv4, Ipv6, Port, ReturnHeader};

use crate::capture;
use crate::drop::drop;
use crate::entry;
use crate::packet::at;
use crate::route::Family;

/// Where such packets seem to come from: no lane serves it, since packets in fragments are few.
const NOWHERE: Port = Port { roles: 0, mac: [0; 6], reserved: [0; 2], first_lane: 0, lanes: 0 };

/// Goes on where `returned` found such a packet: behind the header of the frame, with an outer header of its own.
#[xdp]
pub(crate) fn reassembled(ctx: XdpContext) -> u32 {
    capture::after(&ctx, CapturePoint::DroppedOnArrival, 0, take(&ctx))
}

#[inline(always)]
fn take(ctx: &XdpContext) -> u32 {
    let surplus = (ReturnHeader::LEN - ETH_LEN) as u32;
    // SAFETY: helper that checks its arguments; no packet pointer is alive.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, surplus.cast_signed()) } != 0 {
        return drop(0, DropReason::Malformed);
    }
    let Some(ip) = at::<Ipv4>(ctx, ETH_LEN) else { return drop(0, DropReason::Malformed) };
    // SAFETY: lies within the frame.
    let ip = unsafe { &*ip };
    if ip.version_ihl >> 4 == 4 {
        return decapsulate(ctx, ip);
    }
    let Some(ip) = at::<Ipv6>(ctx, ETH_LEN) else { return drop(0, DropReason::Malformed) };
    // SAFETY: lies within the frame.
    decapsulate(ctx, unsafe { &*ip })
}

#[inline(always)]
fn decapsulate<O: Family>(ctx: &XdpContext, ip: &O) -> u32 {
    if ETH_LEN + ip.total_len() as usize > MAX_FRAME {
        return drop(0, DropReason::TooBig);
    }
    // The one that it arrived with is lost. Whoever captures packets sees that this is one.
    let Some(ethernet) = at::<Ethernet>(ctx, 0) else { return drop(0, DropReason::Malformed) };
    // SAFETY: lies within the frame.
    unsafe { *ethernet = Ethernet::new([0; 6], [0; 6], O::ETHERTYPE) };
    // Whatever is no ESP would have been left to the kernel, where it comes from.
    entry::from_wan(ctx, &NOWHERE, ip).unwrap_or_else(|| drop(0, DropReason::Malformed))
}
