//! Ways that the XDP program found for opened packets, noted for the workers.

use crate::Pod;

/// Value of array map `FLOWS` (mmap-able), a direct-mapped cache indexed by [`FlowKey::slot`].
///
/// The XDP program of `vgw0` writes an entry when it has delivered or resolved a packet that passed every check of policy; the
/// workers forward packets of the same tunnel, source and destination themselves while the entry is young. `version` is
/// odd while the entry is being written; a reader takes the version, the fields, and the version again.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    /// Number of changes, times two; odd during one.
    pub version: u64,
    /// [`crate::Control::epoch`] under which the way was found.
    pub epoch: u64,
    /// Time at which it was found, ns of the monotonic clock.
    pub resolved_ns: u64,
    /// Whose way it is.
    pub key: FlowKey,
    /// Interface to send to.
    pub ifindex: u32,
    /// Largest IP packet that the way takes, in bytes.
    pub mtu: u32,
    /// Ethernet addresses: destination, source.
    pub ethernet: [u8; 12],
    /// Explicit padding.
    pub reserved: u32,
}

/// What a way was found for.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Tunnel that the packet came from.
    pub tunnel: u32,
    /// Inner source, network order.
    pub source: [u8; 4],
    /// Inner destination, network order.
    pub destination: [u8; 4],
}

impl FlowKey {
    /// Index into `FLOWS` of `entries` entries, a power of two.
    #[inline(always)]
    pub const fn slot(&self, entries: u32) -> u32 {
        let mut hash = self.tunnel.wrapping_mul(0x9e37_79b1);
        hash = (hash ^ u32::from_ne_bytes(self.source)).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ hash >> 16 ^ u32::from_ne_bytes(self.destination)).wrapping_mul(0x85eb_ca6b);
        // The upper bits, which every byte reached, are brought down.
        hash = (hash ^ hash >> 15).wrapping_mul(0xc2b2_ae35);
        hash ^= hash >> 16;
        hash & (entries - 1)
    }
}

impl Flow {
    /// Age after which an entry is not used any more, in ns: routes and neighbours may have changed.
    pub const LIFETIME_NS: u64 = 1_000_000_000;
    /// Age after which a worker asks for the entry to be found again while it goes on using it, in ns.
    pub const REFRESH_NS: u64 = 250_000_000;
}

// SAFETY: repr(C), integers only; the size shows that nothing is padded implicitly.
unsafe impl Pod for Flow {}
// SAFETY: as above.
unsafe impl Pod for FlowKey {}
const _: () = assert!(size_of::<FlowKey>() == 12);
const _: () = assert!(size_of::<Flow>() == 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_flows_spread_over_the_table() {
        let mut used = [false; 1024];
        let mut count = 0;
        for host in 0..=255_u8 {
            let key = FlowKey { tunnel: 1, source: [10, 2, 0, 4], destination: [10, 1, 0, host] };
            let slot = key.slot(1024) as usize;
            count += usize::from(!used[slot]);
            used[slot] = true;
        }
        assert!(count > 200, "{count} of 256 flows have a slot of their own");
    }
}
