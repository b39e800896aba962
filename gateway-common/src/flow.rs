//! Ways that the XDP programs found, noted for later packets and for the workers.

use crate::{Ip, Pod};

/// Value of array map `FLOWS` (mmap-able), a direct-mapped cache indexed by [`FlowKey::slot`].
///
/// The XDP programs write an entry when they have looked up the way of an outer packet, or of an opened packet that passed
/// every check of policy. While the entry is young, they and the workers send packets of the same key there without a look-up.
/// `version` is odd while the entry is being written; a reader takes the version, the fields, and the version again.
///
/// All that concerns an IPv4 packet lies in the first cache line.
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Flow {
    /// Number of changes, times two; odd during one.
    pub version: u64,
    /// [`crate::Control::epoch`] under which the way was found.
    pub epoch: u64,
    /// Time at which it was found, ns of the monotonic clock.
    pub resolved_ns: u64,
    /// Interface to send to.
    pub ifindex: u32,
    /// Largest IP packet that the way takes, in bytes.
    pub mtu: u32,
    /// Ethernet addresses: destination, source.
    pub ethernet: [u8; 12],
    /// Whose way it is.
    pub key: FlowKey,
    /// Explicit padding to a cache line.
    pub reserved: [u64; 5],
}

/// What a way was found for: everything in a packet but its length that the kernel's routing may ask for (`ip-rule(8)`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct FlowKey {
    /// Tunnel that the packet came from; 0 for outer packets.
    pub tunnel: u32,
    /// Interface that the frame arrived at.
    pub ingress_ifindex: u32,
    /// [`Self::V6`] for IPv6, DSCP in bits 10 to 15, protocol number in bits 0 to 7.
    pub class: u32,
    /// Last four bytes of the source, network order.
    pub source: u32,
    /// Last four bytes of the destination, network order.
    pub destination: u32,
    /// The other twelve bytes of an IPv6 source; zeros for IPv4.
    pub source_front: [u32; 3],
    /// The other twelve bytes of an IPv6 destination; zeros for IPv4.
    pub destination_front: [u32; 3],
}

impl FlowKey {
    /// Bit of [`Self::class`] that says that the packet is IPv6.
    pub const V6: u32 = 1 << 16;

    /// Key of a packet with the header `ip` that came out of `tunnel`.
    #[inline(always)]
    pub fn inner<I: Ip>(tunnel: u32, ingress_ifindex: u32, ip: &I) -> Self {
        let class = (u32::from(ip.traffic_class()) & 0xfc) << 8 | u32::from(ip.protocol());
        let [[a, b, c, source], [d, e, f, destination]] = ip.words().map(crate::ip::halves);
        if I::IS_V6 {
            Self {
                tunnel,
                ingress_ifindex,
                class: class | Self::V6,
                source,
                destination,
                source_front: [a, b, c],
                destination_front: [d, e, f],
            }
        } else {
            let (source_front, destination_front) = ([0; 3], [0; 3]);
            Self { tunnel, ingress_ifindex, class, source, destination, source_front, destination_front }
        }
    }

    /// Key of a packet to a peer with the outer header `ip`, whose inner packet arrived at `ingress_ifindex`.
    #[inline(always)]
    pub fn outer<I: Ip>(ingress_ifindex: u32, ip: &I) -> Self {
        Self::inner(0, ingress_ifindex, ip)
    }

    /// Whether the packet is IPv6.
    #[inline(always)]
    pub const fn is_v6(&self) -> bool {
        self.class & Self::V6 != 0
    }

    /// Index into `FLOWS` of `entries` entries, a power of two.
    #[inline(always)]
    pub const fn slot(&self, entries: u32) -> u32 {
        let kind = self.tunnel << 16 ^ self.ingress_ifindex << 20 ^ self.class;
        let mut hash = kind.wrapping_mul(0x9e37_79b1);
        if self.is_v6() {
            let ([a, b, c], [d, e, f]) = (self.source_front, self.destination_front);
            hash = mix(mix(mix(hash ^ a) ^ b) ^ c);
            hash = mix(mix(mix(hash ^ d) ^ e) ^ f);
        }
        hash = (hash ^ self.source).wrapping_mul(0x85eb_ca6b);
        hash = (hash ^ hash >> 16 ^ self.destination).wrapping_mul(0x85eb_ca6b);
        // The upper bits, which every byte reached, are brought down.
        hash = (hash ^ hash >> 15).wrapping_mul(0xc2b2_ae35);
        hash ^= hash >> 16;
        hash & (entries - 1)
    }
}

#[inline(always)]
const fn mix(hash: u32) -> u32 {
    let hash = hash.wrapping_mul(0x85eb_ca6b);
    hash ^ hash >> 15
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
const _: () = assert!(size_of::<FlowKey>() == 44);
const _: () = assert!(size_of::<Flow>() == 128);
const _: () = assert!(core::mem::offset_of!(Flow, key) + core::mem::offset_of!(FlowKey, source_front) == 64);

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::{Ipv4, Ipv6};

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

    #[test]
    fn every_word_of_ipv6_addresses_counts() {
        let ip = <Ipv6 as Ip>::outer(0, 100, 17, [0x20; 16], [0x30; 16]);
        let key = FlowKey::inner(1, 2, &ip);
        assert!(key.is_v6());
        let mut slots = std::collections::HashSet::from([key.slot(1 << 20)]);
        for byte in 0..16 {
            let (mut source, mut destination) = (ip.source, ip.destination);
            source[byte] ^= 1;
            destination[byte] ^= 1;
            for other in [Ipv6 { source, ..ip }, Ipv6 { destination, ..ip }] {
                let other = FlowKey::inner(1, 2, &other);
                assert_ne!(other, key);
                slots.insert(other.slot(1 << 20));
            }
        }
        assert!(slots.len() > 30, "{} of 33 flows have a slot of their own", slots.len());
    }

    #[test]
    fn an_ipv4_flow_is_never_an_ipv6_one() {
        let v4 = Ipv4::outer(0, 100, 17, [10, 2, 0, 4], [10, 1, 0, 9]);
        let [source, destination] = v4.words().map(crate::ip::from_words);
        let v6 = <Ipv6 as Ip>::outer(0, 100, 17, source, destination);
        assert_ne!(FlowKey::inner(1, 2, &v4), FlowKey::inner(1, 2, &v6));
    }
}
