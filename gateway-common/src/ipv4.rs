//! IPv4 header, and the changes that forwarding makes to it.

use crate::Pod;
use crate::wire::{IPV4_DF, IPV4_FRAGMENT_MASK, OUTER_HOP_LIMIT};

/// IPv4 header without options as on the wire (RFC 791).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv4 {
    /// Version and header length in words.
    pub version_ihl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Length of header and payload in bytes, network order.
    pub total_len: [u8; 2],
    /// Identification, network order.
    pub id: [u8; 2],
    /// Flags and fragment offset, network order.
    pub fragment: [u8; 2],
    /// Time to live.
    pub ttl: u8,
    /// Protocol number of the payload.
    pub protocol: u8,
    /// Header checksum, network order.
    pub checksum: [u8; 2],
    /// Source address, network order.
    pub source: [u8; 4],
    /// Destination address, network order.
    pub destination: [u8; 4],
}

impl Ipv4 {
    /// An outer header: no options, DF set, which makes the identification meaningless (RFC 6864 section 4.1).
    #[inline(always)]
    pub const fn outer(tos: u8, total_len: u32, protocol: u8, source: [u8; 4], destination: [u8; 4]) -> Self {
        let mut header = Self {
            version_ihl: 0x45,
            tos,
            total_len: (total_len as u16).to_be_bytes(),
            id: [0; 2],
            fragment: IPV4_DF.to_be_bytes(),
            ttl: OUTER_HOP_LIMIT,
            protocol,
            checksum: [0; 2],
            source,
            destination,
        };
        let mut sum = word(0x45, tos) + total_len + IPV4_DF as u32 + word(OUTER_HOP_LIMIT, protocol);
        sum += word(source[0], source[1]) + word(source[2], source[3]);
        sum += word(destination[0], destination[1]) + word(destination[2], destination[3]);
        header.checksum = (!fold(sum)).to_be_bytes();
        header
    }

    /// Lets routers fragment the packet, of which no fragment has arrived: takes DF away, gives it the identification `id` (RFC 6864 section
    /// 4.2), and mends the checksum (RFC 1624 equation 3).
    #[inline(always)]
    pub const fn allow_fragments(&mut self, id: u16) {
        let sum = !u16::from_be_bytes(self.checksum) as u32
            + !u16::from_be_bytes(self.fragment) as u32
            + !u16::from_be_bytes(self.id) as u32
            + id as u32;
        self.fragment = [0; 2];
        self.id = id.to_be_bytes();
        self.checksum = (!fold(sum)).to_be_bytes();
    }

    /// Whether routers may fragment the packet.
    #[inline(always)]
    pub const fn may_be_fragmented(&self) -> bool {
        u16::from_be_bytes(self.fragment) & IPV4_DF == 0
    }

    /// Header length in bytes.
    #[inline(always)]
    pub const fn header_len(&self) -> u32 {
        (self.version_ihl & 0x0f) as u32 * 4
    }

    /// Total length in bytes.
    #[inline(always)]
    pub const fn total_len(&self) -> u32 {
        u16::from_be_bytes(self.total_len) as u32
    }

    /// Whether the packet is a fragment, the first included.
    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        u16::from_be_bytes(self.fragment) & IPV4_FRAGMENT_MASK != 0
    }

    /// Decrements the TTL, which must not be 0, and mends the checksum (RFC 1624 equation 3: what RFC 1141 says instead may
    /// make 0xffff of 0).
    #[inline(always)]
    pub const fn decrement_ttl(&mut self) {
        self.ttl -= 1;
        let sum = !u16::from_be_bytes(self.checksum) as u32 + !0x0100_u16 as u32;
        self.checksum = (!fold(sum)).to_be_bytes();
    }

    /// Sets the type-of-service byte and mends the checksum (RFC 1624 equation 3).
    #[inline(always)]
    pub const fn set_tos(&mut self, tos: u8) {
        let sum = !u16::from_be_bytes(self.checksum) as u32 + !self.tos as u32 + 0xff00 + tos as u32;
        self.tos = tos;
        self.checksum = (!fold(sum)).to_be_bytes();
    }

    /// Marks the packet "congestion experienced" (RFC 3168) and mends the checksum.
    #[inline(always)]
    pub const fn mark_ce(&mut self) {
        self.set_tos(self.tos | crate::ecn::CE);
    }
}

// SAFETY: repr(C), bytes only.
unsafe impl Pod for Ipv4 {}
const _: () = assert!(size_of::<Ipv4>() == crate::wire::IPV4_LEN);

#[inline(always)]
const fn word(high: u8, low: u8) -> u32 {
    (high as u32) << 8 | low as u32
}

/// Folds a sum of 16-bit words with end-around carry.
#[inline(always)]
const fn fold(sum: u32) -> u16 {
    let sum = (sum & 0xffff) + (sum >> 16);
    ((sum & 0xffff) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sum of all words of the header (RFC 1071): 0xffff if the checksum is right.
    fn sum(ip: &Ipv4) -> u16 {
        let [a, b] = ip.total_len;
        let [c, d] = ip.id;
        let [e, f] = ip.fragment;
        let [g, h] = ip.checksum;
        let words = [
            word(ip.version_ihl, ip.tos),
            word(a, b),
            word(c, d),
            word(e, f),
            word(ip.ttl, ip.protocol),
            word(g, h),
            word(ip.source[0], ip.source[1]),
            word(ip.source[2], ip.source[3]),
            word(ip.destination[0], ip.destination[1]),
            word(ip.destination[2], ip.destination[3]),
        ];
        fold(words.iter().sum())
    }

    #[test]
    fn the_checksum_stays_right() {
        for low in 0..=255_u8 {
            for tos in [0, 0x03, 0xb9, 0xff] {
                let mut ip = Ipv4::outer(tos, 1500, 50, [10, low, 255, 1], [10, 2, 0, low]);
                assert_eq!(sum(&ip), 0xffff);
                while ip.ttl > 0 {
                    ip.decrement_ttl();
                    assert_eq!(sum(&ip), 0xffff, "TTL {}", ip.ttl);
                }
                ip.set_tos(low);
                assert_eq!((ip.tos, sum(&ip)), (low, 0xffff));
                assert!(!ip.may_be_fragmented());
                ip.allow_fragments(u16::from_be_bytes([tos, low]));
                assert_eq!((ip.id, ip.fragment, sum(&ip)), ([tos, low], [0; 2], 0xffff));
                assert!(ip.may_be_fragmented());
            }
        }
    }

    /// One's complement has two zeros, and a header whose checksum is the wrong one is not what a sender would have made
    /// (RFC 1624 section 3).
    #[test]
    fn the_checksum_is_never_negative_zero() {
        let mut ip = Ipv4::outer(0, 1500, 50, [10, 1, 0, 1], [10, 2, 0, 1]);
        // The identification takes what the checksum has too much for 0xfeff.
        let surplus = u32::from(u16::from_be_bytes(ip.checksum)) + u32::from(!0xfeff_u16);
        ip.id = fold(surplus).to_be_bytes();
        ip.checksum = [0xfe, 0xff];
        assert_eq!(sum(&ip), 0xffff);
        ip.decrement_ttl();
        assert_eq!((ip.checksum, sum(&ip)), ([0, 0], 0xffff));
    }
}
