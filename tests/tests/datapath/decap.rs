//! Decapsulation: ESP made by an independent implementation arrives; everything forged, replayed or foreign does not.

use std::process::Command;
use std::time::Duration;

use gateway_common::{Aead, DropReason, PortRole};
use gateway_user::datapath::SaConfig;
use xdp_harness::{
    GatewayUnderTest, HOST, HOST_MAC, LOCAL, OTHER_HOST, PEER_HOST, REMOTE, VGW0_MAC, Verdict, sa,
};

use xdp_harness::esp;
use xdp_harness::frames::{Ip, ethernet, pattern, udp};

/// A frame with the ESP packet `esp` as it arrives at the gateway.
fn arriving(sa: &SaConfig, esp: &[u8], tos: u8) -> Vec<u8> {
    let mut outer = Ip::new(REMOTE, LOCAL);
    outer.tos = tos;
    if sa.udp_encapsulation {
        return ethernet(&outer.packet(&udp(sa.remote.port(), sa.local.port(), esp)));
    }
    outer.protocol = 50;
    ethernet(&outer.packet(esp))
}

fn inner() -> Ip {
    Ip::new(PEER_HOST, HOST)
}

/// Runs a frame that must be dropped for `reason`, counted for `tunnel`.
fn expect_drop(gateway: &mut GatewayUnderTest, frame: &[u8], tunnel: u32, reason: DropReason) {
    let before = gateway.dropped(tunnel, reason).unwrap();
    let outcome = gateway.run(frame).unwrap();
    assert_eq!(outcome.verdict, Verdict::Drop, "{reason:?}");
    let drops = gateway.counters.drops(tunnel).unwrap();
    assert_eq!(gateway.dropped(tunnel, reason).unwrap(), before + 1, "{reason:?}, but counted {drops:?}");
}

#[test]
fn every_algorithm_and_encapsulation_at_every_length() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let mut packets = 0;
    for (number, aead) in [Aead::ChaCha20Poly1305, Aead::Aes128Gcm, Aead::Aes256Gcm].into_iter().enumerate() {
        for variant in 0..8 {
            let mut sa = sa((0x2000 + number * 16 + variant) as u32, aead);
            sa.udp_encapsulation = variant & 1 != 0;
            sa.esn = variant & 2 != 0;
            sa.implicit_iv = variant & 4 != 0;
            gateway.receive_with(1, &sa).unwrap();
            for (count, len) in (20..=1440).step_by(if sa.esn { 1 } else { 13 }).enumerate() {
                let sent = inner().packet(&pattern(len - 20));
                let esp = esp::seal(&sa, count as u64 + 1, &sent, 0, esp::IPV4);
                let outcome = gateway.run(&arriving(&sa, &esp, 0)).unwrap();
                assert_eq!(
                    outcome.verdict,
                    Verdict::Redirect,
                    "{aead:?} length {len}: {:?}",
                    gateway.counters.drops(1)
                );
                assert_eq!(outcome.frame[..6], HOST_MAC);
                let expected = Ip { ttl: 63, ..inner() }.packet(&pattern(len - 20));
                assert!(outcome.frame[14..] == expected, "{aead:?} length {len}: inner packet changed");
                packets += 1;
            }
        }
    }
    let counters = gateway.counters.traffic(1).unwrap();
    assert_eq!((counters.in_packets, counters.out_packets), (packets, 0));
    assert!(gateway.counters.drops(1).unwrap().is_empty());
}

#[test]
fn a_changed_bit_anywhere_is_refused() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    for (number, aead) in [Aead::ChaCha20Poly1305, Aead::Aes128Gcm, Aead::Aes256Gcm].into_iter().enumerate() {
        for implicit_iv in [false, true] {
            let mut sa = sa((0x3000 + number * 2) as u32 + u32::from(implicit_iv), aead);
            sa.implicit_iv = implicit_iv;
            gateway.receive_with(1, &sa).unwrap();
            let esp = esp::seal(&sa, 5, &inner().packet(&pattern(200)), 0, esp::IPV4);
            // Behind the SPI: low bits of the sequence number, IV if any, ciphertext, ICV.
            for position in (7..esp.len()).step_by(3).chain([esp.len() - 1]) {
                let mut forged = esp.clone();
                forged[position] ^= 1 << (position % 3 + 3);
                expect_drop(&mut gateway, &arriving(&sa, &forged, 0), 1, DropReason::AuthenticationFailed);
            }
            let outcome = gateway.run(&arriving(&sa, &esp, 0)).unwrap();
            assert_eq!(outcome.verdict, Verdict::Redirect, "forgeries did not move the window");
        }
    }
}

/// Both ends must agree; a packet of the other kind authenticates under no circumstances.
#[test]
fn an_explicit_iv_is_not_taken_for_an_implicit_one() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    for (number, implicit_iv) in [false, true].into_iter().enumerate() {
        let mut receiving = sa(0x3050 + number as u32, Aead::Aes256Gcm);
        receiving.implicit_iv = implicit_iv;
        gateway.receive_with(1, &receiving).unwrap();
        let sending = SaConfig { implicit_iv: !implicit_iv, ..receiving.clone() };
        let esp = esp::seal(&sending, 1, &inner().packet(&pattern(100)), 0, esp::IPV4);
        expect_drop(&mut gateway, &arriving(&receiving, &esp, 0), 1, DropReason::AuthenticationFailed);
    }
}

#[test]
fn truncated_packets_are_malformed_or_refused() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    for (variant, (udp_encapsulation, implicit_iv)) in
        [(false, false), (true, false), (false, true), (true, true)].into_iter().enumerate()
    {
        let mut sa = sa(0x3100 + variant as u32, Aead::Aes128Gcm);
        sa.udp_encapsulation = udp_encapsulation;
        sa.implicit_iv = implicit_iv;
        gateway.receive_with(1, &sa).unwrap();
        let esp = esp::seal(&sa, 5, &inner().packet(&pattern(40)), 0, esp::IPV4);
        // 8 bytes of header, 8 of IV unless it is implicit, 16 of ICV, and at least 4 of ciphertext, in steps of 4.
        let shortest = if implicit_iv { 28 } else { 36 };
        for len in 8..esp.len() {
            let reason = if len < shortest || len % 4 != 0 {
                DropReason::Malformed
            } else {
                DropReason::AuthenticationFailed
            };
            expect_drop(&mut gateway, &arriving(&sa, &esp[..len], 0), 1, reason);
        }
        let mut lying = arriving(&sa, &esp, 0);
        lying[16..18].copy_from_slice(&1000_u16.to_be_bytes());
        expect_drop(&mut gateway, &lying, 0, DropReason::Malformed);
        if udp_encapsulation {
            let mut lying = arriving(&sa, &esp, 0);
            lying[38..40].copy_from_slice(&60_u16.to_be_bytes());
            expect_drop(&mut gateway, &lying, 0, DropReason::Malformed);
        }
    }
}

#[test]
fn replays_are_refused_and_reordering_is_not() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    for (variant, (esn, implicit_iv)) in
        [(false, false), (true, false), (false, true), (true, true)].into_iter().enumerate()
    {
        let mut sa = sa(0x3200 + variant as u32, Aead::ChaCha20Poly1305);
        sa.esn = esn;
        sa.implicit_iv = implicit_iv;
        gateway.receive_with(1, &sa).unwrap();
        let packet = |sequence| {
            arriving(&sa, &esp::seal(&sa, sequence, &inner().packet(&pattern(40)), 0, esp::IPV4), 0)
        };
        for sequence in [3, 1, 2, 10, 4000, 11, 5, 4096] {
            let outcome = gateway.run(&packet(sequence)).unwrap();
            assert_eq!(outcome.verdict, Verdict::Redirect, "sequence {sequence}");
        }
        for sequence in [3, 1, 2, 10, 4000, 4096] {
            expect_drop(&mut gateway, &packet(sequence), 1, DropReason::Replayed);
        }
        assert_eq!(gateway.run(&packet(10_000)).unwrap().verdict, Verdict::Redirect);
        assert_eq!(
            gateway.run(&packet(10_000 - 8159)).unwrap().verdict,
            Verdict::Redirect,
            "left edge of the window"
        );
        // Left of the window, an extended number is taken for one of the next 2^32, which the ICV then refutes.
        let reason = if esn { DropReason::AuthenticationFailed } else { DropReason::Replayed };
        expect_drop(&mut gateway, &packet(10_000 - 8160), 1, reason);
        expect_drop(&mut gateway, &packet(6), 1, reason);
    }
}

#[test]
fn extended_sequence_numbers_are_inferred_across_the_border() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    for implicit_iv in [false, true] {
        let mut sa = sa(0x3300 + u32::from(implicit_iv), Aead::Aes256Gcm);
        sa.implicit_iv = implicit_iv;
        let index = gateway.receive_with(1, &sa).unwrap();
        let border = 1_u64 << 32;
        gateway.edit_sa(index, |entry| entry.sequence = border - 100).unwrap();
        let packet = |sequence| {
            arriving(&sa, &esp::seal(&sa, sequence, &inner().packet(&pattern(40)), 0, esp::IPV4), 0)
        };
        for sequence in [border - 50, border - 1, border + 5, border - 2, border, border + 2000, border - 60]
        {
            let outcome = gateway.run(&packet(sequence)).unwrap();
            assert_eq!(outcome.verdict, Verdict::Redirect, "sequence {sequence:#x}");
        }
        for sequence in [border - 50, border, border + 5] {
            expect_drop(&mut gateway, &packet(sequence), 1, DropReason::Replayed);
        }
    }
}

#[test]
fn only_the_tunnels_own_addresses_come_out_of_it() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let sa = sa(0x3400, Aead::ChaCha20Poly1305);
    gateway.receive_with(1, &sa).unwrap();
    let wrong = [
        Ip::new(OTHER_HOST, HOST),
        Ip::new(HOST, HOST),
        Ip::new([8, 8, 8, 8].into(), HOST),
        Ip::new(PEER_HOST, OTHER_HOST),
        Ip::new(PEER_HOST, [8, 8, 8, 8].into()),
        Ip::new(PEER_HOST, LOCAL),
    ];
    for (count, ip) in wrong.into_iter().enumerate() {
        let esp = esp::seal(&sa, count as u64 + 1, &ip.packet(&pattern(40)), 0, esp::IPV4);
        expect_drop(&mut gateway, &arriving(&sa, &esp, 0), 1, DropReason::SelectorMismatch);
    }
    assert_eq!(gateway.counters.traffic(1).unwrap().in_packets, 0);
}

#[test]
fn trailers_are_checked() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let sa = sa(0x3500, Aead::ChaCha20Poly1305);
    gateway.receive_with(1, &sa).unwrap();
    let packet = inner().packet(&pattern(41));
    let frame = |sequence, payload: &[u8], filler, next_header| {
        arriving(&sa, &esp::seal(&sa, sequence, payload, filler, next_header), 0)
    };
    expect_drop(&mut gateway, &frame(1, &packet, 0, 59), 1, DropReason::Dummy);
    expect_drop(&mut gateway, &frame(2, &packet, 0, esp::IPV6), 1, DropReason::Malformed);
    expect_drop(&mut gateway, &frame(7, &packet, 0, 6), 1, DropReason::BadTrailer);
    expect_drop(&mut gateway, &frame(3, &packet[..50], 0, esp::IPV4), 1, DropReason::BadTrailer);
    let mut version_6 = packet.clone();
    version_6[0] = 0x65;
    expect_drop(&mut gateway, &frame(4, &version_6, 0, esp::IPV4), 1, DropReason::Malformed);
    let mut short_header = packet.clone();
    short_header[0] = 0x44;
    expect_drop(&mut gateway, &frame(5, &short_header, 0, esp::IPV4), 1, DropReason::Malformed);
    // Traffic-flow confidentiality padding is removed.
    let outcome = gateway.run(&frame(6, &packet, 300, esp::IPV4)).unwrap();
    assert_eq!(outcome.verdict, Verdict::Redirect);
    assert_eq!(outcome.frame[14..], Ip { ttl: 63, ..inner() }.packet(&pattern(41)));
}

#[test]
fn unknown_spis_and_packets_in_the_clear_are_refused() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let sa = sa(0x3600, Aead::ChaCha20Poly1305);
    let esp = esp::seal(&sa, 1, &inner().packet(&pattern(40)), 0, esp::IPV4);
    expect_drop(&mut gateway, &arriving(&sa, &esp, 0), 0, DropReason::UnknownSpi);
    gateway.receive_with(1, &sa).unwrap();
    gateway.sas.remove(gateway_user::datapath::Direction::Inbound, 1, sa.spi).unwrap();
    expect_drop(&mut gateway, &arriving(&sa, &esp, 0), 0, DropReason::UnknownSpi);
    // A remote VNet's address as a source is believed only when it comes out of its tunnel.
    let forged = ethernet(&inner().packet(&pattern(40)));
    for roles in [PortRole::WAN, PortRole::LAN] {
        gateway.set_roles(roles).unwrap();
        expect_drop(&mut gateway, &forged, 1, DropReason::Unprotected);
    }
    // What the kernel routed to vgw0 by mistake does not go back to it.
    gateway.set_roles(PortRole::TUNNEL).unwrap();
    expect_drop(&mut gateway, &forged, 0, DropReason::NoRoute);
}

#[test]
fn a_vlan_tag_is_no_way_around() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let tagged = |ethertype: u16, tag: u16| {
        let plain = ethernet(&inner().packet(&pattern(40)));
        [&plain[..12], &ethertype.to_be_bytes(), &tag.to_be_bytes(), &plain[12..]].concat()
    };
    for ethertype in [0x8100, 0x88a8] {
        expect_drop(&mut gateway, &tagged(ethertype, 0), 0, DropReason::PriorityTag);
        expect_drop(&mut gateway, &tagged(ethertype, 5 << 13), 0, DropReason::PriorityTag);
        // A VLAN is an interface of its own.
        assert_eq!(gateway.run(&tagged(ethertype, 7)).unwrap().verdict, Verdict::Pass);
    }
}

#[test]
fn frames_for_other_stations_are_left_alone() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let sa = sa(0x3650, Aead::ChaCha20Poly1305);
    let index = gateway.receive_with(1, &sa).unwrap();
    let mut frame = arriving(&sa, &esp::seal(&sa, 1, &inner().packet(&pattern(40)), 0, esp::IPV4), 0);
    for mac in [[2, 0, 0, 0, 8, 9], [0xff; 6], [1, 0, 0x5e, 0, 0, 1]] {
        frame[..6].copy_from_slice(&mac);
        assert_eq!(gateway.run(&frame).unwrap().verdict, Verdict::Pass);
    }
    assert_eq!(gateway.read_sa(index).unwrap().sequence, 0);
}

#[test]
fn opened_packets_do_not_leave_towards_the_peers() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let sa = sa(0x3660, Aead::ChaCha20Poly1305);
    gateway.receive_with(1, &sa).unwrap();
    let route = ["route", "add", "10.1.200.0/24", "via", "192.0.2.254"];
    assert!(Command::new("ip").args(route).status().unwrap().success());
    let ip = Ip::new(PEER_HOST, [10, 1, 200, 5].into());
    let frame =
        |sequence| arriving(&sa, &esp::seal(&sa, sequence, &ip.packet(&pattern(40)), 0, esp::IPV4), 0);
    gateway.set_roles_of("wan", PortRole::WAN).unwrap();
    expect_drop(&mut gateway, &frame(1), 1, DropReason::NoRoute);
    // With one arm the way in is the way out.
    gateway.set_roles_of("wan", PortRole::WAN | PortRole::LAN).unwrap();
    assert_eq!(gateway.run(&frame(2)).unwrap().verdict, Verdict::Redirect);
}

#[test]
fn an_inbound_sa_stops_at_its_hard_lifetime() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let mut sa = sa(0x3670, Aead::ChaCha20Poly1305);
    sa.hard_bytes = 500;
    gateway.receive_with(1, &sa).unwrap();
    let frame =
        |sequence| arriving(&sa, &esp::seal(&sa, sequence, &inner().packet(&pattern(480)), 0, esp::IPV4), 0);
    assert_eq!(gateway.run(&frame(1)).unwrap().verdict, Verdict::Redirect);
    expect_drop(&mut gateway, &frame(2), 1, DropReason::LifetimeExpired);
}

#[test]
fn a_removed_sa_keeps_its_key_until_no_packet_uses_it() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let sa = sa(0x3680, Aead::Aes128Gcm);
    let index = gateway.receive_with(1, &sa).unwrap();
    let key = gateway.read_sa(index).unwrap().key;
    assert!(gateway.sas.remove(gateway_user::datapath::Direction::Inbound, 1, sa.spi).unwrap());
    gateway.sas.sweep();
    assert!(gateway.read_sa(index).unwrap().key == key, "wiped under a packet in flight");
    std::thread::sleep(Duration::from_millis(1100));
    gateway.sas.sweep();
    let wiped = gateway.read_sa(index).unwrap();
    assert!(wiped.key.iter().all(|word| *word == 0) && wiped.salt == [0; 4] && wiped.spi == [0; 4]);
}

#[test]
fn congestion_marks_of_the_outer_header_arrive() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let sa = sa(0x3700, Aead::ChaCha20Poly1305);
    gateway.receive_with(1, &sa).unwrap();
    let mut sequence = 0;
    for inner_tos in [0xb8, 0xb9, 0xba, 0xbb] {
        for outer_ecn in 0..4 {
            sequence += 1;
            let sent = Ip { tos: inner_tos, ..inner() }.packet(&pattern(40));
            let frame = arriving(&sa, &esp::seal(&sa, sequence, &sent, 0, esp::IPV4), outer_ecn);
            let Some(ecn) = gateway_common::ecn::decapsulate(inner_tos, outer_ecn) else {
                expect_drop(&mut gateway, &frame, 1, DropReason::EcnDrop);
                continue;
            };
            let expected = Ip { tos: 0xb8 | ecn, ttl: 63, ..inner() }.packet(&pattern(40));
            let outcome = gateway.run(&frame).unwrap();
            assert_eq!(outcome.verdict, Verdict::Redirect);
            assert!(
                outcome.frame[14..] == expected,
                "inner {inner_tos:#x}, outer {outer_ecn}: {:02x?}",
                &outcome.frame[14..34]
            );
        }
    }
}

#[test]
fn what_needs_the_kernel_reaches_it_through_vgw0() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    for implicit_iv in [false, true] {
        let mut sa = sa(0x3800 + u32::from(implicit_iv), Aead::ChaCha20Poly1305);
        sa.implicit_iv = implicit_iv;
        gateway.receive_with(1, &sa).unwrap();
        reaches_the_kernel_through_vgw0(&gateway, &sa);
    }
}

fn reaches_the_kernel_through_vgw0(gateway: &GatewayUnderTest, sa: &SaConfig) {
    let packets = [
        ("TTL 1", Ip { ttl: 1, ..inner() }),
        ("options", Ip { options: vec![1; 4], ..inner() }),
        ("the gateway itself", Ip { destination: [10, 1, 0, 1].into(), ..inner() }),
        ("unresolved neighbour", Ip { destination: [10, 1, 0, 99].into(), ..inner() }),
    ];
    for (count, (what, ip)) in packets.into_iter().enumerate() {
        let sent = ip.packet(&pattern(40));
        let outcome =
            gateway.run(&arriving(sa, &esp::seal(sa, count as u64 + 1, &sent, 0, esp::IPV4), 0)).unwrap();
        assert_eq!(outcome.verdict, Verdict::Redirect, "{what}");
        assert_eq!(outcome.frame[..6], VGW0_MAC, "{what}");
        assert_eq!(outcome.frame[14..], sent, "{what}: the kernel decrements the TTL");
    }
}

#[test]
fn ike_and_other_traffic_to_the_gateway_is_left_alone() {
    let gateway = GatewayUnderTest::new().unwrap();
    let outer = Ip::new(REMOTE, LOCAL);
    let fragment = Ip { fragment: 0x2000, protocol: 50, ..outer.clone() };
    let frames = [
        ("IKE", ethernet(&outer.packet(&udp(500, 500, &pattern(100))))),
        ("IKE on 4500", ethernet(&outer.packet(&udp(4500, 4500, &[&[0; 4][..], &pattern(100)].concat())))),
        ("keep-alive", ethernet(&outer.packet(&udp(4500, 4500, &[0xff])))),
        ("empty datagram", ethernet(&outer.packet(&udp(4500, 4500, &[])))),
        ("fragment", ethernet(&fragment.packet(&pattern(100)))),
        ("ICMP", ethernet(&Ip { protocol: 1, ..outer.clone() }.packet(&pattern(64)))),
        ("SSH", ethernet(&Ip { protocol: 6, ..outer }.packet(&pattern(40)))),
    ];
    for (what, frame) in frames {
        let outcome = gateway.run(&frame).unwrap();
        assert_eq!(outcome.verdict, Verdict::Pass, "{what}");
        assert_eq!(outcome.frame, frame, "{what}");
    }
    assert!(gateway.counters.drops(0).unwrap().is_empty());
}
