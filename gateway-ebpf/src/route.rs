//! Routing: the gateway's own prefixes and the kernel's forwarding table.

use aya_ebpf::bindings::{
    BPF_FIB_LKUP_RET_BLACKHOLE, BPF_FIB_LKUP_RET_PROHIBIT, BPF_FIB_LKUP_RET_SUCCESS,
    BPF_FIB_LKUP_RET_UNREACHABLE, bpf_fib_lookup as FibLookup,
};
use aya_ebpf::helpers::generated::{bpf_fib_lookup, bpf_redirect};
use aya_ebpf::maps::lpm_trie::Key;
use aya_ebpf::programs::XdpContext;
use gateway_common::{Ethernet, GatewayConfig, Ipv4, PortRole, Route, RouteKind};

use crate::maps::{PORTS, ROUTES4};

const AF_INET: u8 = 2;
/// Size of the parameter block, as the helper wants it.
const PARAMS_LEN: i32 = size_of::<FibLookup>().cast_signed() as i32;

/// An interface, and the Ethernet header of frames that leave through it.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) ifindex: u32,
    /// Largest IP packet, in bytes; 0 if it was not asked for.
    pub(crate) mtu: u32,
    pub(crate) ethernet: Ethernet,
}

/// Where the kernel's forwarding table sends a packet.
pub(crate) enum NextHop {
    /// Straight out of an interface, the neighbour's address is known.
    Direct(Way),
    /// Into the kernel's stack through `vgw0`: the packet is for this host, or needs ARP, ICMP or fragmentation.
    Stack,
    /// Nowhere, by an explicit route.
    Unreachable,
}

/// Longest-prefix match on the prefixes of this VNet and of the remote sites. Not an `Option`: LLVM would merge tests of
/// its parts into reads of registers that the verifier knows to be unset on the other branch.
#[inline(always)]
pub(crate) fn lookup(address: [u8; 4]) -> Route {
    match ROUTES4.get(Key::new(32, address)) {
        Some(route) => *route,
        None => Route { kind: RouteKind::NONE, tunnel: 0 },
    }
}

/// Looks `ip`'s destination up in the kernel's forwarding table, as the stack would when forwarding it from `ingress_ifindex`.
#[inline(always)]
pub(crate) fn next_hop(ctx: &XdpContext, ip: &Ipv4, ingress_ifindex: u32) -> NextHop {
    let mut params = empty_params();
    params.family = AF_INET;
    params.l4_protocol = ip.protocol;
    params.__bindgen_anon_1.tot_len = u16::from_be_bytes(ip.total_len);
    params.ifindex = ingress_ifindex;
    // The kernel refuses ECN bits here.
    params.__bindgen_anon_2.tos = ip.tos & 0xfc;
    params.__bindgen_anon_3.ipv4_src = u32::from_ne_bytes(ip.source);
    params.__bindgen_anon_4.ipv4_dst = u32::from_ne_bytes(ip.destination);
    // SAFETY: the context and the parameter block are valid for the call.
    let result = unsafe { bpf_fib_lookup(ctx.ctx.cast(), &raw mut params, PARAMS_LEN, 0) };
    // Errors (negative) become numbers that are no result.
    match result.cast_unsigned() as u32 {
        BPF_FIB_LKUP_RET_SUCCESS => NextHop::Direct(Way {
            ifindex: params.ifindex,
            // SAFETY: an integer; the kernel has put the route's MTU where the length was.
            mtu: u32::from(unsafe { params.__bindgen_anon_1.mtu_result }),
            ethernet: Ethernet::ipv4(params.dmac, params.smac),
        }),
        BPF_FIB_LKUP_RET_BLACKHOLE | BPF_FIB_LKUP_RET_UNREACHABLE | BPF_FIB_LKUP_RET_PROHIBIT => {
            NextHop::Unreachable
        }
        _ => NextHop::Stack,
    }
}

/// A parameter block of zeros. LLVM would call `memset` for it, which goes byte by byte on this target, if it knew that they are
/// zeros.
#[inline(always)]
fn empty_params() -> FibLookup {
    let mut zero = 0_u64;
    // SAFETY: no instruction.
    unsafe { core::arch::asm!("", inout("r1") zero, options(nomem, nostack, preserves_flags)) };
    // SAFETY: the structure holds integers only.
    unsafe { core::mem::transmute([zero; size_of::<FibLookup>() / 8]) }
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
        ethernet: Ethernet::ipv4(config.vgw0_mac, config.vgw_peer_mac),
    }
}

/// Verdict that transmits the frame out of `ifindex`.
#[inline(always)]
pub(crate) fn redirect(ifindex: u32) -> u32 {
    // SAFETY: plain helper call.
    unsafe { bpf_redirect(ifindex, 0).cast_unsigned() as u32 }
}
