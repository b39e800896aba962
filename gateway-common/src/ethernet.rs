//! Ethernet header.

use crate::Pod;

/// Ethernet header as on the wire.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ethernet {
    /// MAC address of the next hop.
    pub destination: [u8; 6],
    /// MAC address of whoever sent the frame.
    pub source: [u8; 6],
    /// EtherType, network order.
    pub ethertype: [u8; 2],
}

impl Ethernet {
    /// Header of a frame of `ethertype`, host order.
    #[inline(always)]
    pub const fn new(destination: [u8; 6], source: [u8; 6], ethertype: u16) -> Self {
        Self { destination, source, ethertype: ethertype.to_be_bytes() }
    }
}

// SAFETY: repr(C), bytes only.
unsafe impl Pod for Ethernet {}
const _: () = assert!(size_of::<Ethernet>() == crate::wire::ETH_LEN);
