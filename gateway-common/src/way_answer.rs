//! What program `way` says of a packet.

use crate::{Ethernet, Pod};

/// Written behind the IP header of the frame that program `way` was run with.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WayAnswer {
    /// What `bpf_fib_lookup` returned: one of `BPF_FIB_LKUP_RET_*` of linux/bpf.h, or a negative error as its bits.
    pub result: u32,
    /// Interface to send to, if there is one.
    pub ifindex: u32,
    /// Largest IP packet on that way, in bytes; 0 if it was not asked for.
    pub mtu: u32,
    /// 1 if the neighbour's address is IPv6, else 0.
    pub is_v6: u32,
    /// Ethernet addresses of the frame: destination, source.
    pub ethernet: [u8; 12],
    /// Address of the neighbour that it goes to, in the order of its bytes in memory; an IPv4 one is the first word.
    pub next_hop: [u32; 4],
}

impl WayAnswer {
    /// Offset in the frame.
    pub const OFFSET: usize = size_of::<Ethernet>() + crate::wire::IPV6_LEN;
    /// Length of a frame with room for the answer.
    pub const FRAME_LEN: usize = Self::OFFSET + size_of::<Self>();
}

// SAFETY: repr(C), integers only; the size shows that nothing is padded implicitly.
unsafe impl Pod for WayAnswer {}
const _: () = assert!(size_of::<WayAnswer>() == 44);
