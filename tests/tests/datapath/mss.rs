//! Announcements of maximum segment sizes: lowered on the way into a tunnel and out of it, the checksum right, all else as it was.

use std::net::IpAddr;

use gateway_common::{Aead, mss};
use gateway_user::datapath::SaConfig;
use xdp_harness::frames::{Ip, Ip6, checksum, ethernet};
use xdp_harness::{
    GatewayUnderTest, HOST, HOST6, LOCAL6, PEER_HOST, PEER_HOST6, REMOTE6, TUNNEL_MTU, Verdict, esp, sa,
};

/// What fits the tunnel.
const FITS4: u16 = TUNNEL_MTU as u16 - 40;
const FITS6: u16 = TUNNEL_MTU as u16 - 60;
const SYN: u8 = 0x02;
const SYN_ACK: u8 = 0x12;

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Direction {
    Out,
    In,
}

const DIRECTIONS: [Direction; 2] = [Direction::Out, Direction::In];

/// A TCP segment with a checksum of zero.
fn segment(flags: u8, options: &[u8], data: &[u8]) -> Vec<u8> {
    let words = 5 + options.len() as u8 / 4;
    assert_eq!(options.len() % 4, 0, "options are whole words");
    let mut segment = vec![0xc3, 0x50, 0x01, 0xbb, 1, 2, 3, 4, 5, 6, 7, 8, words << 4, flags, 0xfa, 0xf0];
    segment.extend([0; 4]);
    segment.extend(options);
    segment.extend(data);
    segment
}

/// The addresses, protocol and length that the checksum covers besides the segment (RFC 9293 section 3.1, RFC 8200 section 8.1).
fn pseudo_header(packet: &[u8], len: usize) -> Vec<u8> {
    let addresses = if packet[0] >> 4 == 6 { &packet[8..40] } else { &packet[12..20] };
    [addresses, &(len as u32).to_be_bytes(), &[0, 0, 0, 6]].concat()
}

/// Zero if the checksum of the segment `tcp_at` bytes into `packet` is right.
fn sum(packet: &[u8], tcp_at: usize) -> u16 {
    let segment = &packet[tcp_at..];
    let mut all = [pseudo_header(packet, segment.len()), segment.to_vec()].concat();
    all.resize(all.len().next_multiple_of(2), 0);
    checksum(&all)
}

fn set_checksum(packet: &mut [u8], tcp_at: usize) {
    packet[tcp_at + 16..tcp_at + 18].fill(0);
    let sum = sum(packet, tcp_at).to_be_bytes();
    packet[tcp_at + 16..tcp_at + 18].copy_from_slice(&sum);
}

/// An IPv4 packet that goes `direction`, with a right TCP checksum.
fn packet4(direction: Direction, segment: &[u8]) -> Vec<u8> {
    let (source, destination) =
        if direction == Direction::Out { (HOST, PEER_HOST) } else { (PEER_HOST, HOST) };
    let mut packet = Ip { protocol: 6, ..Ip::new(source, destination) }.packet(segment);
    set_checksum(&mut packet, 20);
    packet
}

fn packet6(direction: Direction, segment: &[u8]) -> Vec<u8> {
    let (source, destination) =
        if direction == Direction::Out { (HOST6, PEER_HOST6) } else { (PEER_HOST6, HOST6) };
    let mut packet = Ip6 { next_header: 6, ..Ip6::new(source, destination) }.packet(segment);
    set_checksum(&mut packet, 40);
    packet
}

/// A gateway with one SA for each direction of tunnel 1, and a sender for it.
struct Bench {
    gateway: GatewayUnderTest,
    outbound: SaConfig,
    inbound: SaConfig,
    sequence: u64,
}

impl Bench {
    fn new(is_outer_v6: bool) -> Self {
        let mut gateway = GatewayUnderTest::new().unwrap();
        let (mut outbound, inbound) = (sa(7, Aead::Aes128Gcm), sa(8, Aead::Aes128Gcm));
        if is_outer_v6 {
            outbound.local.set_ip(IpAddr::V6(LOCAL6));
            outbound.remote.set_ip(IpAddr::V6(REMOTE6));
        }
        gateway.send_with(1, &outbound).unwrap();
        gateway.receive_with(1, &inbound).unwrap();
        Self { gateway, outbound, inbound, sequence: 0 }
    }

    /// What becomes of an inner packet.
    fn pass(&mut self, direction: Direction, packet: &[u8]) -> Vec<u8> {
        let next_header = if packet[0] >> 4 == 6 { esp::IPV6 } else { esp::IPV4 };
        match direction {
            Direction::Out => {
                let outcome = self.gateway.run(&ethernet(packet)).unwrap();
                assert_eq!(outcome.verdict, Verdict::Redirect);
                let esp_at = if self.outbound.remote.is_ipv6() { 54 } else { 34 };
                esp::open_as(&self.outbound, 0, &outcome.frame[esp_at..], next_header).1
            }
            Direction::In => {
                self.sequence += 1;
                let sealed = esp::seal(&self.inbound, self.sequence, packet, 0, next_header);
                let ip = Ip { protocol: 50, ..Ip::new(xdp_harness::REMOTE, xdp_harness::LOCAL) };
                let outcome = self.gateway.run(&ethernet(&ip.packet(&sealed))).unwrap();
                assert_eq!(outcome.verdict, Verdict::Redirect);
                outcome.frame[14..].to_vec()
            }
        }
    }

    /// Checks that a packet passes with nothing changed in its segment but `changes`, pairs of an offset into the options and the number
    /// that is to stand there, and the checksum.
    fn check(&mut self, direction: Direction, sent: &[u8], changes: &[(usize, u16)]) {
        let (tcp_at, mut expected) =
            if sent[0] >> 4 == 6 { (40, sent.to_vec()) } else { (20, sent.to_vec()) };
        for (at, value) in changes {
            expected[tcp_at + 20 + at..][..2].copy_from_slice(&value.to_be_bytes());
        }
        set_checksum(&mut expected, tcp_at);
        let got = self.pass(direction, sent);
        assert_eq!(sum(&got, tcp_at), 0, "{direction:?}: checksum");
        assert_eq!(got[tcp_at..], expected[tcp_at..], "{direction:?}: segment");
    }
}

fn mss(value: u16) -> [u8; 4] {
    let [high, low] = value.to_be_bytes();
    [2, 4, high, low]
}

#[test]
fn what_is_larger_than_fits_is_lowered_in_both_directions_and_families() {
    for is_outer_v6 in [false, true] {
        let mut bench = Bench::new(is_outer_v6);
        for direction in DIRECTIONS {
            for flags in [SYN, SYN_ACK, SYN | 0xc0] {
                for value in [1, 536, 1377, 1378, 1379, 1397, 1398, 1399, 1460, 8960, 0xffff] {
                    let segment = segment(flags, &mss(value), &[]);
                    bench.check(direction, &packet4(direction, &segment), &[(2, value.min(FITS4))]);
                    bench.check(direction, &packet6(direction, &segment), &[(2, value.min(FITS6))]);
                }
            }
        }
    }
}

#[test]
fn the_option_is_found_wherever_it_stands() {
    let mut bench = Bench::new(false);
    let others: [&[u8]; 6] =
        [&[], &[1], &[4, 2], &[3, 3, 7], &[8, 10, 1, 2, 3, 4, 5, 6, 7, 8], &[254, 36, 0xff, 0x02]];
    for direction in DIRECTIONS {
        for other in others {
            // An option that says that it is longer is as long as that.
            let len = other.get(1).map_or(other.len(), |len| usize::from(*len).max(other.len()));
            for filler in 0..=36 - len {
                let mut options = vec![1; filler];
                options.extend(other);
                options.resize(filler + len, 4);
                options.extend(mss(1460));
                options.resize(options.len().next_multiple_of(4), 0);
                let at = filler + len + 2;
                let segment = segment(SYN, &options, b"data");
                bench.check(direction, &packet4(direction, &segment), &[(at, FITS4)]);
                bench.check(direction, &packet6(direction, &segment), &[(at, FITS6)]);
            }
        }
        let twice = [&[1][..], &mss(1460), &mss(9000), &mss(1000), &[0, 0, 0]].concat();
        let segment = segment(SYN, &twice, &[]);
        bench.check(direction, &packet4(direction, &segment), &[(3, FITS4), (7, FITS4)]);
    }
}

#[test]
fn what_is_no_announcement_stays() {
    let mut bench = Bench::new(false);
    let layouts: [&[u8]; 9] = [
        // The list has ended.
        &[0, 1, 1, 1, 2, 4, 5, 0xb4],
        // Lengths that are none.
        &[2, 3, 5, 0xb4, 1, 1, 1, 1],
        &[2, 5, 5, 0xb4, 1, 1, 1, 1],
        &[3, 0, 2, 4, 5, 0xb4, 1, 1],
        &[3, 1, 2, 4, 5, 0xb4, 1, 1],
        // Longer than the options.
        &[3, 40, 1, 1, 2, 4, 5, 0xb4],
        &[1, 1, 2, 4],
        &[1, 2, 4, 5],
        // Inside another option.
        &[254, 8, 2, 4, 5, 0xb4, 1, 1],
    ];
    for direction in DIRECTIONS {
        for options in layouts {
            let segment = segment(SYN, options, &mss(1460));
            bench.check(direction, &packet4(direction, &segment), &[]);
            bench.check(direction, &packet6(direction, &segment), &[]);
        }
        // No options, and options in the data.
        bench.check(direction, &packet4(direction, &segment(SYN, &[], &mss(1460))), &[]);
        // Not the first segment of either end.
        for flags in [0x10, 0x11, 0x14, 0x18, 0xd0] {
            bench.check(direction, &packet4(direction, &segment(flags, &mss(1460), &[])), &[]);
        }
        // A header that ends behind the packet.
        let mut longer = packet4(direction, &segment(SYN, &mss(1460), &[]));
        longer[32] = 0x70;
        set_checksum(&mut longer, 20);
        bench.check(direction, &longer, &[]);
    }
}

#[test]
fn fragments_and_other_protocols_stay() {
    let mut bench = Bench::new(false);
    for direction in DIRECTIONS {
        let segment = segment(SYN, &mss(1460), &[]);
        for (fragment, protocol) in [(0x2000, 6), (0x0001, 6), (0x4000, 17)] {
            let mut ip = Ip::new(HOST, PEER_HOST);
            if direction == Direction::In {
                (ip.source, ip.destination) = (PEER_HOST, HOST);
            }
            let sent = Ip { fragment, protocol, ..ip }.packet(&segment);
            assert_eq!(bench.pass(direction, &sent)[20..], segment, "{direction:?}");
        }
    }
}

#[test]
fn the_gateway_may_set_a_lower_limit_or_none() {
    let mut bench = Bench::new(false);
    for (limit, expected4, expected6) in
        [(1200, 1200, 1200), (mss::LEAVE, 1460, 1460), (mss::FIT, FITS4, FITS6), (1390, 1390, FITS6)]
    {
        bench.gateway.set_mss_limit(limit).unwrap();
        for direction in DIRECTIONS {
            let segment = segment(SYN, &mss(1460), &[]);
            bench.check(direction, &packet4(direction, &segment), &[(2, expected4)]);
            bench.check(direction, &packet6(direction, &segment), &[(2, expected6)]);
        }
    }
}
