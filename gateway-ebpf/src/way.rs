//! A question of user space: where would this packet go?

use aya_ebpf::bindings::bpf_fib_lookup as FibLookup;
use aya_ebpf::bindings::xdp_action::{XDP_DROP, XDP_PASS};
use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use gateway_common::wire::{ETH_LEN, ETHERTYPE_IPV6};
use gateway_common::{Ethernet, Ipv4, Ipv6, WayAnswer};

use crate::maps::FIB;
use crate::packet::at;
use crate::route::{self, AF_INET6, Family};

/// Never attached. Run by the agent on a frame of [`WayAnswer::FRAME_LEN`] bytes with the header of a packet, which it asks the kernel's
/// forwarding table about as [`route::next_hop`] does, and leaves the answer in the frame. Nothing is noted or counted.
#[xdp]
pub(crate) fn way(ctx: XdpContext) -> u32 {
    let Some(ethernet) = at::<Ethernet>(&ctx, 0) else { return XDP_DROP };
    // SAFETY: lies within the frame, and any alignment will do.
    if unsafe { (*ethernet).ethertype } == ETHERTYPE_IPV6.to_be_bytes() {
        answer::<Ipv6>(&ctx)
    } else {
        answer::<Ipv4>(&ctx)
    }
}

#[inline(always)]
fn answer<I: Family>(ctx: &XdpContext) -> u32 {
    let (Some(ip), Some(answer)) = (at::<I>(ctx, ETH_LEN), at::<WayAnswer>(ctx, WayAnswer::OFFSET)) else {
        return XDP_DROP;
    };
    let Some(question) = FIB.get_ptr_mut(0) else { return XDP_DROP };
    // SAFETY: the map is per CPU and XDP does not preempt itself on one CPU; the header lies within the frame.
    let (ip, params) = unsafe { (&*ip, &mut *question.cast::<FibLookup>()) };
    let result = route::ask(ctx, ip, ctx.ingress_ifindex() as u32, params);
    let mut ethernet = [0; 12];
    ethernet[..6].copy_from_slice(&params.dmac);
    ethernet[6..].copy_from_slice(&params.smac);
    // SAFETY: integers; the helper has put the route's MTU where the length was, and the next hop where the destination was.
    let (mtu, next_hop) =
        unsafe { (u32::from(params.__bindgen_anon_1.mtu_result), params.__bindgen_anon_4.ipv6_dst) };
    let is_v6 = u32::from(params.family == AF_INET6);
    // SAFETY: lies within the frame, which has no alignment.
    unsafe {
        answer.write_unaligned(WayAnswer { result, ifindex: params.ifindex, mtu, is_v6, ethernet, next_hop });
    }
    XDP_PASS
}
