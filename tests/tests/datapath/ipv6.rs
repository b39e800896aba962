//! IPv6 inside, outside, and both: as `encap` and `decap` do for IPv4 in IPv4.

use std::net::{IpAddr, SocketAddr};

use gateway_common::{Aead, DropReason, PortRole, port_entropy};
use gateway_user::datapath::{Direction, SaConfig};
use xdp_harness::esp;
use xdp_harness::frames::{Ip, Ip6, checksum, ethernet, pattern};
use xdp_harness::{
    GatewayUnderTest, HOST, HOST_MAC, HOST6, LOCAL, LOCAL6, OTHER_HOST6, PEER_HOST, PEER_HOST6, REMOTE,
    REMOTE6, ROUTER_MAC, TUNNEL_MTU, UNRESOLVED_REMOTE6, VGW0_MAC, Verdict, sa,
};

const AEADS: [Aead; 3] = [Aead::ChaCha20Poly1305, Aead::Aes128Gcm, Aead::Aes256Gcm];

/// An SA whose outer packets are IPv6 or IPv4.
fn sa_of(spi: u32, aead: Aead, outer_v6: bool) -> SaConfig {
    let mut sa = sa(spi, aead);
    if outer_v6 {
        sa.local = SocketAddr::new(LOCAL6.into(), 4500);
        sa.remote = SocketAddr::new(REMOTE6.into(), 4500);
    }
    sa
}

/// A packet of `len` bytes for tunnel 1, and the same packet as its receiver must see it.
fn packet(inner_v6: bool, len: usize, class: u8) -> (Vec<u8>, Vec<u8>) {
    if inner_v6 {
        let ip = Ip6 { class, ..Ip6::new(HOST6, PEER_HOST6) };
        let received = Ip6 { hop_limit: 63, ..ip.clone() };
        return (ip.packet(&pattern(len - 40)), received.packet(&pattern(len - 40)));
    }
    let ip = Ip { tos: class, ..Ip::new(HOST, PEER_HOST) };
    let received = Ip { ttl: 63, ..ip.clone() };
    (ip.packet(&pattern(len - 20)), received.packet(&pattern(len - 20)))
}

/// The other way round: a packet from behind tunnel 1.
fn packet_back(inner_v6: bool, len: usize) -> (Vec<u8>, Vec<u8>) {
    if inner_v6 {
        let ip = Ip6::new(PEER_HOST6, HOST6);
        let received = Ip6 { hop_limit: 63, ..ip.clone() };
        return (ip.packet(&pattern(len - 40)), received.packet(&pattern(len - 40)));
    }
    let ip = Ip::new(PEER_HOST, HOST);
    let received = Ip { ttl: 63, ..ip.clone() };
    (ip.packet(&pattern(len - 20)), received.packet(&pattern(len - 20)))
}

fn next_header(inner_v6: bool) -> u8 {
    if inner_v6 { esp::IPV6 } else { esp::IPV4 }
}

/// Checks Ethernet and outer headers, and returns the ESP packet.
fn esp_of<'a>(frame: &'a [u8], sa: &SaConfig, class: u8) -> &'a [u8] {
    assert_eq!(frame[..6], ROUTER_MAC, "next hop");
    if sa.local.is_ipv4() {
        assert_eq!(frame[12..14], [0x08, 0x00], "EtherType");
        assert_eq!((frame[15], checksum(&frame[14..34])), (class, 0));
        return if sa.udp_encapsulation { &frame[42..] } else { &frame[34..] };
    }
    assert_eq!(frame[12..14], [0x86, 0xdd], "EtherType");
    let ip = &frame[14..54];
    let word = u32::from_be_bytes(ip[..4].try_into().unwrap());
    assert_eq!((word >> 28, word >> 20 & 0xff), (6, u32::from(class)), "version, DSCP and ECN");
    assert_eq!((word & 0xf_ffff) != 0, sa.udp_port_entropy, "flow label");
    assert_eq!(usize::from(u16::from_be_bytes([ip[4], ip[5]])), frame.len() - 54, "payload length");
    assert_eq!(ip[7], 64, "hop limit");
    assert_eq!(ip[8..24], LOCAL6.octets());
    assert_eq!(ip[24..40], REMOTE6.octets());
    if !sa.udp_encapsulation {
        assert_eq!(ip[6], 50);
        return &frame[54..];
    }
    assert_eq!(ip[6], 17);
    let source = u16::from_be_bytes([frame[54], frame[55]]);
    if sa.udp_port_entropy {
        assert!(source >= port_entropy::FIRST);
    } else {
        assert_eq!(source, sa.local.port());
    }
    assert_eq!(frame[56..58], sa.remote.port().to_be_bytes());
    assert_eq!(usize::from(u16::from_be_bytes([frame[58], frame[59]])), frame.len() - 54, "UDP length");
    assert_ne!(frame[60..62], [0, 0], "over IPv6 there is a checksum");
    let pseudo =
        [&ip[8..40], &((frame.len() - 54) as u32).to_be_bytes(), &[0, 0, 0, 17], &frame[54..]].concat();
    assert_eq!(checksum(&pseudo), 0, "UDP checksum");
    &frame[62..]
}

/// A frame with the ESP packet `esp` as it arrives at the gateway.
fn arriving(sa: &SaConfig, esp: &[u8], class: u8) -> Vec<u8> {
    let mut payload = esp.to_vec();
    if sa.udp_encapsulation {
        payload = xdp_harness::frames::udp(sa.remote.port(), sa.local.port(), esp);
    }
    let protocol = if sa.udp_encapsulation { 17 } else { 50 };
    if sa.local.is_ipv4() {
        return ethernet(&Ip { protocol, tos: class, ..Ip::new(REMOTE, LOCAL) }.packet(&payload));
    }
    ethernet(&Ip6 { next_header: protocol, class, ..Ip6::new(REMOTE6, LOCAL6) }.packet(&payload))
}

fn expect_drop(gateway: &GatewayUnderTest, frame: &[u8], tunnel: u32, reason: DropReason) {
    let before = gateway.dropped(tunnel, reason).unwrap();
    let outcome = gateway.run(frame).unwrap();
    assert_eq!(outcome.verdict, Verdict::Drop, "{reason:?}");
    let drops = gateway.counters.drops(tunnel).unwrap();
    assert_eq!(gateway.dropped(tunnel, reason).unwrap(), before + 1, "{reason:?}, but counted {drops:?}");
}

/// The three combinations that have IPv6 in them: inside, outside.
const COMBINATIONS: [(bool, bool); 3] = [(true, false), (false, true), (true, true)];

#[test]
fn every_combination_algorithm_and_encapsulation_is_sealed() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let mut spi = 0x1000;
    for (inner_v6, outer_v6) in COMBINATIONS {
        for aead in AEADS {
            for variant in 0..16 {
                spi += 1;
                let mut sa = sa_of(spi, aead, outer_v6);
                sa.udp_encapsulation = variant & 1 != 0;
                sa.esn = variant & 2 != 0;
                sa.implicit_iv = variant & 4 != 0;
                sa.udp_port_entropy = variant & 9 == 9;
                gateway.send_with(1, &sa).unwrap();
                let first = if inner_v6 { 40 } else { 20 };
                let step = if variant == 3 { 1 } else { 17 };
                // What an IPv6 header leaves of a WAN MTU of 1500 bytes is 20 bytes less.
                let last = TUNNEL_MTU as usize - if outer_v6 { 20 } else { 0 };
                for (count, len) in (first..=last).step_by(step).enumerate() {
                    let class = (len % 256) as u8;
                    let (sent, expected) = packet(inner_v6, len, class);
                    let outcome = gateway.run(&ethernet(&sent)).unwrap();
                    assert_eq!(
                        outcome.verdict,
                        Verdict::Redirect,
                        "{inner_v6} in {outer_v6}, {aead:?} length {len}: {:?} {:?}",
                        gateway.counters.drops(1),
                        gateway.counters.drops(0)
                    );
                    let esp = esp_of(&outcome.frame, &sa, class);
                    let (sequence, inner) = esp::open_as(&sa, 0, esp, next_header(inner_v6));
                    assert_eq!(sequence, count as u64 + 1);
                    assert!(inner == expected, "{aead:?} length {len}: inner packet changed");
                }
                gateway.sas.remove(Direction::Outbound, 1, spi).unwrap();
                gateway.sas.sweep();
            }
        }
    }
}

#[test]
fn every_combination_algorithm_and_encapsulation_is_opened() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let mut spi = 0x2000;
    for (inner_v6, outer_v6) in COMBINATIONS {
        for aead in AEADS {
            for variant in 0..8 {
                spi += 1;
                let mut sa = sa_of(spi, aead, outer_v6);
                sa.udp_encapsulation = variant & 1 != 0;
                sa.esn = variant & 2 != 0;
                sa.implicit_iv = variant & 4 != 0;
                gateway.receive_with(1, &sa).unwrap();
                let first = if inner_v6 { 40 } else { 20 };
                let step = if variant == 3 { 1 } else { 17 };
                for (count, len) in (first..=1420).step_by(step).enumerate() {
                    let (sent, expected) = packet_back(inner_v6, len);
                    let esp = esp::seal(&sa, count as u64 + 1, &sent, 0, next_header(inner_v6));
                    let outcome = gateway.run(&arriving(&sa, &esp, 0)).unwrap();
                    assert_eq!(
                        outcome.verdict,
                        Verdict::Redirect,
                        "length {len}: {:?}",
                        gateway.counters.drops(1)
                    );
                    assert_eq!(outcome.frame[..6], HOST_MAC);
                    assert_eq!(outcome.frame[12..14], if inner_v6 { [0x86, 0xdd] } else { [0x08, 0x00] });
                    assert!(outcome.frame[14..] == expected, "{aead:?} length {len}: inner packet changed");
                }
                gateway.sas.remove(Direction::Inbound, 1, spi).unwrap();
            }
        }
    }
    assert!(gateway.counters.drops(1).unwrap().is_empty());
}

#[test]
fn sources_outside_the_vnet_may_not_use_a_tunnel() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.send_with(1, &sa_of(1, Aead::Aes128Gcm, true)).unwrap();
    let foreign = Ip6::new("fd00:9::1".parse().unwrap(), PEER_HOST6);
    expect_drop(&gateway, &ethernet(&foreign.packet(&[0; 20])), 1, DropReason::SourceOutsideVnet);
}

#[test]
fn a_tunnel_without_an_sa_drops_ipv6_and_asks_for_one() {
    let gateway = GatewayUnderTest::new().unwrap();
    expect_drop(&gateway, &ethernet(&packet(true, 100, 0).0), 1, DropReason::NoOutboundSa);
}

#[test]
fn what_needs_the_kernel_is_passed_up_unchanged() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.send_with(1, &sa_of(1, Aead::Aes128Gcm, true)).unwrap();
    let ip = Ip6::new(HOST6, PEER_HOST6);
    for (packet, why) in [
        (Ip6 { hop_limit: 1, ..ip.clone() }.packet(&[0; 20]), "hop limit"),
        (Ip6 { hop_limit: 0, ..ip.clone() }.packet(&[0; 20]), "no hop left"),
        (Ip6 { next_header: 0, ..ip.clone() }.packet(&[17, 0, 0, 0, 0, 0, 0, 0]), "hop-by-hop options"),
        (ip.packet(&pattern(TUNNEL_MTU as usize - 39)), "larger than the tunnel's MTU"),
    ] {
        let frame = ethernet(&packet);
        let outcome = gateway.run(&frame).unwrap();
        assert_eq!((outcome.verdict, outcome.frame == frame), (Verdict::Pass, true), "{why}");
    }
    // Extension headers that concern only the receiver go through.
    for extension in [43, 44, 60] {
        let packet = Ip6 { next_header: extension, ..ip.clone() }.packet(&[17, 0, 1, 4, 0, 0, 0, 0]);
        assert_eq!(gateway.run(&ethernet(&packet)).unwrap().verdict, Verdict::Redirect, "{extension}");
    }
}

#[test]
fn neighbour_discovery_and_foreign_packets_are_the_kernels() {
    let gateway = GatewayUnderTest::new().unwrap();
    for (source, destination) in [
        ("fe80::1", "ff02::1:ff00:1"),
        ("::", "ff02::1:ff00:1"),
        ("fd00:1::10", "fd00:1::1"),
        ("fd00:1::10", "2001:db8:ffff::1"),
        ("2001:db8:b::1", "2001:db8:a::1"),
    ] {
        let ip = Ip6 { next_header: 58, ..Ip6::new(source.parse().unwrap(), destination.parse().unwrap()) };
        let outcome = gateway.run(&ethernet(&ip.packet(&[135, 0, 0, 0, 0, 0, 0, 0]))).unwrap();
        assert_eq!(outcome.verdict, Verdict::Pass, "{source} to {destination}");
    }
}

#[test]
fn what_only_a_tunnel_may_bring_is_refused_in_the_clear() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let forged = ethernet(&Ip6::new(PEER_HOST6, HOST6).packet(&[0; 20]));
    expect_drop(&gateway, &forged, 1, DropReason::Unprotected);
    gateway.set_roles(PortRole::WAN).unwrap();
    expect_drop(&gateway, &ethernet(&packet(true, 100, 0).0), 1, DropReason::Unprotected);
}

#[test]
fn lengths_that_lie_are_refused() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.send_with(1, &sa_of(1, Aead::Aes128Gcm, true)).unwrap();
    let mut longer = packet(true, 100, 0).0;
    longer[5] += 1;
    expect_drop(&gateway, &ethernet(&longer), 1, DropReason::Malformed);
    // A jumbogram says 0 (RFC 2675) and has a hop-by-hop header, which is the kernel's business.
    let mut jumbo =
        Ip6 { next_header: 0, ..Ip6::new(HOST6, PEER_HOST6) }.packet(&[17, 0, 0xc2, 4, 0, 1, 0, 0]);
    jumbo[4..6].fill(0);
    assert_eq!(gateway.run(&ethernet(&jumbo)).unwrap().verdict, Verdict::Pass);
}

#[test]
fn authentic_packets_with_addresses_of_others_are_refused() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let sa = sa_of(9, Aead::ChaCha20Poly1305, true);
    gateway.receive_with(1, &sa).unwrap();
    for (sequence, (source, destination)) in [
        (OTHER_HOST6, HOST6),
        (HOST6, HOST6),
        (PEER_HOST6, PEER_HOST6),
        (PEER_HOST6, "fd00:9::1".parse().unwrap()),
    ]
    .into_iter()
    .enumerate()
    {
        let inner = Ip6::new(source, destination).packet(&pattern(60));
        let esp = esp::seal(&sa, sequence as u64 + 1, &inner, 0, esp::IPV6);
        expect_drop(&gateway, &arriving(&sa, &esp, 0), 1, DropReason::SelectorMismatch);
    }
}

#[test]
fn content_that_is_not_what_the_trailer_says_is_refused() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let sa = sa_of(9, Aead::ChaCha20Poly1305, false);
    gateway.receive_with(1, &sa).unwrap();
    let v6 = Ip6::new(PEER_HOST6, HOST6).packet(&pattern(60));
    let v4 = Ip::new(PEER_HOST, HOST).packet(&pattern(60));
    let run = |sequence, inner: &[u8], next_header, reason| {
        let esp = esp::seal(&sa, sequence, inner, 0, next_header);
        expect_drop(&gateway, &arriving(&sa, &esp, 0), 1, reason);
    };
    run(1, &v6, esp::IPV4, DropReason::Malformed);
    run(2, &v4, esp::IPV6, DropReason::Malformed);
    run(3, &v6, 59, DropReason::Dummy);
    run(4, &v6, 6, DropReason::BadTrailer);
    let mut longer = v6.clone();
    longer[4] = 1;
    run(5, &longer, esp::IPV6, DropReason::BadTrailer);
    // Traffic-flow confidentiality padding is removed.
    let esp = esp::seal(&sa, 6, &v6, 200, esp::IPV6);
    let outcome = gateway.run(&arriving(&sa, &esp, 0)).unwrap();
    assert_eq!((outcome.verdict, outcome.frame.len()), (Verdict::Redirect, 14 + v6.len()));
}

#[test]
fn an_spi_is_known_for_its_ip_version_only() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let (v6, v4) = (sa_of(9, Aead::Aes128Gcm, true), sa_of(9, Aead::Aes128Gcm, false));
    gateway.receive_with(1, &v6).unwrap();
    let esp = esp::seal(&v6, 1, &packet_back(true, 100).0, 0, esp::IPV6);
    expect_drop(&gateway, &arriving(&v4, &esp, 0), 0, DropReason::UnknownSpi);
    assert_eq!(gateway.run(&arriving(&v6, &esp, 0)).unwrap().verdict, Verdict::Redirect);
    expect_drop(&gateway, &arriving(&v6, &esp, 0), 1, DropReason::Replayed);
}

#[test]
fn extension_headers_before_esp_are_the_kernels() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let sa = sa_of(9, Aead::Aes128Gcm, true);
    gateway.receive_with(1, &sa).unwrap();
    let esp = esp::seal(&sa, 1, &packet_back(true, 100).0, 0, esp::IPV6);
    for extension in [0_u8, 43, 44, 60] {
        let payload = [&[50, 0, 1, 4, 0, 0, 0, 0][..], &esp].concat();
        let outer = Ip6 { next_header: extension, ..Ip6::new(REMOTE6, LOCAL6) };
        assert_eq!(
            gateway.run(&ethernet(&outer.packet(&payload))).unwrap().verdict,
            Verdict::Pass,
            "{extension}"
        );
    }
}

#[test]
fn ike_and_keep_alives_pass() {
    let gateway = GatewayUnderTest::new().unwrap();
    let outer = Ip6::new(REMOTE6, LOCAL6);
    for (port, payload) in [(500, &[1; 40][..]), (4500, &[0; 40][..]), (4500, &[0xff][..])] {
        let frame = ethernet(&outer.packet(&xdp_harness::frames::udp(4500, port, payload)));
        assert_eq!(gateway.run(&frame).unwrap().verdict, Verdict::Pass, "port {port}");
    }
}

#[test]
fn a_peer_whose_next_hop_is_unknown_is_reached_through_the_stack() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let mut sa = sa_of(5, Aead::ChaCha20Poly1305, true);
    sa.remote.set_ip(IpAddr::V6(UNRESOLVED_REMOTE6));
    gateway.send_with(1, &sa).unwrap();
    let outcome = gateway.run(&ethernet(&packet(true, 100, 0).0)).unwrap();
    assert_eq!(outcome.verdict, Verdict::Redirect);
    assert_eq!((&outcome.frame[..6], &outcome.frame[12..14]), (&VGW0_MAC[..], &[0x86, 0xdd][..]));
    sa.remote.set_ip("2001:db8:c::1".parse().unwrap());
    sa.spi = 6;
    gateway.send_with(1, &sa).unwrap();
    expect_drop(&gateway, &ethernet(&packet(true, 100, 0).0), 1, DropReason::NoRoute);
}

#[test]
fn congestion_marks_are_combined() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let sa = sa_of(9, Aead::Aes128Gcm, true);
    gateway.receive_with(1, &sa).unwrap();
    // Inner and outer field on arrival, the field that goes on (RFC 6040 figure 4).
    for (sequence, (inner, outer, expected)) in
        [(2, 3, 3), (2, 1, 1), (1, 2, 1), (0, 1, 0), (3, 0, 3)].into_iter().enumerate()
    {
        let ip = Ip6 { class: 0xb8 | inner, ..Ip6::new(PEER_HOST6, HOST6) };
        let esp = esp::seal(&sa, sequence as u64 + 1, &ip.packet(&pattern(40)), 0, esp::IPV6);
        let outcome = gateway.run(&arriving(&sa, &esp, outer)).unwrap();
        let received = Ip6 { class: 0xb8 | expected, hop_limit: 63, ..ip }.packet(&pattern(40));
        assert_eq!(
            (outcome.verdict, &outcome.frame[14..]),
            (Verdict::Redirect, &received[..]),
            "{inner} in {outer}"
        );
    }
    let ip = Ip6 { class: 0, ..Ip6::new(PEER_HOST6, HOST6) };
    let esp = esp::seal(&sa, 100, &ip.packet(&pattern(40)), 0, esp::IPV6);
    expect_drop(&gateway, &arriving(&sa, &esp, 3), 1, DropReason::EcnDrop);
}
