//! Traffic counters.

use crate::Pod;

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
}

// SAFETY: repr(C), integers only.
unsafe impl Pod for TunnelCounters {}
