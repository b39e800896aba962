//! IPv6 header.

use crate::Pod;

/// IPv6 header without extension headers as on the wire (RFC 8200 section 3).
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ipv6 {
    /// Version, traffic class and flow label.
    pub version_class_flow: [u8; 4],
    /// Length of what follows this header in bytes, network order.
    pub payload_len: [u8; 2],
    /// Protocol number of the payload or of the first extension header.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address, network order.
    pub source: [u8; 16],
    /// Destination address, network order.
    pub destination: [u8; 16],
}

impl Ipv6 {
    /// Sets the flow label to the lowest 20 bits of `label` (RFC 6437).
    #[inline(always)]
    pub const fn set_flow_label(&mut self, label: u32) {
        let [_, high, middle, low] = label.to_be_bytes();
        self.version_class_flow[1] = self.version_class_flow[1] & 0xf0 | high & 0x0f;
        self.version_class_flow[2] = middle;
        self.version_class_flow[3] = low;
    }
}

// SAFETY: repr(C), bytes only.
unsafe impl Pod for Ipv6 {}
const _: () = assert!(size_of::<Ipv6>() == crate::wire::IPV6_LEN);
