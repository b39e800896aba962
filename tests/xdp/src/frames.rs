//! Frames built and read by hand.

use std::net::{Ipv4Addr, Ipv6Addr};

/// MAC address of whoever sent a frame to the gateway.
pub const SENDER_MAC: [u8; 6] = [2, 0, 0, 0, 9, 9];

/// Internet checksum (RFC 1071) of an even number of bytes; zero over a header with a right checksum.
pub fn checksum(bytes: &[u8]) -> u16 {
    let mut sum: u32 = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1])).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An IPv4 header's fields that tests vary.
#[derive(Clone, Debug)]
pub struct Ip {
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// Protocol number of the payload.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// Flags and fragment offset.
    pub fragment: u16,
    /// Options, a multiple of four bytes.
    pub options: Vec<u8>,
}

impl Ip {
    /// A UDP packet with DF set and no options.
    pub fn new(source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        Self { source, destination, protocol: 17, ttl: 64, tos: 0, fragment: 0x4000, options: Vec::new() }
    }

    /// The packet with a right header checksum.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let mut packet = vec![0x40 | (header_len / 4) as u8, self.tos];
        packet.extend(((header_len + payload.len()) as u16).to_be_bytes());
        packet.extend([0x12, 0x34]);
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([self.ttl, self.protocol, 0, 0]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(&self.options);
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(payload);
        packet
    }
}

/// An IPv6 header's fields that tests vary.
#[derive(Clone, Debug)]
pub struct Ip6 {
    /// Source address.
    pub source: Ipv6Addr,
    /// Destination address.
    pub destination: Ipv6Addr,
    /// Protocol number of the payload, or of the first extension header.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// DSCP and ECN.
    pub class: u8,
    /// Flow label, 20 bits.
    pub flow_label: u32,
}

impl Ip6 {
    /// A UDP packet.
    pub fn new(source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self { source, destination, next_header: 17, hop_limit: 64, class: 0, flow_label: 0x0d_cafe }
    }

    /// The packet.
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let mut packet = (6 << 28 | u32::from(self.class) << 20 | self.flow_label).to_be_bytes().to_vec();
        packet.extend((payload.len() as u16).to_be_bytes());
        packet.extend([self.next_header, self.hop_limit]);
        packet.extend(self.source.octets());
        packet.extend(self.destination.octets());
        packet.extend(payload);
        packet
    }
}

/// An Ethernet frame around an IP packet, padded to 60 bytes as on a wire.
pub fn ethernet(packet: &[u8]) -> Vec<u8> {
    let mut frame = crate::GATEWAY_MAC.to_vec();
    frame.extend(SENDER_MAC);
    frame.extend(if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [0x08, 0x00] });
    frame.extend(packet);
    frame.resize(frame.len().max(60), 0xee);
    frame
}

/// Bytes that differ from position to position.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|position| (position * 31 + position / 256) as u8).collect()
}

/// A UDP datagram with zero checksum.
pub fn udp(source: u16, destination: u16, payload: &[u8]) -> Vec<u8> {
    let len = (payload.len() + 8) as u16;
    [&source.to_be_bytes()[..], &destination.to_be_bytes(), &len.to_be_bytes(), &[0, 0], payload].concat()
}
