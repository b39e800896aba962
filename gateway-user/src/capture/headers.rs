//! Addresses and ports of a frame.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gateway_common::wire::{
    ETH_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_SERVICE_VLAN, ETHERTYPE_VLAN, IPV6_LEN,
};

/// Length of a VLAN tag in bytes.
const TAG_LEN: usize = 4;
/// Tags and extension headers that are looked behind; what has more is none of ours.
const DEPTH: usize = 8;
/// Fragment offset of IPv4, and of the fragment header of IPv6 with its reserved bits cut off.
const IPV4_OFFSET: u16 = 0x1fff;
const IPV6_OFFSET: u16 = 0xfff8;

/// What filters look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Headers {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: u8,
    /// Source and destination port of TCP, UDP and SCTP; `None` in fragments behind the first.
    pub(super) ports: Option<[u16; 2]>,
    /// Length of the IP packet in bytes.
    pub(super) len: usize,
}

impl Headers {
    /// Of an Ethernet frame, with VLAN tags or without, perhaps cut off behind; `None` if it is not IP.
    pub(super) fn of_frame(frame: &[u8]) -> Option<Self> {
        let mut at = ETH_LEN;
        for _ in 0..DEPTH {
            let ethertype = word(frame, at - 2)?;
            match ethertype {
                ETHERTYPE_VLAN | ETHERTYPE_SERVICE_VLAN => at += TAG_LEN,
                ETHERTYPE_IPV4 | ETHERTYPE_IPV6 => return Self::of_packet(frame.get(at..)?),
                _ => return None,
            }
        }
        None
    }

    /// Of an IP packet.
    pub(super) fn of_packet(packet: &[u8]) -> Option<Self> {
        match packet.first()? >> 4 {
            4 => Self::ipv4(packet),
            6 => Self::ipv6(packet),
            _ => None,
        }
    }

    fn ipv4(packet: &[u8]) -> Option<Self> {
        let at = |offset: usize| Some(Ipv4Addr::from(*packet.get(offset..)?.first_chunk::<4>()?).into());
        let protocol = *packet.get(9)?;
        let header_len = usize::from(packet[0] & 0x0f) * 4;
        let is_first = word(packet, 6)? & IPV4_OFFSET == 0;
        Some(Self {
            source: at(12)?,
            destination: at(16)?,
            protocol,
            ports: if is_first { ports(packet, header_len, protocol) } else { None },
            len: usize::from(word(packet, 2)?),
        })
    }

    fn ipv6(packet: &[u8]) -> Option<Self> {
        let at = |offset: usize| Some(Ipv6Addr::from(*packet.get(offset..)?.first_chunk::<16>()?).into());
        let (mut protocol, mut offset, mut is_first) = (*packet.get(6)?, IPV6_LEN, true);
        for _ in 0..DEPTH {
            // RFC 8200 section 4: hop-by-hop options, routing, destination options; fragment.
            let len = match protocol {
                0 | 43 | 60 => packet.get(offset + 1).map(|words| (usize::from(*words) + 1) * 8),
                44 => {
                    is_first &= word(packet, offset + 2).is_some_and(|field| field & IPV6_OFFSET == 0);
                    Some(8)
                }
                _ => break,
            };
            let (Some(next), Some(len)) = (packet.get(offset), len) else { break };
            (protocol, offset) = (*next, offset + len);
        }
        Some(Self {
            source: at(8)?,
            destination: at(24)?,
            protocol,
            ports: if is_first { ports(packet, offset, protocol) } else { None },
            len: IPV6_LEN + usize::from(word(packet, 4)?),
        })
    }
}

fn ports(packet: &[u8], offset: usize, protocol: u8) -> Option<[u16; 2]> {
    matches!(protocol, 6 | 17 | 132).then(|| Some([word(packet, offset)?, word(packet, offset + 2)?]))?
}

fn word(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// An Ethernet frame with these tags around a packet.
    pub(in crate::capture) fn frame(tags: &[u16], packet: &[u8]) -> Vec<u8> {
        let mut frame = vec![2; 12];
        for tag in tags {
            frame.extend(tag.to_be_bytes());
            frame.extend([0, 5]);
        }
        let ethertype = if packet[0] >> 4 == 6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
        frame.extend(ethertype.to_be_bytes());
        frame.extend(packet);
        frame
    }

    /// A UDP packet from 10.1.0.9 port 7 to 10.2.0.9 port 53.
    pub(in crate::capture) fn udp(fragment: u16) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 32, 0, 0];
        packet.extend(fragment.to_be_bytes());
        packet.extend([64, 17, 0, 0, 10, 1, 0, 9, 10, 2, 0, 9]);
        packet.extend([0, 7, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
        packet
    }

    fn udp6(extensions: &[u8], first: u8) -> Vec<u8> {
        let mut packet = vec![0x60, 0, 0, 0, 0, extensions.len() as u8 + 12, first, 64];
        packet.extend("fd00:1::9".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend("fd00:2::9".parse::<Ipv6Addr>().unwrap().octets());
        packet.extend(extensions);
        packet.extend([0, 7, 0, 53, 0, 12, 0, 0, 1, 2, 3, 4]);
        packet
    }

    #[test]
    fn both_families_are_understood_with_and_without_tags() {
        let four = Headers::of_frame(&frame(&[], &udp(0))).unwrap();
        assert_eq!((four.protocol, four.ports, four.len), (17, Some([7, 53]), 32));
        assert_eq!((four.source, four.destination), ([10, 1, 0, 9].into(), [10, 2, 0, 9].into()));
        assert_eq!(Headers::of_frame(&frame(&[0x8100], &udp(0))), Some(four));
        assert_eq!(Headers::of_frame(&frame(&[0x88a8, 0x8100], &udp(0))), Some(four));
        let six = Headers::of_frame(&frame(&[0x8100], &udp6(&[], 17))).unwrap();
        assert_eq!((six.protocol, six.ports, six.len), (17, Some([7, 53]), 52));
        assert_eq!(six.destination, "fd00:2::9".parse::<IpAddr>().unwrap());
        // Hop-by-hop options, then a first fragment.
        let extensions = [44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 9];
        assert_eq!(Headers::of_packet(&udp6(&extensions, 0)).unwrap().ports, Some([7, 53]));
    }

    #[test]
    fn later_fragments_have_no_ports() {
        assert_eq!(Headers::of_packet(&udp(0x2000)).unwrap().ports, Some([7, 53]), "the first has");
        assert_eq!(Headers::of_packet(&udp(0x2001)).unwrap().ports, None);
        let later = [17, 0, 0, 8, 0, 0, 0, 9];
        let later = Headers::of_packet(&udp6(&later, 44)).unwrap();
        assert_eq!((later.protocol, later.ports), (17, None));
    }

    #[test]
    fn what_is_cut_off_or_strange_is_no_trouble() {
        for packet in [udp(0), udp6(&[44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 1, 0, 0, 0, 9], 0)] {
            let whole = frame(&[0x8100], &packet);
            for len in 0..whole.len() {
                let found = Headers::of_frame(&whole[..len]);
                assert!(found.is_none_or(|found| found.len <= packet.len()), "{len}");
            }
        }
        assert_eq!(Headers::of_frame(&[&[2; 12][..], &[0x08, 0x06], &[0; 28]].concat()), None, "ARP");
        assert_eq!(Headers::of_frame(&[0x81; 200]), None);
        assert_eq!(Headers::of_packet(&[0x81; 60]), None);
    }
}
