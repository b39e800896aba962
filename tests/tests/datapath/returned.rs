//! What workers hand back to `vgw0`: opened packets are delivered as the kernel engine delivers them, ways are noted for those
//! that may pass by themselves, and nothing else is believed.

use aya::maps::{MapData, RingBuf};
use gateway_common::{Aead, Budget, DropReason, Event, EventKind, Flow, FlowKey, PortRole};
use gateway_user::datapath::{BandwidthLimit, SaConfig};
use nix::net::if_::if_nametoindex;
use xdp_harness::frames::{Ip, ethernet, pattern};
use xdp_harness::worker::{Handed, return_header};
use xdp_harness::{
    GatewayUnderTest, HOST, HOST_MAC, INGRESS, LOCAL, OTHER_HOST, Outcome, PEER_HOST, REMOTE, Verdict, esp,
    sa,
};

const BOTH: u32 = PortRole::LAN | PortRole::WAN;

fn gateway() -> GatewayUnderTest {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.open_lane(BOTH).unwrap();
    gateway
}

fn inner() -> Ip {
    Ip::new(PEER_HOST, HOST)
}

/// ESP with `payload` as it arrives at the gateway.
fn arriving(sa: &SaConfig, sequence: u64, payload: &[u8], next_header: u8, tos: u8) -> Vec<u8> {
    let mut outer = Ip::new(REMOTE, LOCAL);
    (outer.protocol, outer.tos) = (50, tos);
    ethernet(&outer.packet(&esp::seal(sa, sequence, payload, 0, next_header)))
}

/// Has the frame handed over and opened by a worker.
fn opened(gateway: &GatewayUnderTest, sa: &SaConfig, frame: &[u8]) -> Handed {
    let outcome = gateway.run(frame).unwrap();
    assert_eq!(outcome.verdict, Verdict::Redirect, "{:?}", gateway.counters.drops(1));
    let mut handed = Handed::parse(&outcome.frame);
    assert!(handed.open(sa));
    handed
}

fn give_back(gateway: &GatewayUnderTest, frame: &[u8]) -> Outcome {
    gateway.run_program("returned", frame).unwrap()
}

/// The key that packets out of tunnel 1 have, from their header.
fn key_of(header: &[u8]) -> FlowKey {
    FlowKey {
        tunnel: 1,
        ingress_ifindex: INGRESS,
        class: u32::from(header[1] & 0xfc) << 8 | u32::from(header[9]),
        source: u32::from_ne_bytes(header[12..16].try_into().unwrap()),
        destination: u32::from_ne_bytes(header[16..20].try_into().unwrap()),
        ..FlowKey::default()
    }
}

fn key() -> FlowKey {
    key_of(&inner().packet(&[]))
}

/// The entry for `key`, if it was ever noted.
fn noted(gateway: &GatewayUnderTest, key: FlowKey) -> Option<Flow> {
    let flow = gateway.flow(key).unwrap();
    assert_eq!(flow.version % 2, 0, "nobody is writing");
    (flow.key == key && flow.mtu != 0).then_some(flow)
}

/// Packets with everything that a receiver looks at: (what, payload, next header, outer traffic class).
fn specimens() -> Vec<(&'static str, Vec<u8>, u8, u8)> {
    let packet = |ip: Ip| ip.packet(&pattern(80));
    let mut list = vec![
        ("plain", packet(inner()), 4, 0),
        ("large", inner().packet(&pattern(1418)), 4, 0),
        ("congested", packet(Ip { tos: 2, ..inner() }), 4, 3),
        ("congested without ECN", packet(inner()), 4, 3),
        ("TTL 1", packet(Ip { ttl: 1, ..inner() }), 4, 0),
        ("options", packet(Ip { options: vec![1; 4], ..inner() }), 4, 0),
        ("no neighbour entry", packet(Ip::new(PEER_HOST, [10, 1, 0, 99].into())), 4, 0),
        ("the gateway itself", packet(Ip::new(PEER_HOST, [10, 1, 0, 1].into())), 4, 0),
        ("no way", packet(Ip::new(PEER_HOST, [10, 1, 77, 1].into())), 4, 0),
        ("towards the peers", packet(Ip::new(PEER_HOST, [10, 1, 200, 5].into())), 4, 0),
        ("another tunnel's source", packet(Ip::new(OTHER_HOST, HOST)), 4, 0),
        ("destination outside the VNet", packet(Ip::new(PEER_HOST, [8, 8, 8, 8].into())), 4, 0),
        ("dummy", packet(inner()), 59, 0),
        ("IPv6", packet(inner()), 41, 0),
        ("shorter than it says", packet(inner())[..60].to_vec(), 4, 0),
    ];
    let mut version_6 = packet(inner());
    version_6[0] = 0x65;
    list.push(("version 6", version_6, 4, 0));
    list
}

#[test]
fn what_a_worker_opened_is_delivered_as_the_kernel_engine_delivers_it() {
    let mut gateway = gateway();
    for route in ["route add unreachable 10.1.77.0/24", "route add 10.1.200.0/24 via 192.0.2.254"] {
        assert!(std::process::Command::new("ip").args(route.split(' ')).status().unwrap().success());
    }
    let mut sequence = 0;
    for (number, implicit_iv) in [false, true].into_iter().enumerate() {
        let mut sa = sa(0x5000 + number as u32, Aead::Aes256Gcm);
        sa.implicit_iv = implicit_iv;
        let index = gateway.receive_with(1, &sa).unwrap();
        for (what, payload, next_header, tos) in specimens() {
            let drops = |gateway: &GatewayUnderTest| gateway.counters.drops(1).unwrap();
            let state = |gateway: &GatewayUnderTest| {
                let entry = gateway.read_sa(index).unwrap();
                let traffic = gateway.counters.traffic(1).unwrap();
                (entry.packets, entry.bytes, traffic)
            };
            let before = (drops(&gateway), state(&gateway));
            sequence += 2;
            gateway.edit_lane(|lane| lane.limit = 0).unwrap();
            let expected = gateway.run(&arriving(&sa, sequence - 1, &payload, next_header, tos)).unwrap();
            let by_kernel = (drops(&gateway), state(&gateway));

            gateway.edit_lane(|lane| lane.limit = 1_000_000).unwrap();
            let handed = opened(&gateway, &sa, &arriving(&sa, sequence, &payload, next_header, tos));
            let returned = gateway.lane().unwrap().returned;
            let outcome = give_back(&gateway, &handed.deliver());
            let by_worker = (drops(&gateway), state(&gateway));

            assert_eq!(outcome.verdict, expected.verdict, "{what}: {by_worker:?}");
            if outcome.verdict == Verdict::Redirect {
                assert!(outcome.frame == expected.frame, "{what}: the frame differs");
            }
            assert_eq!(gateway.lane().unwrap().returned, returned + 1, "{what}");
            for reason in DropReason::ALL {
                let of = |drops: &std::collections::BTreeMap<_, u64>| {
                    drops.get(reason.name()).copied().unwrap_or(0)
                };
                let difference = of(&by_kernel.0) - of(&before.0);
                assert_eq!(of(&by_worker.0) - of(&by_kernel.0), difference, "{what}: {reason:?}");
            }
            assert_eq!(
                by_worker.1.0 - by_kernel.1.0,
                by_kernel.1.0 - before.1.0,
                "{what}: packets of the SA"
            );
            assert_eq!(by_worker.1.1 - by_kernel.1.1, by_kernel.1.1 - before.1.1, "{what}: bytes of the SA");
            assert_eq!(
                by_worker.1.2.in_packets - by_kernel.1.2.in_packets,
                by_kernel.1.2.in_packets - before.1.2.in_packets,
                "{what}: packets of the tunnel"
            );
        }
    }
}

#[test]
fn only_ways_straight_to_a_neighbour_are_noted() {
    let mut gateway = gateway();
    for route in ["route add unreachable 10.1.77.0/24", "route add 10.1.200.0/24 via 192.0.2.254"] {
        assert!(std::process::Command::new("ip").args(route.split(' ')).status().unwrap().success());
    }
    gateway.set_epoch(41).unwrap();
    let sa = sa(0x5100, Aead::ChaCha20Poly1305);
    gateway.receive_with(1, &sa).unwrap();
    let direct = ["plain", "large", "congested"];
    for (number, (what, payload, next_header, tos)) in specimens().into_iter().enumerate() {
        let key = key_of(&payload);
        gateway.set_flow(key, Flow::default()).unwrap();
        let handed = opened(&gateway, &sa, &arriving(&sa, number as u64 + 1, &payload, next_header, tos));
        give_back(&gateway, &handed.deliver());
        let flow = noted(&gateway, key);
        assert_eq!(flow.is_some(), direct.contains(&what), "{what}: {flow:?}");
        let Some(flow) = flow else { continue };
        assert_eq!((flow.epoch, flow.ifindex, flow.mtu), (41, if_nametoindex("lan").unwrap(), 1500));
        assert_eq!(flow.ethernet[..6], HOST_MAC);
        assert_eq!(flow.ethernet[6..], mac_of("lan"));
        assert!(flow.resolved_ns > 0 && flow.version == 2);
    }
}

fn mac_of(interface: &str) -> [u8; 6] {
    let output = std::process::Command::new("ip").args(["link", "show", interface]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (_, behind) = text.split_once("link/ether ").unwrap();
    let bytes: Vec<_> = behind[..17].split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

#[test]
fn a_question_is_answered_without_delivering_anything() {
    let mut gateway = gateway();
    let sa = sa(0x5200, Aead::Aes128Gcm);
    let index = gateway.receive_with(1, &sa).unwrap();
    let handed = opened(&gateway, &sa, &arriving(&sa, 1, &inner().packet(&pattern(40)), 4, 0));
    let header = |ip: &Ip| ip.packet(&[])[..20].to_vec();
    gateway.set_epoch(7).unwrap();
    assert_eq!(give_back(&gateway, &handed.resolve(&header(&inner()))).verdict, Verdict::Drop);
    let flow = noted(&gateway, key()).expect("the way is noted");
    assert_eq!((flow.epoch, flow.ifindex, flow.mtu), (7, if_nametoindex("lan").unwrap(), 1500));
    // Addresses that do not belong to the SA's tunnel, and those without a neighbour entry, get no answer.
    for ip in [
        Ip::new(OTHER_HOST, HOST),
        Ip::new(PEER_HOST, OTHER_HOST),
        Ip::new(HOST, HOST),
        Ip::new(PEER_HOST, [10, 1, 0, 99].into()),
        Ip::new(PEER_HOST, [8, 8, 8, 8].into()),
    ] {
        assert_eq!(give_back(&gateway, &handed.resolve(&header(&ip))).verdict, Verdict::Drop);
        assert!(noted(&gateway, key_of(&header(&ip))).is_none(), "{ip:?}");
    }
    // A way that is none any more is taken back.
    let command = ["neigh", "del", "10.1.0.10", "dev", "lan"];
    assert!(std::process::Command::new("ip").args(command).status().unwrap().success());
    assert_eq!(give_back(&gateway, &handed.resolve(&header(&inner()))).verdict, Verdict::Drop);
    assert!(noted(&gateway, key()).is_none());

    assert_eq!(gateway.lane().unwrap().returned, 7);
    let entry = gateway.read_sa(index).unwrap();
    assert_eq!((entry.sequence, entry.packets), (0, 0), "nothing was accepted");
    assert_eq!(gateway.counters.traffic(1).unwrap().in_packets, 0);
    assert!(gateway.counters.drops(1).unwrap().is_empty(), "{:?}", gateway.counters.drops(1));
}

#[test]
fn a_way_that_is_in_use_is_not_pushed_out_by_another_flow() {
    let mut gateway = gateway();
    gateway.set_epoch(3).unwrap();
    let sa = sa(0x5300, Aead::Aes128Gcm);
    gateway.receive_with(1, &sa).unwrap();
    let own = key();
    let other = FlowKey { tunnel: 2, ..own };
    let now = now_ns();
    let held = |epoch, resolved_ns| Flow {
        version: 6,
        epoch,
        resolved_ns,
        key: other,
        mtu: 1500,
        ..Flow::default()
    };
    let being_written = Flow { version: 7, ..held(3, 0) };
    let cases = [
        ("young", held(3, now), false),
        ("old", held(3, now - 2 * Flow::LIFETIME_NS), true),
        ("of another epoch", held(2, now), true),
        ("being written", being_written, false),
        ("its own", Flow { key: own, ..held(3, now - 2 * Flow::FRESH_NS) }, true),
    ];
    for (number, (what, before, is_replaced)) in cases.into_iter().enumerate() {
        gateway.set_flow(own, before).unwrap();
        let handed =
            opened(&gateway, &sa, &arriving(&sa, number as u64 + 1, &inner().packet(&pattern(40)), 4, 0));
        assert_eq!(
            give_back(&gateway, &handed.deliver()).verdict,
            Verdict::Redirect,
            "{what}: it is delivered anyway"
        );
        let after = gateway.flow(own).unwrap();
        let is_own = after.key == own && after.ethernet[..6] == HOST_MAC;
        assert_eq!(is_own, is_replaced, "{what}: {after:?}");
        let locked = before.version % 2 == 1;
        assert_eq!(after.version, if locked { 7 } else { 8 }, "{what}");
        // What another flow found does not make this one's older or younger.
        assert!(is_own || after.resolved_ns == before.resolved_ns, "{what}");
    }
}

fn now_ns() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    std::time::Duration::from(time).as_nanos() as u64
}

#[test]
fn a_packet_that_comes_both_ways_is_accepted_once() {
    let mut gateway = gateway();
    let sa = sa(0x5400, Aead::Aes256Gcm);
    gateway.receive_with(1, &sa).unwrap();
    let frame = |sequence| arriving(&sa, sequence, &inner().packet(&pattern(40)), 4, 0);
    // Two copies pass the check before either is opened, a third takes the kernel engine.
    let copies = [opened(&gateway, &sa, &frame(9)), opened(&gateway, &sa, &frame(9))];
    gateway.edit_lane(|lane| lane.limit = 0).unwrap();
    let verdicts = [
        give_back(&gateway, &copies[0].deliver()).verdict,
        give_back(&gateway, &copies[1].deliver()).verdict,
        gateway.run(&frame(9)).unwrap().verdict,
    ];
    assert_eq!(verdicts, [Verdict::Redirect, Verdict::Drop, Verdict::Drop]);
    // And the other way round.
    gateway.edit_lane(|lane| lane.limit = 1_000_000).unwrap();
    let copy = opened(&gateway, &sa, &frame(10));
    gateway.edit_lane(|lane| lane.limit = 0).unwrap();
    assert_eq!(gateway.run(&frame(10)).unwrap().verdict, Verdict::Redirect);
    assert_eq!(give_back(&gateway, &copy.deliver()).verdict, Verdict::Drop);
    assert_eq!(gateway.dropped(1, DropReason::Replayed).unwrap(), 3);
    assert_eq!(gateway.counters.traffic(1).unwrap().in_packets, 2);
}

#[test]
fn a_packet_that_a_worker_kept_too_long_is_no_replay() {
    let mut gateway = gateway();
    let sa = sa(0x5480, Aead::Aes256Gcm);
    gateway.receive_with(1, &sa).unwrap();
    let frame = |sequence| arriving(&sa, sequence, &inner().packet(&pattern(40)), 4, 0);
    let kept = opened(&gateway, &sa, &frame(5));
    gateway.edit_lane(|lane| lane.limit = 0).unwrap();
    assert_eq!(gateway.run(&frame(20_000)).unwrap().verdict, Verdict::Redirect);
    assert_eq!(give_back(&gateway, &kept.deliver()).verdict, Verdict::Drop);
    assert_eq!(gateway.counters.drops(1).unwrap(), [(DropReason::Worker.name(), 1)].into());
}

#[test]
fn returned_packets_are_charged_to_the_budget() {
    let mut gateway = gateway();
    let sa = sa(0x5500, Aead::Aes256Gcm);
    gateway.receive_with(1, &sa).unwrap();
    gateway.set_budget(Budget::new(8, 1999)).unwrap();
    for (sequence, verdict) in [(1, Verdict::Redirect), (2, Verdict::Redirect), (3, Verdict::Drop)] {
        let handed = opened(&gateway, &sa, &arriving(&sa, sequence, &inner().packet(&pattern(980)), 4, 0));
        assert_eq!(give_back(&gateway, &handed.deliver()).verdict, verdict, "packet {sequence}");
    }
    assert_eq!(gateway.dropped(1, DropReason::BudgetExceeded).unwrap(), 1);
    let used = gateway.counters.budget(BandwidthLimit::default()).unwrap().inbound;
    assert_eq!((used.passed_bytes, used.dropped_bytes), (2000, 1000));
}

#[test]
fn a_wrong_icv_that_a_worker_found_is_reported() {
    let mut gateway = gateway();
    let mut ring: RingBuf<MapData> = gateway.object.ebpf.take_map("EVENTS").unwrap().try_into().unwrap();
    let sa = sa(0x5600, Aead::Aes256Gcm);
    gateway.receive_with(1, &sa).unwrap();
    let outcome = gateway.run(&arriving(&sa, 1, &inner().packet(&pattern(40)), 4, 0)).unwrap();
    let handed = Handed::parse(&outcome.frame);
    for _ in 0..100 {
        assert_eq!(give_back(&gateway, &handed.authentication_failed()).verdict, Verdict::Drop);
    }
    let record = ring.next().expect("an event");
    assert!(record.len() >= size_of::<Event>());
    // SAFETY: the length was checked and every bit pattern is an event.
    let event = unsafe { record.as_ptr().cast::<Event>().read_unaligned() };
    assert_eq!((event.kind, event.tunnel), (EventKind::AuthenticationFailed as u32, 1));
    assert_eq!(
        (event.spi, event.source),
        (sa.spi.to_be_bytes(), gateway_common::ip::to_words(&REMOTE.to_ipv6_mapped().octets()))
    );
    drop(record);
    let more = std::iter::from_fn(|| ring.next().map(drop)).count();
    assert!(more < 10, "{more} more events for a hundred packets");
    assert!(gateway.counters.drops(1).unwrap().is_empty(), "the worker counts them");
}

#[test]
fn a_worker_that_comes_late_finds_another_sa() {
    let mut gateway = gateway();
    let old = sa(0x5700, Aead::Aes128Gcm);
    let index = gateway.receive_with(1, &old).unwrap();
    let handed = opened(&gateway, &old, &arriving(&old, 1, &inner().packet(&pattern(40)), 4, 0));
    for spi in [[0; 4], 0x5701_u32.to_be_bytes()] {
        gateway.edit_sa(index, |entry| entry.spi = spi).unwrap();
        for frame in [handed.deliver(), handed.resolve(&inner().packet(&[])), handed.authentication_failed()]
        {
            assert_eq!(give_back(&gateway, &frame).verdict, Verdict::Drop);
        }
    }
    assert_eq!(gateway.dropped(0, DropReason::Worker).unwrap(), 6);
    assert!(noted(&gateway, key()).is_none());
    assert_eq!(gateway.lane().unwrap().returned, 6, "the worker does not wait for them for ever");
}

#[test]
fn malformed_returned_frames_are_dropped() {
    let mut gateway = gateway();
    let sa = sa(0x5800, Aead::Aes128Gcm);
    gateway.receive_with(1, &sa).unwrap();
    let good = opened(&gateway, &sa, &arriving(&sa, 1, &inner().packet(&pattern(40)), 4, 0));
    let edited = |edit: fn(&mut gateway_common::Job)| {
        let mut handed = good.clone();
        edit(&mut handed.handoff.job);
        handed.deliver()
    };
    let mut unknown_kind = good.deliver();
    unknown_kind[16..20].copy_from_slice(&9_u32.to_ne_bytes());
    let mut frames = vec![
        ("kind", unknown_kind),
        ("no SA", edited(|job| job.sa = u32::MAX)),
        ("an empty slot", edited(|job| job.sa += 1)),
        ("to be sealed", edited(|job| job.next = 6)),
        ("offset in the Ethernet header", edited(|job| job.offset = 10)),
        ("offset behind the frame", edited(|job| job.offset = 2000)),
        ("offset far away", edited(|job| job.offset = u32::MAX - 80)),
        ("length 0", edited(|job| job.length = 0)),
        ("length behind the frame", edited(|job| job.length = 1900)),
        ("length far away", edited(|job| job.length = u32::MAX - 3)),
        ("header alone", return_header(1)),
        ("question without header", good.resolve(&inner().packet(&[])[..19])),
    ];
    let whole = good.deliver();
    frames.extend((14..104 + 14 + 20 + 16).map(|len| ("truncated", whole[..len].to_vec())));
    for (what, frame) in frames {
        let count = |gateway: &GatewayUnderTest| -> u64 {
            [0, 1]
                .into_iter()
                .map(|tunnel| gateway.counters.drops(tunnel).unwrap().values().sum::<u64>())
                .sum()
        };
        let (before, before_returned) = (count(&gateway), gateway.lane().unwrap().returned);
        assert_eq!(give_back(&gateway, &frame).verdict, Verdict::Drop, "{what}, {} bytes", frame.len());
        assert_eq!(count(&gateway), before + 1, "{what}, {} bytes", frame.len());
        let expected = before_returned + u64::from(frame.len() >= 24);
        assert_eq!(gateway.lane().unwrap().returned, expected, "{what}, {} bytes", frame.len());
    }
    // A lane that does not exist is nobody's.
    let mut nowhere = opened(&gateway, &sa, &arriving(&sa, 2, &inner().packet(&pattern(40)), 4, 0)).deliver();
    nowhere[20..24].copy_from_slice(&u32::MAX.to_ne_bytes());
    assert_eq!(gateway.counters.traffic(1).unwrap().in_packets, 0);
    assert_eq!(give_back(&gateway, &nowhere).verdict, Verdict::Redirect);
}

#[test]
fn other_frames_reach_the_stack_through_vgw0() {
    let gateway = gateway();
    for frame in [
        ethernet(&inner().packet(&pattern(100))),
        [&[0xff; 12][..], &[0x08, 0x06], &[0; 46]].concat(),
        [&[2; 12][..], &[0x88, 0xb6], &[0; 200]].concat(),
        vec![0x88; 14],
        vec![0xb5; 60],
    ] {
        let outcome = give_back(&gateway, &frame);
        assert_eq!((outcome.verdict, &outcome.frame), (Verdict::Pass, &frame));
    }
    assert!(gateway.counters.drops(0).unwrap().is_empty());
}

#[test]
fn returned_frames_that_arrive_from_a_network_are_not_believed() {
    let mut gateway = gateway();
    let sa = sa(0x5900, Aead::Aes128Gcm);
    let index = gateway.receive_with(1, &sa).unwrap();
    let handed = opened(&gateway, &sa, &arriving(&sa, 1, &inner().packet(&pattern(40)), 4, 0));
    for roles in [PortRole::LAN, PortRole::WAN, BOTH, PortRole::TUNNEL] {
        gateway.open_lane(roles).unwrap();
        for frame in [handed.deliver(), handed.resolve(&inner().packet(&[])), handed.authentication_failed()]
        {
            let outcome = gateway.run(&frame).unwrap();
            assert_eq!(
                (outcome.verdict, &outcome.frame),
                (Verdict::Pass, &frame),
                "the kernel knows no such EtherType"
            );
        }
    }
    assert!(noted(&gateway, key()).is_none());
    assert_eq!(gateway.lane().unwrap().returned, 0);
    assert_eq!(gateway.read_sa(index).unwrap().sequence, 0);
}
