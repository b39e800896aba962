//! Errors of ICMP and ICMPv6 and the packets that they quote (RFC 792, RFC 1812 section 4.3.2.3, RFC 4443).

use crate::wire::{IPV4_OFFSET_MASK, PROTO_ICMP, PROTO_ICMPV6};
use crate::{Ip, Ipv4, Ipv6, Pod};

/// Length of the header of an error in bytes.
const HEADER_LEN: u32 = 8;
/// Bytes of the quoted packet's payload that an error holds at least, if the packet has so many.
const QUOTED_PAYLOAD: u32 = 8;

/// An error up to the fixed part of the quoted header.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Error<I> {
    /// What kind of message it is.
    pub kind: u8,
    /// Details of the kind.
    pub code: u8,
    /// Checksum, network order.
    pub checksum: [u8; 2],
    /// Depends on the kind.
    pub rest: [u8; 4],
    /// Header of the packet that the error is about, as it was when it could not be forwarded.
    pub quoted: I,
}

/// An IP version with its ICMP.
pub trait Icmp: Ip {
    /// Protocol number of the version's ICMP.
    const PROTOCOL: u8;

    /// Whether messages of type `kind` are errors about a packet that routers send.
    fn is_error(kind: u8) -> bool;

    /// Whether an error may be about this packet: none is about a fragment but the first.
    fn may_be_quoted(&self) -> bool;

    /// Whether no host or router of another network can have `address`.
    fn is_martian(address: Self::Address) -> bool;
}

impl Icmp for Ipv4 {
    const PROTOCOL: u8 = PROTO_ICMP;

    /// Destination unreachable, "fragmentation needed" among them, time exceeded, and parameter problem. Source quench is not
    /// believed (RFC 6633), and a redirect never leaves its network (RFC 1812 section 5.2.7.2).
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 3 | 11 | 12)
    }

    /// RFC 1812 section 4.3.2.7.
    #[inline(always)]
    fn may_be_quoted(&self) -> bool {
        u16::from_be_bytes(self.fragment) & IPV4_OFFSET_MASK == 0
    }

    /// This network, loopback, multicast and what is reserved (RFC 1812 section 5.3.7).
    #[inline(always)]
    fn is_martian(address: [u8; 4]) -> bool {
        matches!(address[0], 0 | 127 | 224..)
    }
}

impl Icmp for Ipv6 {
    const PROTOCOL: u8 = PROTO_ICMPV6;

    /// Destination unreachable, packet too big, time exceeded, and parameter problem (RFC 4443 section 3).
    #[inline(always)]
    fn is_error(kind: u8) -> bool {
        matches!(kind, 1..=4)
    }

    /// Whether a fragment is the first is said behind the fixed header; its addresses are the same.
    #[inline(always)]
    fn may_be_quoted(&self) -> bool {
        true
    }

    /// Unspecified, loopback and what embeds IPv4 addresses, link-local, and multicast (RFC 4291 section 2.4).
    #[inline(always)]
    fn is_martian(address: [u8; 16]) -> bool {
        address[0] == 0 || address[0] == 0xff || address[0] == 0xfe && address[1] & 0xc0 == 0x80
    }
}

impl<I: Icmp> Error<I> {
    /// Whether this, behind the header `ip`, is an error about one packet that its receiver has sent, and quotes it as far as it must:
    /// the whole header and eight more bytes. The checksum is the receiver's business.
    #[inline(always)]
    pub fn quotes_a_packet(&self, ip: &I) -> bool {
        let quoted = &self.quoted;
        let quoted_header_len = quoted.header_len();
        let quoted_len = quoted.total_len();
        if !I::is_error(self.kind)
            || !quoted.has_right_version()
            || quoted_header_len < I::LEN as u32
            || quoted_len < quoted_header_len
            || !quoted.may_be_quoted()
        {
            return false;
        }
        let payload = quoted_len - quoted_header_len;
        let shown = if payload < QUOTED_PAYLOAD { payload } else { QUOTED_PAYLOAD };
        let must_have = ip.header_len() + HEADER_LEN + quoted_header_len + shown;
        let ([_, receiver], [sender, _]) = (ip.words(), quoted.words());
        ip.protocol() == I::PROTOCOL && ip.total_len() >= must_have && receiver == sender
    }
}

// SAFETY: repr(C), bytes only.
unsafe impl<I: Icmp> Pod for Error<I> {}
const _: () = assert!(size_of::<Error<Ipv4>>() == 28);
const _: () = assert!(size_of::<Error<Ipv6>>() == 48);
