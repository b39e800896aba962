//! What IPv4 and IPv6 headers have in common for a router.

use crate::{Ipv4, Ipv6, Pod};

/// The header of an IP packet of one version, as on the wire.
pub trait Ip: Pod {
    /// Header length without options and extension headers, in bytes.
    const LEN: usize;
    /// EtherType of the version, host order.
    const ETHERTYPE: u16;
    /// Protocol number of a packet of this version inside another, the next header of tunnel-mode ESP (RFC 4303 section 2.6).
    const NEXT_HEADER: u8;
    /// Whether this is IPv6.
    const IS_V6: bool;
    /// An address, network order.
    type Address: Copy + PartialEq;

    /// Whether the version field names this version.
    fn has_right_version(&self) -> bool;
    /// Header length with options, without extension headers, in bytes.
    fn header_len(&self) -> u32;
    /// Length of header and payload, in bytes.
    fn total_len(&self) -> u32;
    /// DSCP and ECN.
    fn traffic_class(&self) -> u8;
    /// Sets DSCP and ECN; a checksum stays right.
    fn set_traffic_class(&mut self, class: u8);
    /// Time to live, or hop limit.
    fn hop_limit(&self) -> u8;
    /// Decrements the time to live, which must not be 0; a checksum stays right.
    fn decrement_hop_limit(&mut self);
    /// Protocol number of the payload, or of the first extension header.
    fn protocol(&self) -> u8;
    /// Whether each router on the way has to look behind the fixed header: IPv4 options, IPv6 hop-by-hop options.
    fn concerns_routers(&self) -> bool;
    /// Whether the packet is a fragment, the first included, as far as the fixed header tells.
    fn is_fragment(&self) -> bool;
    /// Whether routers may fragment the packet.
    fn may_be_fragmented(&self) -> bool;
    /// Source address.
    fn source(&self) -> Self::Address;
    /// Destination address.
    fn destination(&self) -> Self::Address;
    /// Source and destination as IPv6 addresses, IPv4 ones mapped (RFC 4291 section 2.5.5.2).
    fn words(&self) -> [Words; 2];
    /// The header of a packet around another: `total_len` bytes in all, payload `protocol`.
    fn outer(
        class: u8,
        total_len: u32,
        protocol: u8,
        source: Self::Address,
        destination: Self::Address,
    ) -> Self;
}

/// The two words of an IPv6 address as they lie in memory. XDP programs handle addresses so, because memory on their stack
/// must be accessed with the alignment of what is read.
pub type Words = [u64; 2];

/// The four half words of `words`, in the order in which they lie in memory.
#[inline(always)]
pub const fn halves(words: Words) -> [u32; 4] {
    let [a, b] = words;
    if cfg!(target_endian = "little") {
        [a as u32, (a >> 32) as u32, b as u32, (b >> 32) as u32]
    } else {
        [(a >> 32) as u32, a as u32, (b >> 32) as u32, b as u32]
    }
}

/// The address that `words` are those of.
#[inline(always)]
pub const fn from_words(words: Words) -> [u8; 16] {
    // SAFETY: both are 16 bytes without invalid values.
    unsafe { core::mem::transmute(words) }
}

/// The words of `address`, wherever it lies.
#[inline(always)]
pub const fn to_words(address: &[u8; 16]) -> Words {
    // SAFETY: both are 16 bytes without invalid values, and the read does not assume alignment.
    unsafe { core::ptr::from_ref(address).cast::<Words>().read_unaligned() }
}

/// The words of the IPv6 address that stands for an IPv4 one.
#[inline(always)]
const fn mapped_words(address: [u8; 4]) -> Words {
    let [a, b, c, d] = address;
    [0, u64::from_ne_bytes([0, 0, 0xff, 0xff, a, b, c, d])]
}

/// The IPv6 address that stands for an IPv4 one (RFC 4291 section 2.5.5.2).
#[inline(always)]
pub const fn mapped(address: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = address;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}

/// The IPv4 address in a mapped one; of any other, its last four bytes.
#[inline(always)]
pub const fn unmapped(address: [u8; 16]) -> [u8; 4] {
    [address[12], address[13], address[14], address[15]]
}

impl Ip for Ipv4 {
    const LEN: usize = crate::wire::IPV4_LEN;
    const ETHERTYPE: u16 = crate::wire::ETHERTYPE_IPV4;
    const NEXT_HEADER: u8 = crate::wire::PROTO_IPIP;
    const IS_V6: bool = false;
    type Address = [u8; 4];

    #[inline(always)]
    fn has_right_version(&self) -> bool {
        self.version_ihl >> 4 == 4
    }

    #[inline(always)]
    fn header_len(&self) -> u32 {
        Self::header_len(self)
    }

    #[inline(always)]
    fn total_len(&self) -> u32 {
        Self::total_len(self)
    }

    #[inline(always)]
    fn traffic_class(&self) -> u8 {
        self.tos
    }

    #[inline(always)]
    fn set_traffic_class(&mut self, class: u8) {
        self.set_tos(class);
    }

    #[inline(always)]
    fn hop_limit(&self) -> u8 {
        self.ttl
    }

    #[inline(always)]
    fn decrement_hop_limit(&mut self) {
        self.decrement_ttl();
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.protocol
    }

    #[inline(always)]
    fn concerns_routers(&self) -> bool {
        Self::header_len(self) as usize != Self::LEN
    }

    #[inline(always)]
    fn is_fragment(&self) -> bool {
        Self::is_fragment(self)
    }

    #[inline(always)]
    fn may_be_fragmented(&self) -> bool {
        Self::may_be_fragmented(self)
    }

    #[inline(always)]
    fn source(&self) -> [u8; 4] {
        self.source
    }

    #[inline(always)]
    fn destination(&self) -> [u8; 4] {
        self.destination
    }

    #[inline(always)]
    fn words(&self) -> [Words; 2] {
        [mapped_words(self.source), mapped_words(self.destination)]
    }

    #[inline(always)]
    fn outer(class: u8, total_len: u32, protocol: u8, source: [u8; 4], destination: [u8; 4]) -> Self {
        Self::outer(class, total_len, protocol, source, destination)
    }
}

impl Ip for Ipv6 {
    const LEN: usize = crate::wire::IPV6_LEN;
    const ETHERTYPE: u16 = crate::wire::ETHERTYPE_IPV6;
    const NEXT_HEADER: u8 = crate::wire::PROTO_IPV6;
    const IS_V6: bool = true;
    type Address = [u8; 16];

    #[inline(always)]
    fn has_right_version(&self) -> bool {
        self.version_class_flow[0] >> 4 == 6
    }

    #[inline(always)]
    fn header_len(&self) -> u32 {
        Self::LEN as u32
    }

    #[inline(always)]
    fn total_len(&self) -> u32 {
        Self::LEN as u32 + u32::from(u16::from_be_bytes(self.payload_len))
    }

    #[inline(always)]
    fn traffic_class(&self) -> u8 {
        self.version_class_flow[0] << 4 | self.version_class_flow[1] >> 4
    }

    #[inline(always)]
    fn set_traffic_class(&mut self, class: u8) {
        self.version_class_flow[0] = 0x60 | class >> 4;
        self.version_class_flow[1] = class << 4 | self.version_class_flow[1] & 0x0f;
    }

    #[inline(always)]
    fn hop_limit(&self) -> u8 {
        self.hop_limit
    }

    #[inline(always)]
    fn decrement_hop_limit(&mut self) {
        self.hop_limit -= 1;
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        self.next_header
    }

    #[inline(always)]
    fn concerns_routers(&self) -> bool {
        self.next_header == crate::wire::PROTO_HOP_BY_HOP
    }

    #[inline(always)]
    fn is_fragment(&self) -> bool {
        self.next_header == crate::wire::PROTO_IPV6_FRAGMENT
    }

    #[inline(always)]
    fn may_be_fragmented(&self) -> bool {
        false
    }

    #[inline(always)]
    fn source(&self) -> [u8; 16] {
        self.source
    }

    #[inline(always)]
    fn destination(&self) -> [u8; 16] {
        self.destination
    }

    #[inline(always)]
    fn words(&self) -> [Words; 2] {
        [to_words(&self.source), to_words(&self.destination)]
    }

    #[inline(always)]
    fn outer(class: u8, total_len: u32, protocol: u8, source: [u8; 16], destination: [u8; 16]) -> Self {
        Self {
            version_class_flow: [0x60 | class >> 4, class << 4, 0, 0],
            payload_len: (total_len.wrapping_sub(Self::LEN as u32) as u16).to_be_bytes(),
            next_header: protocol,
            hop_limit: crate::wire::OUTER_HOP_LIMIT,
            source,
            destination,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    const B: [u8; 16] = [0x20, 1, 0xd, 0xb8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

    #[test]
    fn the_traffic_class_of_ipv6_leaves_version_and_flow_label_alone() {
        for class in 0..=255 {
            let mut ip = <Ipv6 as Ip>::outer(class, 1240, 50, A, B);
            assert_eq!((ip.traffic_class(), ip.total_len(), ip.hop_limit()), (class, 1240, 64));
            ip.version_class_flow[1] |= 0x0a;
            ip.version_class_flow[2..].copy_from_slice(&[0xbc, 0xde]);
            ip.set_traffic_class(!class);
            assert_eq!(ip.traffic_class(), !class);
            assert!(ip.has_right_version());
            assert_eq!(
                (ip.version_class_flow[1] & 15, &ip.version_class_flow[2..]),
                (0x0a, &[0xbc, 0xde][..])
            );
        }
    }

    #[test]
    fn only_what_routers_must_look_at_concerns_them() {
        let ip = |protocol| <Ipv6 as Ip>::outer(0, 100, protocol, A, B);
        assert!(ip(0).concerns_routers());
        for transparent in [6, 17, 43, 44, 50, 51, 58, 60] {
            assert!(!ip(transparent).concerns_routers(), "{transparent}");
        }
        let v4 = Ipv4::outer(0, 100, 17, [10, 0, 0, 1], [10, 0, 0, 2]);
        assert!(!v4.concerns_routers());
        assert!(Ipv4 { version_ihl: 0x46, ..v4 }.concerns_routers());
    }

    #[test]
    fn mapped_addresses_come_back() {
        let ip = Ipv4::outer(0, 100, 17, [10, 1, 2, 3], [192, 0, 2, 9]);
        let [source, destination] = ip.words().map(from_words);
        assert_eq!((source, destination), (mapped(ip.source), mapped(ip.destination)));
        assert_eq!((unmapped(source), unmapped(destination)), (ip.source, ip.destination));
        assert_eq!(source[..12], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
        assert_eq!(halves(ip.words()[1])[3].to_ne_bytes(), ip.destination);
        assert_eq!(halves(to_words(&A)).map(u32::to_ne_bytes).as_flattened(), A);
    }
}
