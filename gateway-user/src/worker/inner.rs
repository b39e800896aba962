//! What an opened ESP payload holds.

use gateway_common::limits::FLOWS;
use gateway_common::wire::{ESP_TRAILER_LEN, IPV4_LEN};
use gateway_common::{FlowKey, Ipv4, ecn, trailer};

use super::plain;

/// An inner packet that a worker may forward if it knows the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inner {
    /// Its header, as it arrived.
    pub(super) ip: Ipv4,
    /// Its length in bytes.
    pub(super) len: u32,
    /// ECN field for the way on.
    pub(super) ecn: u8,
}

impl Inner {
    /// Looks at a decrypted payload, trailer included, whose outer header had `outer_ecn`. `None` for everything that is the
    /// XDP program's business: what is to be dropped, and what needs the kernel (TTL, options).
    #[inline]
    pub(super) fn parse(payload: &[u8], outer_ecn: u32) -> Option<Self> {
        let [padding, next_header] = *payload.last_chunk::<ESP_TRAILER_LEN>()?;
        trailer::check_next_header(next_header).ok()?;
        let ip: Ipv4 = plain::read(payload)?;
        let len = trailer::inner_len(&ip, padding, payload.len() as u32).ok()?;
        if ip.header_len() as usize != IPV4_LEN || ip.ttl <= 1 {
            return None;
        }
        let ecn = ecn::decapsulate(ip.tos & 3, outer_ecn as u8)?;
        Some(Self { ip, len, ecn })
    }

    /// The header as it goes on.
    #[inline]
    pub(super) fn forwarded(&self) -> Ipv4 {
        let mut ip = self.ip;
        if ip.tos & 3 != self.ecn {
            ip.set_tos(ip.tos & 0xfc | self.ecn);
        }
        ip.decrement_ttl();
        ip
    }

    /// Key and slot in map `FLOWS` of packets from `tunnel` that arrived at `ingress_ifindex`.
    #[inline]
    pub(super) fn flow(&self, tunnel: u32, ingress_ifindex: u32) -> (FlowKey, u32) {
        let key = FlowKey::inner(tunnel, ingress_ifindex, &self.ip);
        (key, key.slot(FLOWS))
    }
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

    fn ip() -> Ipv4 {
        Ipv4::outer(0b10, 50, 17, [10, 2, 0, 1], [10, 1, 0, 1])
    }

    #[test]
    fn ordinary_packets_are_taken() {
        let inner = Inner::parse(&payload(ip(), 0, 4), 0).unwrap();
        assert_eq!((inner.len, inner.ecn, inner.ip), (50, 0b10, ip()));
        let forwarded = inner.forwarded();
        assert_eq!((forwarded.ttl, forwarded.tos), (63, 0b10));
        let (key, slot) = inner.flow(5, 3);
        assert_eq!((key.tunnel, key.source, key.destination), (5, [10, 2, 0, 1], [10, 1, 0, 1]));
        assert!(slot < FLOWS);
    }

    #[test]
    fn congestion_marks_are_carried_over() {
        let inner = Inner::parse(&payload(ip(), 2, 4), 0b11).unwrap();
        let forwarded = inner.forwarded();
        assert_eq!(forwarded.tos, 0b11);
        let mut reference = ip();
        reference.set_tos(0b11);
        reference.decrement_ttl();
        assert_eq!(forwarded, reference, "the checksum is right");
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
        let mut lying = payload(ip(), 0, 4);
        lying[2..4].copy_from_slice(&51_u16.to_be_bytes());
        assert_eq!(Inner::parse(&lying, 0), None, "longer than the payload");
        for len in 0..22 {
            assert_eq!(Inner::parse(&payload(ip(), 0, 4)[..len], 0), None, "{len} bytes");
        }
    }
}
