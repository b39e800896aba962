//! Events that the datapath raises for the agent.

use crate::Pod;
use crate::ip::Words;

/// A record of ring buffer map `EVENTS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Event {
    /// An [`EventKind`] as its number.
    pub kind: u32,
    /// Tunnel number; 0 if unknown.
    pub tunnel: u32,
    /// SPI concerned, network order; zero if none.
    pub spi: [u8; 4],
    /// Explicit padding.
    pub reserved: u32,
    /// Address concerned, IPv4 ones mapped; zero if none: the outer source of an unknown SPI, the peer of the SA whose
    /// packet failed authentication, the inner source of a packet without an outbound SA or with ECN fields that alarm.
    pub source: Words,
}

/// Values of [`Event::kind`].
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// An SA passed its soft lifetime in bytes or packets and should be rekeyed.
    SoftLifetime = 1,
    /// A packet needed a tunnel that has no outbound SA.
    NoOutboundSa = 2,
    /// ESP with an unknown SPI arrived.
    UnknownSpi = 3,
    /// A packet failed authentication.
    AuthenticationFailed = 4,
    /// An outbound SA ran out of sequence numbers or passed its hard lifetime.
    HardLifetime = 5,
    /// An authentic packet arrived whose ECN fields together mean that something on the path is wrong ([`crate::ecn::is_alarming`]).
    AlarmingEcn = 6,
}

impl EventKind {
    /// One more than the largest number.
    pub const COUNT: u32 = 7;

    /// The kind with this number.
    pub const fn from_number(number: u32) -> Option<Self> {
        match number {
            1 => Some(Self::SoftLifetime),
            2 => Some(Self::NoOutboundSa),
            3 => Some(Self::UnknownSpi),
            4 => Some(Self::AuthenticationFailed),
            5 => Some(Self::HardLifetime),
            6 => Some(Self::AlarmingEcn),
            _ => None,
        }
    }
}

// SAFETY: repr(C), integers only.
unsafe impl Pod for Event {}
const _: () = assert!(size_of::<Event>() == 32);
