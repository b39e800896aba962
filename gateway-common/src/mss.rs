//! The maximum segment size that an end of a TCP connection announces (RFC 9293 section 3.7.1), and what of it fits a tunnel.

use crate::Ip;
use crate::wire::PROTO_TCP;

/// TCP header length without options, in bytes.
pub const TCP_LEN: usize = 20;
/// Where the length of the TCP header stands, in words, in the upper half of a byte.
pub const DATA_OFFSET_AT: usize = 12;
/// Where the flags of a segment stand.
pub const FLAGS_AT: usize = 13;
/// Where the checksum stands.
pub const CHECKSUM_AT: usize = 16;
/// The flag of segments that may announce a maximum segment size.
pub const SYN: u8 = 2;
/// Most bytes of options.
pub const MAX_OPTIONS: usize = 40;

/// Kinds of options that stand in a single byte, and the one that announces a maximum segment size; its length in bytes.
pub const END_OF_OPTIONS: u8 = 0;
/// An option that does nothing.
pub const NO_OPERATION: u8 = 1;
/// The option with the maximum segment size.
pub const MAXIMUM_SEGMENT_SIZE: u8 = 2;
/// Length of that option in bytes.
pub const OPTION_LEN: usize = 4;

/// Value of [`crate::GatewayConfig::mss_limit`] that leaves every announcement as it is.
pub const LEAVE: u32 = 0;
/// Value of [`crate::GatewayConfig::mss_limit`] that lowers announcements to what the tunnel carries.
pub const FIT: u32 = u16::MAX as u32;

/// Whether a TCP header stands right behind the header `ip`. Behind IPv6 extension headers none is looked for.
#[inline(always)]
pub fn precedes_segment<I: Ip>(ip: &I) -> bool {
    ip.protocol() == PROTO_TCP && !ip.is_fragment()
}

/// The largest segment that may be announced through a tunnel of `mtu` bytes by an end whose packets have `headers` bytes of IP and TCP
/// headers; `of_gateway` is [`crate::GatewayConfig::mss_limit`], not [`LEAVE`].
#[inline(always)]
pub const fn limit(of_gateway: u32, mtu: u32, headers: u32) -> u32 {
    let fits = mtu.saturating_sub(headers);
    if of_gateway < fits { of_gateway } else { fits }
}

/// The checksum of a segment in which the field `old` became `new` (RFC 1624 equation 3). Where the field begins at an odd offset its bytes
/// belong to two words, each in the other's place.
#[inline(always)]
pub const fn mended(checksum: u16, old: u16, new: u16, is_odd: bool) -> u16 {
    let (old, new) = if is_odd { (old.swap_bytes(), new.swap_bytes()) } else { (old, new) };
    let sum = !checksum as u32 + !old as u32 + new as u32;
    let sum = (sum & 0xffff) + (sum >> 16);
    !(((sum & 0xffff) + (sum >> 16)) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ipv4, Ipv6};

    /// RFC 1071 over all bytes.
    fn checksum(bytes: &[u8]) -> u16 {
        let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        !(sum as u16)
    }

    #[test]
    fn the_mended_checksum_is_the_one_computed_anew() {
        for seed in 0..2000_usize {
            let mut bytes: [u8; 12] = core::array::from_fn(|at| (at * 89 + seed * 37 + seed / 256) as u8);
            for at in [4, 5] {
                let (before, old) = (checksum(&bytes), u16::from_be_bytes([bytes[at], bytes[at + 1]]));
                let new = old.wrapping_mul(31).wrapping_add(seed as u16);
                bytes[at..at + 2].copy_from_slice(&new.to_be_bytes());
                assert_eq!(mended(before, old, new, at % 2 == 1), checksum(&bytes), "{old:#x} to {new:#x}");
            }
        }
    }

    #[test]
    fn the_limit_is_the_smaller_of_the_tunnels_and_the_gateways() {
        assert_eq!(limit(FIT, 1438, 40), 1398);
        assert_eq!(limit(FIT, 1438, 60), 1378);
        assert_eq!(limit(1200, 1438, 40), 1200);
        assert_eq!(limit(FIT, 30, 40), 0);
    }

    #[test]
    fn segments_are_told_from_fragments_and_other_protocols() {
        let ip = Ipv4::outer(0, 60, PROTO_TCP, [10, 0, 0, 1], [10, 0, 0, 2]);
        assert!(precedes_segment(&ip));
        assert!(!precedes_segment(&Ipv4 { fragment: [0x20, 0], ..ip }));
        assert!(!precedes_segment(&Ipv4 { protocol: 17, ..ip }));
        let ip = <Ipv6 as Ip>::outer(0, 60, PROTO_TCP, [1; 16], [2; 16]);
        assert!(precedes_segment(&ip));
        assert!(!precedes_segment(&Ipv6 { next_header: 44, ..ip }));
    }
}
