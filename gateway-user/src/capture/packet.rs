//! Copied frames, made presentable.

use std::collections::BTreeMap;

use gateway_common::wire::{ETH_LEN, ETHERTYPE_IPV4, ETHERTYPE_IPV6, NAT_T_PORT, PROTO_ESP, PROTO_UDP};
use gateway_common::{CapturePoint, DropReason};
use ipnet::IpNet;

use super::headers::Headers;
use crate::datapath::{CapturedFrame, WanAddresses};

/// Which packets: those of the VNets, or those between the gateways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Packets of the VNets.
    Inner,
    /// Packets between the gateways.
    Outer,
}

/// Seen from this gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the peer.
    Inbound,
    /// To the peer.
    Outbound,
}

/// A packet of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Time in ns since 1970-01-01 00:00 UTC.
    pub time_ns: u64,
    /// Side.
    pub side: Side,
    /// Direction.
    pub direction: Direction,
    /// An Ethernet frame, perhaps cut off behind.
    pub frame: Vec<u8>,
    /// Length of the whole frame in bytes.
    pub len: u32,
    /// For a packet that was dropped: the reason, then what is known of the circumstances.
    pub comment: Option<String>,
}

/// What tells packets apart.
#[derive(Clone, Debug)]
pub struct Context {
    /// Outer addresses of the gateway.
    pub wan_addresses: WanAddresses,
    /// Address space of the VNet.
    pub local_prefixes: Vec<IpNet>,
    /// Names of the connections by tunnel number.
    pub names: BTreeMap<u32, String>,
}

impl Context {
    /// The packet in a copied frame; `None` if the datapath that made it is another version.
    pub fn packet(&self, copied: CapturedFrame) -> Option<Packet> {
        let CapturedFrame { unix_ns, record, frame } = copied;
        let point = CapturePoint::from_number(record.point)?;
        let (side, direction) = match point {
            CapturePoint::InnerOutbound => (Side::Inner, Direction::Outbound),
            CapturePoint::OuterOutbound | CapturePoint::DroppedSealing | CapturePoint::DroppedSealed => {
                (Side::Outer, Direction::Outbound)
            }
            CapturePoint::OuterInbound | CapturePoint::DroppedOpening => (Side::Outer, Direction::Inbound),
            CapturePoint::InnerInbound | CapturePoint::DroppedOpened | CapturePoint::DroppedReturned => {
                (Side::Inner, Direction::Inbound)
            }
            CapturePoint::DroppedOnArrival => self.arrived(&frame),
        };
        let (frame, len) = if record.offset == 0 {
            (frame, record.len)
        } else {
            unwrap(&frame, record.len, record.offset as usize)
        };
        let comment = comment(point, record.reason).map(|text| {
            self.names.get(&record.tunnel).map_or(text.clone(), |name| format!("{text}, connection {name}"))
        });
        Some(Packet { time_ns: unix_ns, side, direction, frame, len, comment })
    }

    /// A frame that was dropped before anything was made of it.
    fn arrived(&self, frame: &[u8]) -> (Side, Direction) {
        let Some(headers) = Headers::of_frame(frame) else { return (Side::Inner, Direction::Outbound) };
        let is_esp = headers.protocol == PROTO_ESP
            || headers.protocol == PROTO_UDP && headers.ports.is_some_and(|ports| ports[1] == NAT_T_PORT);
        if is_esp && self.wan_addresses.iter().any(|own| own == headers.destination) {
            return (Side::Outer, Direction::Inbound);
        }
        let is_local = self.local_prefixes.iter().any(|net| net.contains(&headers.destination));
        (Side::Inner, if is_local { Direction::Inbound } else { Direction::Outbound })
    }
}

/// The packet of a VNet that starts at `offset` in an opened frame of `len` bytes, as a frame with an Ethernet header of zeros.
fn unwrap(frame: &[u8], len: u32, offset: usize) -> (Vec<u8>, u32) {
    let packet = frame.get(offset..).unwrap_or_default();
    let is_ipv6 = packet.first().is_some_and(|byte| byte >> 4 == 6);
    let ethertype = if is_ipv6 { ETHERTYPE_IPV6 } else { ETHERTYPE_IPV4 };
    let mut whole_len = (len as usize).saturating_sub(offset);
    // Padding and trailer follow, unless the length lies.
    if let Some(headers) = Headers::of_packet(packet) {
        whole_len = whole_len.min(headers.len);
    }
    let mut unwrapped = vec![0; ETH_LEN - 2];
    unwrapped.extend(ethertype.to_be_bytes());
    unwrapped.extend(&packet[..packet.len().min(whole_len)]);
    (unwrapped, (ETH_LEN + whole_len) as u32)
}

/// The name of the reason, under which it is counted, and in which stage the packet was.
fn comment(point: CapturePoint, reason: u32) -> Option<String> {
    let stage = match point {
        CapturePoint::InnerOutbound
        | CapturePoint::OuterOutbound
        | CapturePoint::OuterInbound
        | CapturePoint::InnerInbound => return None,
        CapturePoint::DroppedOnArrival => "dropped as it arrived",
        CapturePoint::DroppedSealing => "dropped before it was sealed",
        CapturePoint::DroppedOpening => "dropped before it was opened",
        CapturePoint::DroppedOpened => "dropped after it was opened",
        CapturePoint::DroppedSealed => "dropped after it was sealed",
        CapturePoint::DroppedReturned => "dropped after a worker opened it",
    };
    let name = DropReason::ALL.get(reason as usize).map_or("unknown", |reason| reason.name());
    Some(format!("{name}: {stage}"))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use gateway_common::CaptureRecord;

    use super::super::headers::tests::{frame, udp};
    use super::*;

    fn context() -> Context {
        Context {
            wan_addresses: WanAddresses {
                v4: Some([192, 0, 2, 1].into()),
                v6: Some("2001:db8::1".parse().unwrap()),
            },
            local_prefixes: ["10.1.0.0/16", "fd00:1::/32"].map(|prefix| prefix.parse().unwrap()).to_vec(),
            names: BTreeMap::from([(1, "VNet1-VNet2".to_owned())]),
        }
    }

    fn packet(point: CapturePoint, tunnel: u32, offset: u32, frame: Vec<u8>) -> Packet {
        let len = frame.len() as u32;
        let reason = DropReason::SelectorMismatch as u32;
        let record =
            CaptureRecord { time_ns: 0, tunnel, point: point as u32, reason, len, captured: len, offset };
        context().packet(CapturedFrame { unix_ns: 7, record, frame }).unwrap()
    }

    #[test]
    fn points_tell_side_and_direction() {
        let plain = frame(&[], &udp(0));
        for (point, side, direction) in [
            (CapturePoint::InnerOutbound, Side::Inner, Direction::Outbound),
            (CapturePoint::OuterOutbound, Side::Outer, Direction::Outbound),
            (CapturePoint::OuterInbound, Side::Outer, Direction::Inbound),
            (CapturePoint::InnerInbound, Side::Inner, Direction::Inbound),
        ] {
            let packet = packet(point, 1, 0, plain.clone());
            assert_eq!((packet.side, packet.direction, packet.comment), (side, direction, None));
            assert_eq!((packet.frame, packet.len, packet.time_ns), (plain.clone(), 46, 7));
        }
    }

    #[test]
    fn dropped_packets_say_why_and_where() {
        let dropped = packet(CapturePoint::DroppedOpening, 1, 0, frame(&[], &udp(0)));
        assert_eq!(
            dropped.comment.as_deref(),
            Some("selector_mismatch: dropped before it was opened, connection VNet1-VNet2")
        );
        let nobodys = packet(CapturePoint::DroppedOnArrival, 0, 0, frame(&[], &udp(0)));
        assert_eq!(nobodys.comment.as_deref(), Some("selector_mismatch: dropped as it arrived"));
    }

    #[test]
    fn frames_that_arrived_are_told_apart_by_their_addresses() {
        let arrived = |destination: [u8; 4], protocol: u8| {
            let mut packet = udp(0);
            packet[16..20].copy_from_slice(&destination);
            packet[9] = protocol;
            let packet = self::packet(CapturePoint::DroppedOnArrival, 0, 0, frame(&[], &packet));
            (packet.side, packet.direction)
        };
        assert_eq!(arrived([192, 0, 2, 1], PROTO_ESP), (Side::Outer, Direction::Inbound));
        assert_eq!(arrived([192, 0, 2, 1], 1), (Side::Inner, Direction::Outbound));
        assert_eq!(arrived([10, 1, 0, 7], 1), (Side::Inner, Direction::Inbound));
        assert_eq!(arrived([10, 2, 0, 7], 1), (Side::Inner, Direction::Outbound));

        let arrived = |destination: &str, protocol: u8| {
            let mut frame =
                [&[2; 12][..], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, protocol, 64], &[9; 16]].concat();
            frame.extend(destination.parse::<Ipv6Addr>().unwrap().octets());
            let packet = packet(CapturePoint::DroppedOnArrival, 0, 0, frame);
            (packet.side, packet.direction)
        };
        assert_eq!(arrived("2001:db8::1", PROTO_ESP), (Side::Outer, Direction::Inbound));
        assert_eq!(arrived("2001:db8::2", PROTO_ESP), (Side::Inner, Direction::Outbound));
        assert_eq!(arrived("fd00:1::7", 58), (Side::Inner, Direction::Inbound));
        assert_eq!(arrived("fd00:2::7", 58), (Side::Inner, Direction::Outbound));
    }

    #[test]
    fn an_opened_frame_is_shown_as_the_packet_inside() {
        // 42 bytes of outer headers, then the packet, then padding, trailer and ICV.
        let sealed = [&[9; 42][..], &udp(0), &[1, 2, 2, 4], &[7; 16]].concat();
        let opened = packet(CapturePoint::DroppedOpened, 1, 42, sealed.clone());
        assert_eq!(opened.frame, [&[0; 12][..], &[0x08, 0x00], &udp(0)].concat());
        assert_eq!((opened.len, opened.side), (46, Side::Inner));
        let beyond = packet(CapturePoint::DroppedOpened, 1, 4000, sealed);
        assert_eq!((beyond.frame.len(), beyond.len), (14, 14));
    }
}
