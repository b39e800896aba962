//! The packet that is asked about.

use std::net::IpAddr;

use gateway_common::wire::{IPV4_LEN, IPV6_LEN, PROTO_HOP_BY_HOP};

/// An IP packet without IPv4 options that is no fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedPacket {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol number of the payload, or of the first extension header.
    pub protocol: u8,
    /// Destination port of TCP and UDP.
    pub port: Option<u16>,
    /// Length in bytes, with the IP header.
    pub size: u32,
    /// Time to live as it arrives.
    pub ttl: u8,
    /// Whether it must not be fragmented; no IPv6 packet may be.
    pub dont_fragment: bool,
    /// Source and destination of the packet that it quotes, if it is an ICMP error.
    pub quotes: Option<[IpAddr; 2]>,
}

impl TracedPacket {
    /// Length of the IP header of this version without options and extension headers.
    pub(super) fn header_len(&self) -> u32 {
        header_len(self.destination)
    }

    /// Whether each router on the way has to look behind the fixed header.
    pub(super) fn concerns_routers(&self) -> bool {
        self.destination.is_ipv6() && self.protocol == PROTO_HOP_BY_HOP
    }
}

/// Length of the IP header of packets between addresses such as this.
pub(super) fn header_len(address: IpAddr) -> u32 {
    (if address.is_ipv4() { IPV4_LEN } else { IPV6_LEN }) as u32
}

/// Where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It arrives at an interface: one of the gateway's, or the far end of `vgw0` when the kernel has routed it there.
    Interface(u32),
    /// It was opened with an SA of a tunnel.
    Tunnel {
        /// Number of the tunnel.
        tunnel: u32,
        /// Interface that the sealed packet arrived at.
        ingress_ifindex: u32,
    },
}
