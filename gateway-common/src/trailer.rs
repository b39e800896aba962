//! The ESP trailer of an authenticated packet (RFC 4303 sections 2.4 to 2.7).

use crate::wire::{ESP_TRAILER_LEN, PROTO_NONE};
use crate::{DropReason, Ip};

/// Whether the next header announces a packet with a header `I`.
///
/// # Errors
/// Why the packet is to be dropped.
#[inline(always)]
pub const fn check_next_header<I: Ip>(next_header: u8) -> Result<(), DropReason> {
    if next_header == I::NEXT_HEADER {
        Ok(())
    } else if next_header == PROTO_NONE {
        Err(DropReason::Dummy)
    } else {
        Err(DropReason::BadTrailer)
    }
}

/// Length in bytes of the inner packet that starts with `ip`, in a decrypted payload of `payload_len` bytes whose pad
/// length is `padding`. Bytes between the packet and the padding are traffic-flow confidentiality padding.
///
/// # Errors
/// Why the packet is to be dropped.
#[inline(always)]
pub fn inner_len<I: Ip>(ip: &I, padding: u8, payload_len: u32) -> Result<u32, DropReason> {
    if !ip.has_right_version() {
        return Err(DropReason::Malformed);
    }
    let inner_len = ip.total_len();
    if inner_len + u32::from(padding) + ESP_TRAILER_LEN as u32 > payload_len {
        return Err(DropReason::BadTrailer);
    }
    let header_len = ip.header_len();
    if header_len < I::LEN as u32 || inner_len < header_len {
        return Err(DropReason::Malformed);
    }
    Ok(inner_len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Ipv4, Ipv6};

    #[test]
    fn the_packet_must_lie_before_padding_and_trailer() {
        let ip = |total_len| Ipv4::outer(0, total_len, 17, [10, 2, 0, 1], [10, 1, 0, 1]);
        assert_eq!(inner_len(&ip(50), 0, 52), Ok(50));
        assert_eq!(inner_len(&ip(50), 3, 55), Ok(50));
        assert_eq!(inner_len(&ip(50), 3, 300), Ok(50), "traffic-flow confidentiality padding");
        assert_eq!(inner_len(&ip(50), 4, 55), Err(DropReason::BadTrailer));
        assert_eq!(inner_len(&ip(50), 0, 51), Err(DropReason::BadTrailer));
        assert_eq!(inner_len(&ip(19), 0, 52), Err(DropReason::Malformed));
        assert_eq!(inner_len(&Ipv4 { version_ihl: 0x44, ..ip(50) }, 0, 52), Err(DropReason::Malformed));
        assert_eq!(inner_len(&Ipv4 { version_ihl: 0x65, ..ip(50) }, 0, 52), Err(DropReason::Malformed));
        let ip = <Ipv6 as Ip>::outer(0, 50, 17, [1; 16], [2; 16]);
        assert_eq!(inner_len(&ip, 0, 52), Ok(50));
        assert_eq!(inner_len(&ip, 4, 55), Err(DropReason::BadTrailer));
        let of_version_4 = Ipv6 { version_class_flow: [0x45, 0, 0, 0], ..ip };
        assert_eq!(inner_len(&of_version_4, 0, 52), Err(DropReason::Malformed));
    }

    #[test]
    fn dummy_packets_are_told_from_foreign_ones() {
        assert_eq!(check_next_header::<Ipv4>(4), Ok(()));
        assert_eq!(check_next_header::<Ipv4>(PROTO_NONE), Err(DropReason::Dummy));
        assert_eq!(check_next_header::<Ipv4>(41), Err(DropReason::BadTrailer));
        assert_eq!(check_next_header::<Ipv6>(41), Ok(()));
        assert_eq!(check_next_header::<Ipv6>(PROTO_NONE), Err(DropReason::Dummy));
        assert_eq!(check_next_header::<Ipv6>(4), Err(DropReason::BadTrailer));
    }
}
