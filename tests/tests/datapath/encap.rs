//! Encapsulation: what leaves the gateway is ESP that an independent implementation opens.

use std::net::IpAddr;

use gateway_common::{Aead, Budget, DropReason, PortRole};
use gateway_user::datapath::{BandwidthLimit, SaConfig};
use xdp_harness::{
    GatewayUnderTest, HOST, LOCAL, OTHER_HOST, PEER_HOST, REMOTE, ROUTER_MAC, TUNNEL_MTU, UNRESOLVED_REMOTE,
    VGW0_MAC, Verdict, sa,
};

use xdp_harness::esp;
use xdp_harness::frames::{Ip, checksum, ethernet, pattern};

const AEADS: [Aead; 3] = [Aead::ChaCha20Poly1305, Aead::Aes128Gcm, Aead::Aes256Gcm];

/// Checks Ethernet and outer headers, and returns the ESP packet.
fn esp_of<'a>(frame: &'a [u8], sa: &SaConfig, tos: u8) -> &'a [u8] {
    assert_eq!(frame[..6], ROUTER_MAC, "next hop");
    assert_eq!(frame[12..14], [0x08, 0x00], "EtherType");
    let ip = &frame[14..34];
    assert_eq!(ip[0], 0x45);
    assert_eq!(ip[1], tos, "DSCP and ECN are copied");
    assert_eq!(usize::from(u16::from_be_bytes([ip[2], ip[3]])), frame.len() - 14, "outer length");
    assert_eq!(ip[6..8], [0x40, 0], "DF");
    assert_eq!(checksum(ip), 0, "outer checksum");
    assert_eq!(ip[12..16], LOCAL.octets());
    assert_eq!(ip[16..20], REMOTE.octets());
    if !sa.udp_encapsulation {
        assert_eq!(ip[9], 50);
        return &frame[34..];
    }
    assert_eq!(ip[9], 17);
    assert_eq!(frame[34..36], sa.local.port().to_be_bytes());
    assert_eq!(frame[36..38], sa.remote.port().to_be_bytes());
    assert_eq!(usize::from(u16::from_be_bytes([frame[38], frame[39]])), frame.len() - 34, "UDP length");
    assert_eq!(frame[40..42], [0, 0], "UDP checksum");
    &frame[42..]
}

/// A packet for tunnel 1 and the same packet as its receiver must see it.
fn packet(len: usize, tos: u8) -> (Vec<u8>, Vec<u8>) {
    let mut ip = Ip::new(HOST, PEER_HOST);
    ip.tos = tos;
    let sent = ip.packet(&pattern(len - 20));
    ip.ttl -= 1;
    (sent, ip.packet(&pattern(len - 20)))
}

#[test]
fn every_algorithm_and_encapsulation_at_every_length() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let mut spi = 0x1000;
    for aead in AEADS {
        for variant in 0..8 {
            spi += 1;
            let mut sa = sa(spi, aead);
            sa.udp_encapsulation = variant & 1 != 0;
            sa.esn = variant & 2 != 0;
            sa.implicit_iv = variant & 4 != 0;
            sa.local.set_port(4500);
            sa.remote.set_port(40_000);
            let index = gateway.send_with(1, &sa).unwrap();
            let step = if sa.esn { 1 } else { 13 };
            for (count, len) in (20..=TUNNEL_MTU as usize).step_by(step).enumerate() {
                let tos = (len % 256) as u8;
                let (sent, expected) = packet(len, tos);
                let outcome = gateway.run(&ethernet(&sent)).unwrap();
                assert_eq!(outcome.verdict, Verdict::Redirect, "{aead:?} length {len}");
                let (sequence, inner) = esp::open(&sa, 0, esp_of(&outcome.frame, &sa, tos));
                assert_eq!(sequence, count as u64 + 1, "sequence numbers count up from 1");
                assert!(inner == expected, "{aead:?} length {len}: inner packet changed");
            }
            let entry = gateway.read_sa(index).unwrap();
            assert_eq!(entry.packets, entry.sequence);
            gateway.sas.remove(gateway_user::datapath::Direction::Outbound, 1, spi).unwrap();
        }
    }
    let counters = gateway.counters.traffic(1).unwrap();
    assert!(counters.out_packets > 8000 && counters.in_packets == 0, "{counters:?}");
}

#[test]
fn extended_sequence_numbers_pass_the_32_bit_border() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    for implicit_iv in [false, true] {
        let mut sa = sa(7 + u32::from(implicit_iv), Aead::ChaCha20Poly1305);
        sa.implicit_iv = implicit_iv;
        let index = gateway.send_with(1, &sa).unwrap();
        gateway.edit_sa(index, |entry| entry.sequence = u64::from(u32::MAX) - 1).unwrap();
        let (sent, expected) = packet(100, 0);
        for high in [0, 1, 1] {
            let outcome = gateway.run(&ethernet(&sent)).unwrap();
            let (_, inner) = esp::open(&sa, high, esp_of(&outcome.frame, &sa, 0));
            assert_eq!(inner, expected);
        }
    }
}

#[test]
fn a_32_bit_sequence_number_is_never_reused() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    for implicit_iv in [false, true] {
        let mut sa = sa(7 + u32::from(implicit_iv), Aead::ChaCha20Poly1305);
        sa.esn = false;
        sa.implicit_iv = implicit_iv;
        let index = gateway.send_with(1, &sa).unwrap();
        gateway.edit_sa(index, |entry| entry.sequence = u64::from(u32::MAX) - 1).unwrap();
        let (sent, _) = packet(100, 0);
        let outcome = gateway.run(&ethernet(&sent)).unwrap();
        assert_eq!(esp::open(&sa, 0, esp_of(&outcome.frame, &sa, 0)).0, u64::from(u32::MAX));
        for _ in 0..3 {
            assert_eq!(gateway.run(&ethernet(&sent)).unwrap().verdict, Verdict::Drop);
        }
    }
    assert_eq!(gateway.dropped(1, DropReason::SequenceExhausted).unwrap(), 6);
}

#[test]
fn a_packet_that_the_kernel_routed_keeps_its_ttl_and_options() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.set_roles(PortRole::TUNNEL).unwrap();
    for implicit_iv in [false, true] {
        let mut sa = sa(7 + u32::from(implicit_iv), Aead::Aes128Gcm);
        sa.implicit_iv = implicit_iv;
        gateway.send_with(1, &sa).unwrap();
        let mut ip = Ip::new(HOST, PEER_HOST);
        ip.ttl = 1;
        ip.options = vec![1; 8];
        let sent = ip.packet(&pattern(90));
        let outcome = gateway.run(&ethernet(&sent)).unwrap();
        assert_eq!(outcome.verdict, Verdict::Redirect);
        assert_eq!(esp::open(&sa, 0, esp_of(&outcome.frame, &sa, 0)).1, sent);
    }
}

#[test]
fn an_implicit_iv_makes_packets_eight_bytes_shorter() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let mut lengths = Vec::new();
    for implicit_iv in [false, true] {
        let mut sa = sa(7 + u32::from(implicit_iv), Aead::Aes256Gcm);
        sa.implicit_iv = implicit_iv;
        gateway.send_with(1, &sa).unwrap();
        lengths.push(gateway.run(&ethernet(&packet(500, 0).0)).unwrap().frame.len());
    }
    // Ethernet and IPv4 headers; SPI and sequence number; IV; 500 and 2 bytes padded to a multiple of 4; ICV.
    assert_eq!(lengths, [34 + 8 + 8 + 504 + 16, 34 + 8 + 504 + 16]);
}

#[test]
fn what_needs_the_kernel_is_left_to_it_unchanged() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let index = gateway.send_with(1, &sa(7, Aead::ChaCha20Poly1305)).unwrap();
    let plain = Ip::new(HOST, PEER_HOST);
    let frames = [
        ("too big", ethernet(&plain.packet(&pattern(TUNNEL_MTU as usize - 19)))),
        ("TTL 1", ethernet(&Ip { ttl: 1, ..plain.clone() }.packet(&pattern(64)))),
        ("options", ethernet(&Ip { options: vec![1; 4], ..plain.clone() }.packet(&pattern(64)))),
        (
            "no tunnel",
            ethernet(&Ip { destination: [8, 8, 8, 8].into(), ..plain.clone() }.packet(&pattern(64))),
        ),
        (
            "inside the VNet",
            ethernet(&Ip { destination: [10, 1, 2, 3].into(), ..plain.clone() }.packet(&pattern(64))),
        ),
        ("ARP", [&[0xff; 12][..], &[0x08, 0x06], &[0; 46]].concat()),
        ("runt", vec![0; 20]),
    ];
    for (what, frame) in frames {
        let outcome = gateway.run(&frame).unwrap();
        assert_eq!(outcome.verdict, Verdict::Pass, "{what}");
        assert_eq!(outcome.frame, frame, "{what}");
    }
    assert_eq!(gateway.read_sa(index).unwrap().sequence, 0, "no sequence number was spent");
    assert!(gateway.counters.drops(1).unwrap().is_empty());
}

#[test]
fn an_unresolved_next_hop_goes_through_the_stack() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    for implicit_iv in [false, true] {
        let mut sa = sa(7 + u32::from(implicit_iv), Aead::ChaCha20Poly1305);
        sa.implicit_iv = implicit_iv;
        sa.remote.set_ip(UNRESOLVED_REMOTE.into());
        gateway.send_with(1, &sa).unwrap();
        let (sent, expected) = packet(100, 0);
        let outcome = gateway.run(&ethernet(&sent)).unwrap();
        assert_eq!(outcome.verdict, Verdict::Redirect);
        assert_eq!(outcome.frame[..6], VGW0_MAC);
        assert_eq!(outcome.frame[30..34], UNRESOLVED_REMOTE.octets());
        assert_eq!(esp::open(&sa, 0, &outcome.frame[34..]).1, expected);
    }
}

#[test]
fn refused_packets_are_counted_by_reason() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let expect = |gateway: &mut GatewayUnderTest, packet: &[u8], tunnel: u32, reason: DropReason| {
        let before = gateway.dropped(tunnel, reason).unwrap();
        let outcome = gateway.run(&ethernet(packet)).unwrap();
        assert_eq!(outcome.verdict, Verdict::Drop, "{reason:?}");
        assert_eq!(
            gateway.dropped(tunnel, reason).unwrap(),
            before + 1,
            "{reason:?}: {:?}",
            gateway.counters.drops(tunnel)
        );
    };
    let plain = Ip::new(HOST, PEER_HOST);
    expect(&mut gateway, &plain.packet(&pattern(50)), 1, DropReason::NoOutboundSa);
    let outside = Ip { source: [172, 16, 0, 1].into(), ..plain.clone() };
    expect(&mut gateway, &outside.packet(&pattern(50)), 1, DropReason::SourceOutsideVnet);
    let other_vnet = Ip { source: OTHER_HOST, ..plain.clone() };
    expect(&mut gateway, &other_vnet.packet(&pattern(50)), 1, DropReason::SourceOutsideVnet);
    let mut lying = plain.packet(&pattern(50));
    lying[2..4].copy_from_slice(&200_u16.to_be_bytes());
    expect(&mut gateway, &lying, 1, DropReason::Malformed);
    let mut short_header = plain.packet(&pattern(50));
    short_header[0] = 0x44;
    expect(&mut gateway, &short_header, 1, DropReason::Malformed);

    let mut limited = sa(9, Aead::ChaCha20Poly1305);
    limited.hard_bytes = 1000;
    gateway.send_with(1, &limited).unwrap();
    for _ in 0..2 {
        assert_eq!(gateway.run(&ethernet(&plain.packet(&pattern(600)))).unwrap().verdict, Verdict::Redirect);
    }
    expect(&mut gateway, &plain.packet(&pattern(600)), 1, DropReason::LifetimeExpired);

    let mut nowhere = sa(10, Aead::ChaCha20Poly1305);
    nowhere.remote.set_ip(IpAddr::from([203, 0, 113, 5]));
    gateway.send_with(1, &nowhere).unwrap();
    expect(&mut gateway, &plain.packet(&pattern(50)), 1, DropReason::NoRoute);

    gateway.send_with(1, &sa(11, Aead::ChaCha20Poly1305)).unwrap();
    gateway.set_roles(PortRole::TUNNEL).unwrap();
    expect(&mut gateway, &plain.packet(&pattern(TUNNEL_MTU as usize - 19)), 1, DropReason::TooBig);
    gateway.set_roles(PortRole::WAN).unwrap();
    expect(&mut gateway, &plain.packet(&pattern(50)), 1, DropReason::Unprotected);
}

#[test]
fn both_tunnels_and_directions_share_one_budget() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.send_with(1, &sa(7, Aead::ChaCha20Poly1305)).unwrap();
    gateway.send_with(2, &sa(8, Aead::Aes128Gcm)).unwrap();
    let inbound = sa(9, Aead::ChaCha20Poly1305);
    gateway.receive_with(1, &inbound).unwrap();
    // So slow that nothing is refilled during the test: the bucket passes its depth and the packet that empties it.
    gateway.set_budget(Budget::new(8, 2999)).unwrap();
    let mut verdicts = Vec::new();
    for destination in [PEER_HOST, OTHER_HOST, PEER_HOST] {
        let outcome = gateway.run(&ethernet(&Ip::new(HOST, destination).packet(&pattern(980)))).unwrap();
        verdicts.push(outcome.verdict);
    }
    assert_eq!(verdicts, [Verdict::Redirect; 3]);
    assert_eq!(
        gateway.run(&ethernet(&Ip::new(HOST, OTHER_HOST).packet(&pattern(980)))).unwrap().verdict,
        Verdict::Drop
    );
    let inner = Ip::new(PEER_HOST, HOST).packet(&pattern(980));
    let mut outer = Ip::new(REMOTE, LOCAL);
    outer.protocol = 50;
    let arriving = ethernet(&outer.packet(&esp::seal(&inbound, 1, &inner, 0, esp::IPV4)));
    assert_eq!(gateway.run(&arriving).unwrap().verdict, Verdict::Drop);
    assert_eq!(gateway.dropped(2, DropReason::BudgetExceeded).unwrap(), 1);
    assert_eq!(gateway.dropped(1, DropReason::BudgetExceeded).unwrap(), 1);
    let used = gateway.counters.budget(BandwidthLimit::default()).unwrap();
    assert_eq!((used.outbound.passed_bytes, used.outbound.dropped_bytes), (3000, 1000));
    assert_eq!((used.inbound.passed_bytes, used.inbound.dropped_bytes), (0, 1000));
}
