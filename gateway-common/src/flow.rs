//! Ways that the XDP programs found, noted for later packets and for the workers.

use crate::{Ipv4, Pod};

/// Value of array map `FLOWS` (mmap-able), a direct-mapped cache indexed by [`FlowKey::slot`].
///
/// The XDP programs write an entry when they have looked up the way of an outer packet, or of an opened packet that passed
/// every check of policy. While the entry is young, they and the workers send packets of the same key there without a look-up.
/// `version` is odd while the entry is being written; a reader takes the version, the fields, and the version again.
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
}

/// What a way was found for: everything in a packet but its length that the kernel's routing may ask for (`ip-rule(8)`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Tunnel that the packet came from; 0 for outer packets.
    pub tunnel: u32,
    /// Interface that the frame arrived at.
    pub ingress_ifindex: u32,
    /// DSCP in bits 10 to 15, protocol number in bits 0 to 7.
    pub class: u32,
    /// Source, network order.
    pub source: [u8; 4],
    /// Destination, network order.
    pub destination: [u8; 4],
}

impl FlowKey {
    /// Key of a packet with the header `ip` that came out of `tunnel`.
    #[inline(always)]
    pub const fn inner(tunnel: u32, ingress_ifindex: u32, ip: &Ipv4) -> Self {
        let class = (ip.tos as u32 & 0xfc) << 8 | ip.protocol as u32;
        Self { tunnel, ingress_ifindex, class, source: ip.source, destination: ip.destination }
    }

    /// Key of a packet to a peer with the outer header `ip`, whose inner packet arrived at `ingress_ifindex`.
    #[inline(always)]
    pub const fn outer(ingress_ifindex: u32, ip: &Ipv4) -> Self {
        Self::inner(0, ingress_ifindex, ip)
    }

    /// Index into `FLOWS` of `entries` entries, a power of two.
    #[inline(always)]
    pub const fn slot(&self, entries: u32) -> u32 {
        let kind = self.tunnel << 16 ^ self.ingress_ifindex << 20 ^ self.class;
        let mut hash = kind.wrapping_mul(0x9e37_79b1);
        hash = (hash ^ u32::from_ne_bytes(self.source)).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ hash >> 16 ^ u32::from_ne_bytes(self.destination)).wrapping_mul(0x85eb_ca6b);
        // The upper bits, which every byte reached, are brought down.
        hash = (hash ^ hash >> 15).wrapping_mul(0xc2b2_ae35);
        hash ^= hash >> 16;
        hash & (entries - 1)
    }
}

impl Flow {
    /// Age after which the XDP programs, which look ways up as they go, do so again, in ns: routes and neighbours may have changed.
    pub const FRESH_NS: u64 = 50_000_000;
    /// Age after which no worker uses an entry any more, in ns.
    pub const LIFETIME_NS: u64 = 1_000_000_000;
    /// Age after which a worker asks for the entry to be found again while it goes on using it, in ns.
    pub const REFRESH_NS: u64 = 250_000_000;
}

// SAFETY: repr(C), integers only; the size shows that nothing is padded implicitly.
unsafe impl Pod for Flow {}
// SAFETY: as above.
unsafe impl Pod for FlowKey {}
const _: () = assert!(size_of::<FlowKey>() == 20);
const _: () = assert!(size_of::<Flow>() == 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_flows_spread_over_the_table() {
        let mut used = [false; 1024];
        let mut count = 0;
        for host in 0..=255_u8 {
            let key = FlowKey::inner(1, 2, &Ipv4::outer(0, 100, 17, [10, 2, 0, 4], [10, 1, 0, host]));
            let slot = key.slot(1024) as usize;
            count += usize::from(!used[slot]);
            used[slot] = true;
        }
        assert!(count > 200, "{count} of 256 flows have a slot of their own");
    }

    #[test]
    fn what_routing_may_tell_apart_has_different_keys() {
        let ip = Ipv4::outer(0, 100, 17, [10, 2, 0, 4], [10, 1, 0, 9]);
        let key = FlowKey::inner(1, 2, &ip);
        let others = [
            FlowKey::inner(2, 2, &ip),
            FlowKey::inner(1, 3, &ip),
            FlowKey::outer(2, &ip),
            FlowKey::inner(1, 2, &Ipv4 { tos: 4, ..ip }),
            FlowKey::inner(1, 2, &Ipv4 { protocol: 6, ..ip }),
            FlowKey::inner(1, 2, &Ipv4 { source: [10, 2, 0, 5], ..ip }),
            FlowKey::inner(1, 2, &Ipv4 { destination: [10, 1, 0, 8], ..ip }),
        ];
        for other in others {
            assert!(other != key && other.slot(1 << 20) != key.slot(1 << 20), "{other:?}");
        }
        assert_eq!(key, FlowKey::inner(1, 2, &Ipv4 { tos: 3, total_len: [9, 9], ttl: 1, ..ip }));
    }
}
