//! Routing: the gateway's own prefixes and the kernel's forwarding table.

use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_BLACKHOLE, BPF_FIB_LKUP_RET_PROHIBIT, BPF_FIB_LKUP_RET_SUCCESS,
    BPF_FIB_LKUP_RET_UNREACHABLE, bpf_fib_lookup as FibLookup,
};
use aya_ebpf::helpers::generated::{bpf_fib_lookup, bpf_redirect};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::XdpContext;
use gateway_common::icmp::Icmp;
use gateway_common::ip::{from_words, halves, to_words};
use gateway_common::{Ethernet, GatewayConfig, Ip, Ipv4, Ipv6, PortRole, Route, RouteKind};

use crate::maps::{FIB, PORTS, ROUTES4, ROUTES6};

/// Address families (`linux/socket.h`).
const AF_INET: u8 = 2;
pub(crate) const AF_INET6: u8 = 10;
/// Size of the parameter block, as the helper wants it.
const PARAMS_LEN: i32 = size_of::<FibLookup>().cast_signed() as i32;

/// An IP version as routing sees it.
pub(crate) trait Family: Icmp {
    /// Longest-prefix match on the prefixes of this VNet and of the remote sites. Not an `Option`: LLVM would merge tests of
    /// its parts into reads of registers that the verifier knows to be unset on the other branch.
    fn lookup(address: Self::Address) -> Route;
    /// Fills in what the kernel's forwarding table is asked for.
    fn ask(&self, params: &mut FibLookup);
}

impl Family for Ipv4 {
    #[inline(always)]
    fn lookup(address: [u8; 4]) -> Route {
        match ROUTES4.get(Key::new(32, address)) {
            Some(route) => *route,
            None => Route { kind: RouteKind::NONE, tunnel: 0 },
        }
    }

    #[inline(always)]
    fn ask(&self, params: &mut FibLookup) {
        params.family = AF_INET;
        // The kernel refuses ECN bits here.
        params.__bindgen_anon_2.tos = self.tos & 0xfc;
        params.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(self.source);
        params.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(self.destination);
    }
}

impl Family for Ipv6 {
    #[inline(always)]
    fn lookup(address: [u8; 16]) -> Route {
        let [front, back] = to_words(&address);
        let found = lookup6(front, back);
        Route { kind: found as u32, tunnel: (found >> 32) as u32 }
    }

    #[inline(always)]
    fn ask(&self, params: &mut FibLookup) {
        params.family = AF_INET6;
        params.__bindgen_anon_2.flowinfo = (u32::from(self.traffic_class() & 0xfc) << 20).to_be();
        let [source, destination] = self.words().map(halves);
        params.__bindgen_anon_3.ipv6_src = source;
        params.__bindgen_anon_4.ipv6_dst = destination;
    }
}

/// The kind of the route to an IPv6 address in the lower half, its tunnel in the upper half. A function of its own, so that its
/// callers need not keep room on the stack for each key.
#[inline(never)]
fn lookup6(front: u64, back: u64) -> u64 {
    match ROUTES6.get(Key::new(128, from_words([front, back]))) {
        Some(route) => u64::from(route.kind) | u64::from(route.tunnel) << 32,
        None => u64::from(RouteKind::NONE),
    }
}

/// An interface, and the Ethernet addresses of frames that leave through it.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) ifindex: u32,
    /// Largest IP packet, in bytes; 0 if it was not asked for.
    pub(crate) mtu: u32,
    pub(crate) destination: [u8; 6],
    pub(crate) source: [u8; 6],
}

impl Way {
    /// Header of a frame with a packet of version `I`.
    #[inline(always)]
    pub(crate) const fn ethernet<I: Ip>(&self) -> Ethernet {
        Ethernet::new(self.destination, self.source, I::ETHERTYPE)
    }
}

/// Where the kernel's forwarding table sends a packet.
pub(crate) enum NextHop {
    /// Straight out of an interface, the neighbour's address is known.
    Direct(Way),
    /// Into the kernel's stack through `vgw0`: the packet is for this host, or needs neighbour discovery, ICMP or fragmentation.
    Stack,
    /// Nowhere, by an explicit route.
    Unreachable,
}

/// A question for the kernel's forwarding table, and its answer.
pub(crate) type Question = [u64; size_of::<FibLookup>() / 8];

/// Looks `ip`'s destination up in the kernel's forwarding table, as the stack would when forwarding it from `ingress_ifindex`.
#[inline(always)]
pub(crate) fn next_hop<I: Family>(ctx: &XdpContext, ip: &I, ingress_ifindex: u32) -> NextHop {
    // Not on the stack, which has no room for it.
    let Some(question) = FIB.get_ptr_mut(0) else { return NextHop::Stack };
    // SAFETY: the map is per CPU and XDP does not preempt itself on one CPU.
    let params = unsafe { &mut *question.cast::<FibLookup>() };
    match ask(ctx, ip, ingress_ifindex, params) {
        BPF_FIB_LKUP_RET_SUCCESS => NextHop::Direct(Way {
            ifindex: params.ifindex,
            // SAFETY: an integer; the kernel has put the route's MTU where the length was.
            mtu: u32::from(unsafe { params.__bindgen_anon_1.mtu_result }),
            destination: params.dmac,
            source: params.smac,
        }),
        BPF_FIB_LKUP_RET_BLACKHOLE | BPF_FIB_LKUP_RET_UNREACHABLE | BPF_FIB_LKUP_RET_PROHIBIT => {
            NextHop::Unreachable
        }
        _ => NextHop::Stack,
    }
}

/// Asks the kernel's forwarding table about `ip`: what it returned, with the rest in `params`.
#[inline(always)]
pub(crate) fn ask<I: Family>(ctx: &XdpContext, ip: &I, ingress_ifindex: u32, params: &mut FibLookup) -> u32 {
    // SAFETY: of the same size, and the structure holds integers only.
    unsafe { core::ptr::from_mut(params).cast::<Question>().write([0; _]) };
    ip.ask(params);
    params.l4_protocol = ip.protocol();
    params.__bindgen_anon_1.tot_len = ip.total_len() as u16;
    params.ifindex = ingress_ifindex;
    // SAFETY: the context and the parameter block are valid for the call.
    let result = unsafe { bpf_fib_lookup(ctx.ctx.cast(), params, PARAMS_LEN, 0) };
    // Errors (negative) become numbers that are no result.
    result.cast_unsigned() as u32
}

/// Whether `ifindex` leads to the peers only: what came out of a tunnel must not leave there in the clear.
#[inline(always)]
pub(crate) fn leaves_the_vnet(ifindex: u32) -> bool {
    // SAFETY: entries are only replaced as a whole by the agent.
    match unsafe { PORTS.get(ifindex) } {
        Some(port) => port.roles & (PortRole::WAN | PortRole::LAN) == PortRole::WAN,
        None => false,
    }
}

/// The way of a frame into the kernel's stack through `vgw0`.
#[inline(always)]
pub(crate) fn into_stack(config: &GatewayConfig) -> Way {
    Way {
        ifindex: config.vgw_peer_ifindex,
        mtu: 0,
        destination: config.vgw0_mac,
        source: config.vgw_peer_mac,
    }
}

/// Verdict that transmits the frame out of `ifindex`.
#[inline(always)]
pub(crate) fn redirect(ifindex: u32) -> u32 {
    // SAFETY: plain helper call.
    unsafe { bpf_redirect(ifindex, 0).cast_unsigned() as u32 }
}
