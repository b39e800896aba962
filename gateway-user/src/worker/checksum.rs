//! The UDP checksum of sealed packets over IPv6.

use gateway_common::wire::{ETH_LEN, IPV6_LEN, PROTO_UDP, UDP_LEN};

/// Where the source address begins; both addresses, the UDP header and its payload follow.
const ADDRESSES_AT: usize = ETH_LEN + 8;
/// Where the UDP header begins.
const UDP_AT: usize = ETH_LEN + IPV6_LEN;
/// Where its checksum stands.
const CHECKSUM_AT: usize = UDP_AT + 6;

/// Computes the UDP checksum (RFC 768, pseudo-header of RFC 8200 section 8.1) of the first `len` bytes of `frame`, which hold an
/// Ethernet, an IPv6 and a UDP header whose checksum is 0, and nothing behind the datagram. False if they are too few.
#[inline]
pub(super) fn complete_udp6(frame: &mut [u8], len: usize) -> bool {
    if len < UDP_AT + UDP_LEN || frame.len() < len {
        return false;
    }
    let udp_len = (len - UDP_AT) as u64;
    let words = frame[ADDRESSES_AT..len].chunks(4).map(|chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        u64::from(u32::from_be_bytes(word))
    });
    let mut sum = words.sum::<u64>() + udp_len + u64::from(PROTO_UDP);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    // Zero would say that there is no checksum.
    let checksum = if sum == 0xffff { 0xffff } else { !(sum as u16) };
    frame[CHECKSUM_AT..][..2].copy_from_slice(&checksum.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sum of all 16-bit words of the datagram and its pseudo-header, which is 0xffff if the checksum is right.
    fn verify(frame: &[u8]) -> u32 {
        let udp = &frame[UDP_AT..];
        let pseudo =
            [&frame[ADDRESSES_AT..UDP_AT], &(udp.len() as u32).to_be_bytes(), &[0, 0, 0, PROTO_UDP]].concat();
        let mut sum = 0_u32;
        for bytes in [&pseudo[..], udp] {
            for pair in bytes.chunks(2) {
                sum += u32::from(pair[0]) << 8 | pair.get(1).map_or(0, |low| u32::from(*low));
                sum = (sum & 0xffff) + (sum >> 16);
            }
        }
        sum
    }

    #[test]
    fn receivers_find_the_checksum_right() {
        for len in UDP_AT + UDP_LEN..UDP_AT + 200 {
            for seed in 0..20_usize {
                let mut frame: Vec<u8> = (0..len + 7).map(|at| (at * (37 + seed) + seed) as u8).collect();
                frame[CHECKSUM_AT..][..2].fill(0);
                assert!(complete_udp6(&mut frame, len));
                assert_eq!(verify(&frame[..len]), 0xffff, "{len} bytes");
            }
        }
    }

    #[test]
    fn a_sum_of_zero_is_sent_as_ones() {
        let mut frame = vec![0; UDP_AT + UDP_LEN];
        // Length and protocol are the only other summands.
        frame[ADDRESSES_AT..][..2].copy_from_slice(&(0xffff - 8 - u16::from(PROTO_UDP)).to_be_bytes());
        let len = frame.len();
        assert!(complete_udp6(&mut frame, len));
        assert_eq!(frame[CHECKSUM_AT..][..2], [0xff, 0xff]);
    }

    #[test]
    fn what_is_too_short_is_refused() {
        let mut frame = vec![0; UDP_AT + UDP_LEN];
        assert!(!complete_udp6(&mut frame, UDP_AT + UDP_LEN - 1));
        assert!(!complete_udp6(&mut frame, UDP_AT + UDP_LEN + 1));
    }
}
