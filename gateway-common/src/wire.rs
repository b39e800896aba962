//! Wire constants: header sizes, offsets and protocol numbers.

/// Ethernet header length in bytes.
pub const ETH_LEN: usize = 14;
/// IPv4 header length without options, in bytes (RFC 791).
pub const IPV4_LEN: usize = 20;
/// IPv6 header length without extension headers, in bytes (RFC 8200).
pub const IPV6_LEN: usize = 40;
/// UDP header length in bytes (RFC 768).
pub const UDP_LEN: usize = 8;
/// ESP header length in bytes: SPI and sequence number (RFC 4303 section 2).
pub const ESP_LEN: usize = 8;
/// Explicit IV of the ESP AEADs, in bytes (RFC 4106 section 3.1, RFC 7634 section 2); absent where it is implicit
/// (RFC 8750).
pub const ESP_IV_LEN: usize = 8;
/// Integrity check value of the ESP AEADs, in bytes.
pub const ESP_ICV_LEN: usize = 16;
/// Pad length and next header, the fixed part of the ESP trailer, in bytes.
pub const ESP_TRAILER_LEN: usize = 2;

/// EtherType of IPv4.
pub const ETHERTYPE_IPV4: u16 = 0x0800;
/// EtherType of IPv6.
pub const ETHERTYPE_IPV6: u16 = 0x86dd;
/// EtherType of a VLAN tag (IEEE 802.1Q).
pub const ETHERTYPE_VLAN: u16 = 0x8100;
/// EtherType of a service VLAN tag (IEEE 802.1ad).
pub const ETHERTYPE_SERVICE_VLAN: u16 = 0x88a8;
/// VLAN identifier in the tag control information, host order.
pub const VLAN_ID_MASK: u16 = 0x0fff;
/// Time to live, or hop limit, of packets to peers.
pub const OUTER_HOP_LIMIT: u8 = 64;
/// IPv6 hop-by-hop options, the only extension header for each router on the way (RFC 8200 section 4.3).
pub const PROTO_HOP_BY_HOP: u8 = 0;
/// Protocol number of ICMP.
pub const PROTO_ICMP: u8 = 1;
/// Protocol number of IPv4 in IP, the next header of tunnel-mode ESP (RFC 4303 section 2.6).
pub const PROTO_IPIP: u8 = 4;
/// Protocol number of TCP.
pub const PROTO_TCP: u8 = 6;
/// Protocol number of UDP.
pub const PROTO_UDP: u8 = 17;
/// Protocol number of IPv6 in IP, the next header of tunnel-mode ESP (RFC 4303 section 2.6).
pub const PROTO_IPV6: u8 = 41;
/// IPv6 fragment header (RFC 8200 section 4.5).
pub const PROTO_IPV6_FRAGMENT: u8 = 44;
/// Protocol number of ICMPv6.
pub const PROTO_ICMPV6: u8 = 58;
/// Protocol number of ESP.
pub const PROTO_ESP: u8 = 50;
/// Next header of ESP dummy packets (RFC 4303 section 2.6).
pub const PROTO_NONE: u8 = 59;
/// UDP port of IKE and UDP-encapsulated ESP after NAT detection (RFC 3948).
pub const NAT_T_PORT: u16 = 4500;
/// The IPv4 "don't fragment" bit and fragment fields, host order.
pub const IPV4_DF: u16 = 0x4000;
/// More-fragments bit and fragment offset of the IPv4 header, host order.
pub const IPV4_FRAGMENT_MASK: u16 = 0x3fff;
/// IPv4 fragment offset.
pub const IPV4_OFFSET_MASK: u16 = 0x1fff;
