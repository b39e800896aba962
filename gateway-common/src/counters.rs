//! Traffic counters.

use crate::Pod;
use crate::budget::Direction;

/// Value of per-CPU array map `COUNTERS`, indexed by tunnel number. Bytes are those of inner IP packets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunnelCounters {
    /// Packets decapsulated and forwarded.
    pub in_packets: u64,
    /// Bytes decapsulated and forwarded.
    pub in_bytes: u64,
    /// Packets encapsulated and sent.
    pub out_packets: u64,
    /// Bytes encapsulated and sent.
    pub out_bytes: u64,
    /// Packets decapsulated and forwarded that the budget marked.
    pub in_marked: u64,
    /// Packets encapsulated that the budget marked.
    pub out_marked: u64,
}

impl TunnelCounters {
    /// Counts a packet that the budget marked.
    #[inline(always)]
    pub const fn count_mark(&mut self, direction: Direction) {
        match direction {
            Direction::Outbound => self.out_marked += 1,
            Direction::Inbound => self.in_marked += 1,
        }
    }
}

// SAFETY: repr(C), integers only.
unsafe impl Pod for TunnelCounters {}
