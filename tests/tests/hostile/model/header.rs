//! Reading and changing IPv4 headers (RFC 791), independent of the gateway's code.

/// Ethernet header.
pub(crate) const ETHERNET: usize = 14;
/// IPv4 header without options.
pub(crate) const PLAIN: usize = 20;

/// IPv6 header (RFC 8200 section 3).
pub(crate) const PLAIN6: usize = 40;

/// The fields of an IPv4 header that decide about a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) version: u8,
    pub(crate) length: usize,
    /// Traffic class: DSCP and ECN.
    pub(crate) class: u8,
    pub(crate) total_len: usize,
    pub(crate) is_fragment: bool,
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
}

/// A 16-bit number in network order.
pub(crate) fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// A 32-bit number in network order.
pub(crate) fn double_word(bytes: &[u8], at: usize) -> u32 {
    u32::from(word(bytes, at)) << 16 | u32::from(word(bytes, at + 2))
}

impl Header {
    /// Reads the first 20 bytes of `packet`, if it has as many.
    pub(crate) fn parse(packet: &[u8]) -> Option<Self> {
        if packet.len() < PLAIN {
            return None;
        }
        let fragment = word(packet, 6);
        Some(Self {
            version: packet[0] >> 4,
            length: usize::from(packet[0] & 15) * 4,
            class: packet[1],
            total_len: usize::from(word(packet, 2)),
            is_fragment: fragment & 0x2000 != 0 || fragment & 0x1fff != 0,
            ttl: packet[8],
            protocol: packet[9],
            source: packet[12..16].try_into().expect("four bytes"),
            destination: packet[16..20].try_into().expect("four bytes"),
        })
    }

    /// Whether the lengths agree with each other.
    pub(crate) fn lengths_agree(&self) -> bool {
        self.length >= PLAIN && self.total_len >= self.length
    }
}

/// Changes the 16-bit word at `at`, an even offset, and mends the header's checksum (RFC 1624 equation 3). A checksum that was
/// wrong stays wrong.
fn replace(packet: &mut [u8], at: usize, new: u16) {
    let (old, checksum) = (word(packet, at), word(packet, 10));
    let mut sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    packet[at..at + 2].copy_from_slice(&new.to_be_bytes());
    packet[10..12].copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// Takes one from the TTL of `packet`.
pub(crate) fn decrement_ttl(packet: &mut [u8]) {
    let new = word(packet, 8) - 0x100;
    replace(packet, 8, new);
}

/// Sets the ECN field of `packet`.
pub(crate) fn set_ecn(packet: &mut [u8], ecn: u8) {
    let new = word(packet, 0) & !3 | u16::from(ecn);
    if new != word(packet, 0) {
        replace(packet, 0, new);
    }
}

/// Whether the header checksum of `packet`, which has no options, is right (RFC 1071).
pub(crate) fn checksum_is_right(packet: &[u8]) -> bool {
    let sum: u32 = (0..PLAIN).step_by(2).map(|at| u32::from(word(packet, at))).sum();
    (sum >> 16) + (sum & 0xffff) == 0xffff
}

/// The ECN field to deliver, from those that arrived (RFC 6040 figure 4); `None` to drop.
pub(crate) fn combine_ecn(inner: u8, outer: u8) -> Option<u8> {
    const NOT_ECT: u8 = 0b00;
    const ECT_1: u8 = 0b01;
    const ECT_0: u8 = 0b10;
    const CE: u8 = 0b11;
    match inner {
        NOT_ECT if outer == CE => None,
        NOT_ECT => Some(NOT_ECT),
        CE => Some(CE),
        _ if outer == CE => Some(CE),
        ECT_0 if outer == ECT_1 => Some(ECT_1),
        unchanged => Some(unchanged),
    }
}
