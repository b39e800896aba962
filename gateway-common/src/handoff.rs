//! Frames on their way from the XDP programs to an AF_XDP worker, and back.

use crate::{Job, Pod};

/// What stands before the Ethernet header of a frame that is handed to a worker, and behind [`ReturnHeader`] of one that a
/// worker hands back. Written with `bpf_xdp_adjust_head`, so that no driver has to know XDP metadata.
///
/// `job.offset` counts from the Ethernet header, as in the frame that an AEAD program gets; `job.next` tells whether to
/// seal ([`crate::ProgramSlot::EncapDone`], [`crate::ProgramSlot::EncapDoneUdp6`]) or to open ([`crate::ProgramSlot::DecapDone`]).
///
/// What the XDP programs did before: for sealing everything but the AEAD, accounting included; for opening everything up to
/// the anti-replay pre-check.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Handoff {
    /// SPI of the SA that `job.sa` pointed to, network order: a worker that comes late finds another SA there, or none.
    pub spi: [u8; 4],
    /// Explicit padding.
    pub reserved: u32,
    /// The work.
    pub job: Job,
}

impl Handoff {
    /// Length in bytes.
    pub const LEN: usize = size_of::<Self>();
}

/// EtherType of frames from a worker to the XDP program of `vgw0` (IEEE 802 local experimental use). They are sent on the
/// peer of `vgw0` and never leave the machine.
pub const ETHERTYPE_RETURN: u16 = 0x88b5;

/// What a worker, or the agent, asks the XDP program of `vgw0` to do.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnKind {
    /// Continue with the opened frame behind the hand-off header as `decap_done` does: replay update, policy, ECN, budget,
    /// route, accounting. If all is well, the way is also noted in map `FLOWS`.
    Deliver = 1,
    /// Find the way of the inner IP header behind the hand-off header (only the header is there) and note it in map `FLOWS`;
    /// nothing is delivered or counted.
    Resolve = 2,
    /// Raise [`crate::EventKind::AuthenticationFailed`] for the SA of the hand-off header; nothing else is there. The
    /// worker counts the drop itself.
    AuthenticationFailed = 3,
    /// Decapsulate the packet behind this header as if it had arrived at the WAN: ESP, plain or in UDP, that the kernel has put together
    /// from fragments. There is no hand-off header; `lane` is 0. Of a packet that is too large to be opened only the start is there.
    Reassembled = 4,
}

impl ReturnKind {
    /// The kind with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::Deliver),
            2 => Some(Self::Resolve),
            3 => Some(Self::AuthenticationFailed),
            4 => Some(Self::Reassembled),
            _ => None,
        }
    }
}

/// Stands before the [`Handoff`] of a frame that a worker sends on the peer of `vgw0`, and before a reassembled packet.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct ReturnHeader {
    /// Destination (`vgw0`), source (its peer) and [`ETHERTYPE_RETURN`]: an Ethernet header.
    pub ethernet: [u8; 14],
    /// Explicit padding.
    pub reserved: [u8; 2],
    /// A [`ReturnKind`] as its number.
    pub kind: u32,
    /// Socket (index into `LANES`) whose worker sent it: [`crate::Lane::returned`] counts it when it is done.
    pub lane: u32,
}

impl ReturnHeader {
    /// Length in bytes.
    pub const LEN: usize = size_of::<Self>();
}

// SAFETY: repr(C), integers only; the sizes show that nothing is padded implicitly.
unsafe impl Pod for Handoff {}
// SAFETY: as above.
unsafe impl Pod for ReturnHeader {}
const _: () = assert!(Handoff::LEN == 80);
const _: () = assert!(ReturnHeader::LEN == 24);
