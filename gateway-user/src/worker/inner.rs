//! What an opened ESP payload holds.

use gateway_common::limits::FLOWS;
use gateway_common::wire::{ESP_TRAILER_LEN, PROTO_IPV6};
use gateway_common::{FlowKey, Ip, Ipv4, Ipv6, ecn, mss, trailer};

use super::plain;

/// The header of an inner packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Header {
    V4(Ipv4),
    V6(Ipv6),
}

/// An inner packet that a worker may forward if it knows the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inner {
    /// Its header, as it arrived.
    pub(super) header: Header,
    /// Its length in bytes.
    pub(super) len: u32,
    /// ECN field for the way on.
    pub(super) ecn: u8,
}

impl Header {
    /// Length in bytes.
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::V4(_) => Ipv4::LEN,
            Self::V6(_) => Ipv6::LEN,
        }
    }

    /// EtherType of frames with such a packet, host order.
    pub(super) const fn ethertype(&self) -> u16 {
        match self {
            Self::V4(_) => Ipv4::ETHERTYPE,
            Self::V6(_) => Ipv6::ETHERTYPE,
        }
    }

    /// Writes the header to the front of `bytes`; false, and nothing is written, if there is no room.
    #[inline]
    pub(super) fn write(&self, bytes: &mut [u8]) -> bool {
        match self {
            Self::V4(ip) => plain::write(bytes, ip),
            Self::V6(ip) => plain::write(bytes, ip),
        }
    }
}

impl Inner {
    /// Looks at a decrypted payload, trailer included, whose outer header had `outer_ecn`. `None` for everything that is the
    /// XDP program's business: what is to be dropped or reported, what needs the kernel (TTL, options), and segments whose announcement may have to be lowered.
    #[inline]
    pub(super) fn parse(payload: &[u8], outer_ecn: u32) -> Option<Self> {
        let [_, next_header] = *payload.last_chunk::<ESP_TRAILER_LEN>()?;
        if next_header == PROTO_IPV6 {
            parse(payload, outer_ecn, Header::V6)
        } else {
            parse(payload, outer_ecn, Header::V4)
        }
    }

    /// The header as it goes on.
    #[inline]
    pub(super) fn forwarded(&self) -> Header {
        match self.header {
            Header::V4(ip) => Header::V4(forwarded(ip, self.ecn)),
            Header::V6(ip) => Header::V6(forwarded(ip, self.ecn)),
        }
    }

    /// Key and slot in map `FLOWS` of packets from `tunnel` that arrived at `ingress_ifindex`.
    #[inline]
    pub(super) fn flow(&self, tunnel: u32, ingress_ifindex: u32) -> (FlowKey, u32) {
        let key = match &self.header {
            Header::V4(ip) => FlowKey::inner(tunnel, ingress_ifindex, ip),
            Header::V6(ip) => FlowKey::inner(tunnel, ingress_ifindex, ip),
        };
        (key, key.slot(FLOWS))
    }
}

#[inline]
fn parse<I: Ip>(payload: &[u8], outer_ecn: u32, header: impl FnOnce(I) -> Header) -> Option<Inner> {
    let [padding, next_header] = *payload.last_chunk::<ESP_TRAILER_LEN>()?;
    trailer::check_next_header::<I>(next_header).ok()?;
    let ip: I = plain::read(payload)?;
    let len = trailer::inner_len(&ip, padding, payload.len() as u32).ok()?;
    if ip.concerns_routers() || ip.hop_limit() <= 1 {
        return None;
    }
    let flags = payload.get(I::LEN + mss::FLAGS_AT).copied().unwrap_or(0);
    if mss::precedes_segment(&ip) && flags & mss::SYN != 0 {
        return None;
    }
    if ecn::is_alarming(ip.traffic_class(), outer_ecn as u8) {
        return None;
    }
    let ecn = ecn::decapsulate(ip.traffic_class(), outer_ecn as u8)?;
    Some(Inner { header: header(ip), len, ecn })
}

#[inline]
fn forwarded<I: Ip>(mut ip: I, ecn: u8) -> I {
    let class = ip.traffic_class();
    if class & 3 != ecn {
        ip.set_traffic_class(class & 0xfc | ecn);
    }
    ip.decrement_hop_limit();
    ip
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(ip: Ipv4, padding: u8, next_header: u8) -> Vec<u8> {
        let mut bytes = vec![0; usize::from(u16::from_be_bytes(ip.total_len))];
        assert!(plain::write(&mut bytes, &ip));
        bytes.extend((0..padding).map(|byte| byte + 1));
        bytes.extend([padding, next_header]);
        bytes
    }

    fn payload6(ip: Ipv6, padding: u8, next_header: u8) -> Vec<u8> {
        let mut bytes = vec![0; ip.total_len() as usize];
        assert!(plain::write(&mut bytes, &ip));
        bytes.extend((0..padding).map(|byte| byte + 1));
        bytes.extend([padding, next_header]);
        bytes
    }

    fn ip6() -> Ipv6 {
        <Ipv6 as Ip>::outer(0b10, 60, 17, [0x20; 16], [0x30; 16])
    }

    fn ip() -> Ipv4 {
        Ipv4::outer(0b10, 50, 17, [10, 2, 0, 1], [10, 1, 0, 1])
    }

    #[test]
    fn ordinary_packets_are_taken() {
        let inner = Inner::parse(&payload(ip(), 0, 4), 0).unwrap();
        assert_eq!((inner.len, inner.ecn, inner.header), (50, 0b10, Header::V4(ip())));
        let mut reference = ip();
        reference.decrement_ttl();
        assert_eq!((inner.forwarded(), reference.ttl, reference.tos), (Header::V4(reference), 63, 0b10));
        let (key, slot) = inner.flow(5, 3);
        assert_eq!(
            (key.tunnel, key.source.to_ne_bytes(), key.destination.to_ne_bytes()),
            (5, [10, 2, 0, 1], [10, 1, 0, 1])
        );
        assert!(slot < FLOWS);
    }

    #[test]
    fn congestion_marks_are_carried_over() {
        let inner = Inner::parse(&payload(ip(), 2, 4), 0b11).unwrap();
        let mut reference = ip();
        reference.set_tos(0b11);
        reference.decrement_ttl();
        assert_eq!(inner.forwarded(), Header::V4(reference), "the checksum is right");
    }

    #[test]
    fn ipv6_packets_are_taken() {
        let inner = Inner::parse(&payload6(ip6(), 2, 41), 0b11).unwrap();
        assert_eq!((inner.len, inner.ecn, inner.header), (60, 0b11, Header::V6(ip6())));
        let mut reference = ip6();
        reference.set_traffic_class(0b11);
        reference.hop_limit -= 1;
        assert_eq!(inner.forwarded(), Header::V6(reference));
        assert!(inner.flow(5, 3).0.is_v6());
    }

    #[test]
    fn ipv6_packets_that_need_the_kernel_are_left_to_the_xdp_program() {
        assert_eq!(Inner::parse(&payload6(Ipv6 { hop_limit: 1, ..ip6() }, 0, 41), 0), None);
        assert_eq!(
            Inner::parse(&payload6(Ipv6 { next_header: 0, ..ip6() }, 0, 41), 0),
            None,
            "hop-by-hop options"
        );
        assert_eq!(Inner::parse(&payload6(ip6(), 0, 4), 0), None, "announced as IPv4");
        for len in 0..62 {
            assert_eq!(Inner::parse(&payload6(ip6(), 0, 41)[..len], 0), None, "{len} bytes");
        }
    }

    /// Figure 4 of RFC 6040 in the order of the numbers: Not-ECT, ECT(1), ECT(0), CE; `None` for what the XDP program has to report.
    #[test]
    fn every_combination_of_ecn_fields_is_done_or_left_to_the_xdp_program() {
        let figure = [
            [Some(0b00), None, None, None],
            [Some(0b01), Some(0b01), Some(0b01), Some(0b11)],
            [Some(0b10), Some(0b01), Some(0b10), Some(0b11)],
            [Some(0b11), None, Some(0b11), Some(0b11)],
        ];
        for dscp in [0, 46 << 2, 63 << 2] {
            for (inner, row) in figure.iter().enumerate() {
                for (outer, expected) in row.iter().enumerate() {
                    let arrived = Ipv4 { tos: dscp | inner as u8, ..ip() };
                    let parsed = Inner::parse(&payload(arrived, 0, 4), outer as u32);
                    let forwarded = parsed.map(|parsed| match parsed.forwarded() {
                        Header::V4(ip) => ip.tos,
                        Header::V6(ip) => panic!("{ip:?} was IPv4"),
                    });
                    assert_eq!(forwarded, expected.map(|ecn| dscp | ecn), "inner {inner}, outer {outer}");
                }
            }
        }
    }

    #[test]
    fn segments_that_may_announce_their_size_are_left_to_the_xdp_program() {
        for flags in [0x02, 0x12, 0xc2, 0x10, 0x11, 0x18] {
            let is_taken = flags & 0x02 == 0;
            let mut bytes = payload(Ipv4::outer(0, 60, 6, [10, 2, 0, 1], [10, 1, 0, 1]), 0, 4);
            bytes[20 + 13] = flags;
            assert_eq!(Inner::parse(&bytes, 0).is_some(), is_taken, "flags {flags:#x}");
            let mut bytes = payload6(Ipv6 { next_header: 6, ..ip6() }, 0, 41);
            bytes[40 + 13] = flags;
            assert_eq!(Inner::parse(&bytes, 0).is_some(), is_taken, "flags {flags:#x}");
        }
    }

    #[test]
    fn everything_else_is_left_to_the_xdp_program() {
        assert_eq!(Inner::parse(&payload(ip(), 0, 59), 0), None, "a dummy packet");
        assert_eq!(Inner::parse(&payload(ip(), 0, 41), 0), None, "another protocol");
        assert_eq!(Inner::parse(&payload(Ipv4 { ttl: 1, ..ip() }, 0, 4), 0), None, "TTL 1");
        assert_eq!(Inner::parse(&payload(Ipv4 { version_ihl: 0x46, ..ip() }, 0, 4), 0), None, "options");
        assert_eq!(Inner::parse(&payload(Ipv4 { version_ihl: 0x65, ..ip() }, 0, 4), 0), None, "IPv6");
        let not_capable = Ipv4 { tos: 0, ..ip() };
        assert_eq!(
            Inner::parse(&payload(not_capable, 0, 4), 0b11),
            None,
            "congestion it does not understand"
        );
        for outer in [0b01, 0b10] {
            assert_eq!(Inner::parse(&payload(not_capable, 0, 4), outer), None, "to be reported");
        }
        let mut lying = payload(ip(), 0, 4);
        lying[2..4].copy_from_slice(&51_u16.to_be_bytes());
        assert_eq!(Inner::parse(&lying, 0), None, "longer than the payload");
        for len in 0..22 {
            assert_eq!(Inner::parse(&payload(ip(), 0, 4)[..len], 0), None, "{len} bytes");
        }
    }
}
