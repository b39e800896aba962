//! The shared bandwidth budget.

use crate::Pod;

/// The single entry of array map `BUDGET`: one token bucket for all tunnels of the gateway, kept as the virtual clock of the
/// generic cell rate algorithm (ITU-T I.371): a packet conforms while `arrival_ns` is less than `burst_ns` ahead of now.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Budget {
    /// Time that one byte takes at the configured rate, in 2^-20 ns; 0 switches the budget off.
    pub byte_time: u64,
    /// How far the virtual clock may run ahead: the bucket's depth, in ns.
    pub burst_ns: u64,
    /// Counted by the datapath: theoretical arrival time of the next byte, in ns of the monotonic clock.
    pub arrival_ns: u64,
    /// Counted by the datapath: bytes of inner IP packets that conformed.
    pub passed_bytes: u64,
    /// Counted by the datapath: bytes of inner IP packets that were dropped.
    pub dropped_bytes: u64,
}

// SAFETY: repr(C), integers only.
unsafe impl Pod for Budget {}
