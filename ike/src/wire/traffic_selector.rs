//! Traffic selectors (RFC 7296 §3.13).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::ParseError;
use crate::wire::reader::{Reader, with_length};

const TS_IPV4_ADDR_RANGE: u8 = 7;
const TS_IPV6_ADDR_RANGE: u8 = 8;

/// One traffic selector (RFC 7296 §3.13.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrafficSelector {
    /// A range of addresses and ports.
    Range(Selector),
    /// A type unknown here; selects nothing.
    Unknown {
        /// The type.
        kind: u8,
        /// The octet behind the type, then everything behind the length field; never empty.
        body: Vec<u8>,
    },
}

/// Addresses, protocol and ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// IP protocol, 0 for any.
    pub protocol: u8,
    /// First and last port. For ICMP type and code. First greater than last: ports are not available (OPAQUE).
    pub ports: (u16, u16),
    /// First and last address.
    pub addresses: AddressRange,
}

/// First and last address of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressRange {
    /// IPv4.
    V4(Ipv4Addr, Ipv4Addr),
    /// IPv6.
    V6(Ipv6Addr, Ipv6Addr),
}

impl AddressRange {
    /// All of IPv4.
    pub const ANY_IPV4: Self = Self::V4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    /// All of IPv6.
    pub const ANY_IPV6: Self = Self::V6(Ipv6Addr::UNSPECIFIED, Ipv6Addr::from_bits(u128::MAX));

    /// All of both.
    pub const ANY: [Self; 2] = [Self::ANY_IPV4, Self::ANY_IPV6];

    /// The addresses of a prefix of `len` bits; bits of `address` behind it do not count. `None` when `len` is more than
    /// an address has.
    pub fn prefix(address: IpAddr, len: u8) -> Option<Self> {
        let len = u32::from(len);
        match address {
            IpAddr::V4(address) if len <= Ipv4Addr::BITS => {
                let host = u32::MAX.checked_shr(len).unwrap_or(0);
                let (first, last) = (address.to_bits() & !host, address.to_bits() | host);
                Some(Self::V4(Ipv4Addr::from_bits(first), Ipv4Addr::from_bits(last)))
            }
            IpAddr::V6(address) if len <= Ipv6Addr::BITS => {
                let host = u128::MAX.checked_shr(len).unwrap_or(0);
                let (first, last) = (address.to_bits() & !host, address.to_bits() | host);
                Some(Self::V6(Ipv6Addr::from_bits(first), Ipv6Addr::from_bits(last)))
            }
            _ => None,
        }
    }

    /// What is in both, `None` when that is nothing.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        match (*self, *other) {
            (Self::V4(a, b), Self::V4(c, d)) => {
                overlap((a, b), (c, d)).map(|(first, last)| Self::V4(first, last))
            }
            (Self::V6(a, b), Self::V6(c, d)) => {
                overlap((a, b), (c, d)).map(|(first, last)| Self::V6(first, last))
            }
            _ => None,
        }
    }

    /// Whether it is IPv6, and the first and last address as numbers.
    pub(crate) fn bounds(&self) -> (bool, u128, u128) {
        match self {
            Self::V4(first, last) => (false, first.to_bits().into(), last.to_bits().into()),
            Self::V6(first, last) => (true, first.to_bits(), last.to_bits()),
        }
    }
}

/// As a prefix such as `10.1.0.0/16` when it is one, else as `10.1.0.5-10.1.0.9`.
impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last): (IpAddr, IpAddr) = match *self {
            Self::V4(first, last) => (first.into(), last.into()),
            Self::V6(first, last) => (first.into(), last.into()),
        };
        match (0..=128).find(|len| Self::prefix(first, *len) == Some(*self)) {
            Some(len) => write!(f, "{first}/{len}"),
            None => write!(f, "{first}-{last}"),
        }
    }
}

impl Selector {
    /// All of IPv4: 0.0.0.0/0, every protocol and port.
    pub const ANY_IPV4: Self = Self {
        protocol: 0,
        ports: (0, u16::MAX),
        addresses: AddressRange::V4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST),
    };

    /// What both select, `None` when that is nothing.
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let protocol = match (self.protocol, other.protocol) {
            (0, protocol) | (protocol, 0) => protocol,
            (one, two) if one == two => one,
            _ => return None,
        };
        let ports = overlap(self.ports, other.ports)?;
        let addresses = self.addresses.intersection(&other.addresses)?;
        Some(Self { protocol, ports, addresses })
    }
}

fn overlap<T: Ord>((a, b): (T, T), (c, d): (T, T)) -> Option<(T, T)> {
    let (first, last) = (a.max(c), b.min(d));
    (first <= last).then_some((first, last))
}

pub(super) fn parse_selectors(reader: &mut Reader<'_>) -> Result<Vec<TrafficSelector>, ParseError> {
    let count = reader.u8()?;
    reader.take(3)?;
    if count == 0 {
        return Err(ParseError::Invalid("number of traffic selectors"));
    }
    let selectors = (0..count).map(|_| parse_selector(reader)).collect::<Result<_, _>>()?;
    reader.finish()?;
    Ok(selectors)
}

fn parse_selector(reader: &mut Reader<'_>) -> Result<TrafficSelector, ParseError> {
    let kind = reader.u8()?;
    let second = reader.u8()?;
    let length = reader.u16()?;
    let mut body = reader.nested(length, 4)?;
    if kind != TS_IPV4_ADDR_RANGE && kind != TS_IPV6_ADDR_RANGE {
        // The second octet of other types is theirs; it travels as the first of the body.
        let body = [&[second], body.rest()].concat();
        return Ok(TrafficSelector::Unknown { kind, body });
    }
    let ports = (body.u16()?, body.u16()?);
    let addresses = if kind == TS_IPV4_ADDR_RANGE {
        AddressRange::V4(body.array::<4>()?.into(), body.array::<4>()?.into())
    } else {
        AddressRange::V6(body.array::<16>()?.into(), body.array::<16>()?.into())
    };
    body.finish()?;
    Ok(TrafficSelector::Range(Selector { protocol: second, ports, addresses }))
}

pub(super) fn encode_selectors(selectors: &[TrafficSelector], out: &mut Vec<u8>) {
    out.push(u8::try_from(selectors.len()).expect("no more selectors than were received"));
    out.extend([0; 3]);
    for selector in selectors {
        with_length(out, 2, |out| match selector {
            TrafficSelector::Range(selector) => encode_range(selector, out),
            TrafficSelector::Unknown { kind, body } => {
                let (second, rest) = body.split_first().unwrap_or((&0, &[]));
                out.extend([*kind, *second, 0, 0]);
                out.extend(rest);
            }
        });
    }
}

fn encode_range(selector: &Selector, out: &mut Vec<u8>) {
    let kind = match selector.addresses {
        AddressRange::V4(..) => TS_IPV4_ADDR_RANGE,
        AddressRange::V6(..) => TS_IPV6_ADDR_RANGE,
    };
    out.extend([kind, selector.protocol, 0, 0]);
    out.extend(selector.ports.0.to_be_bytes());
    out.extend(selector.ports.1.to_be_bytes());
    match selector.addresses {
        AddressRange::V4(first, last) => {
            out.extend(first.octets());
            out.extend(last.octets());
        }
        AddressRange::V6(first, last) => {
            out.extend(first.octets());
            out.extend(last.octets());
        }
    }
}
