//! Frames are copied where they should be, and only while somebody wants them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

use gateway_common::{Aead, Capture, CapturePoint, DropReason, PortRole, ReturnKind};
use gateway_user::capture::{Context, Direction, Packet, Side};
use gateway_user::datapath::{CaptureSpec, CaptureStream, CapturedFrame, Captures, SaConfig, WanAddresses};
use xdp_harness::frames::{Ip, Ip6, ethernet, pattern, udp};
use xdp_harness::worker::return_header;
use xdp_harness::{
    GatewayUnderTest, HOST, HOST6, LOCAL, LOCAL6, OTHER_HOST, OTHER_HOST6, PEER_HOST, PEER_HOST6, REMOTE,
    REMOTE6, TUNNEL_MTU, Verdict, esp, sa,
};

const ALL: u32 = Capture::INNER | Capture::OUTER | Capture::DROPPED;

struct Bench {
    gateway: GatewayUnderTest,
    captures: Captures,
    inbound: SaConfig,
}

impl Bench {
    fn new() -> Self {
        let mut gateway = GatewayUnderTest::new().unwrap();
        let captures = Captures::new(&gateway.object.ebpf).unwrap();
        gateway.send_with(1, &sa(7, Aead::ChaCha20Poly1305)).unwrap();
        gateway.send_with(2, &sa(8, Aead::Aes128Gcm)).unwrap();
        let inbound = sa(9, Aead::Aes256Gcm);
        gateway.receive_with(1, &inbound).unwrap();
        Self { gateway, captures, inbound }
    }

    fn start(&self, tunnel: Option<u32>, what: u32, snap_len: u32) -> CaptureStream {
        self.captures.start(CaptureSpec { tunnel, what, snap_len }).unwrap()
    }

    /// A sealed packet from the peer.
    fn arriving(&self, sequence: u64, inner: &[u8], next_header: u8) -> Vec<u8> {
        let mut outer = Ip::new(REMOTE, LOCAL);
        outer.protocol = 50;
        ethernet(&outer.packet(&esp::seal(&self.inbound, sequence, inner, 0, next_header)))
    }

    fn run(&self, frame: &[u8], expected: Verdict) -> Vec<u8> {
        let outcome = self.gateway.run(frame).unwrap();
        assert_eq!(outcome.verdict, expected);
        outcome.frame
    }
}

fn outbound(destination: Ipv4Addr) -> Vec<u8> {
    ethernet(&Ip::new(HOST, destination).packet(&pattern(100)))
}

/// The next copied frame.
fn next(stream: &mut CaptureStream) -> CapturedFrame {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(frame) = stream.frames.try_recv() {
            return frame;
        }
        assert!(Instant::now() < deadline, "nothing was copied");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Points and contents of the next frames.
fn take<const N: usize>(stream: &mut CaptureStream) -> [(Option<CapturePoint>, Vec<u8>); N] {
    std::array::from_fn(|_| {
        let copied = next(stream);
        assert_eq!(copied.record.len as usize, copied.frame.len(), "all of it");
        (CapturePoint::from_number(copied.record.point), copied.frame)
    })
}

/// What becomes of a copied frame.
fn shown(copied: CapturedFrame) -> Packet {
    let context = Context {
        wan_addresses: WanAddresses { v4: Some(LOCAL), v6: Some(LOCAL6) },
        local_prefixes: ["10.1.0.0/16", "fd00:1::/32"].map(|prefix| prefix.parse().unwrap()).to_vec(),
        names: BTreeMap::from([(1, "one".to_owned())]),
    };
    context.packet(copied).unwrap()
}

#[test]
fn both_sides_of_both_directions_are_copied() {
    let bench = Bench::new();
    let mut stream = bench.start(Some(1), ALL, 65_535);
    let sent = outbound(PEER_HOST);
    let sealed = bench.run(&sent, Verdict::Redirect);
    // Another tunnel's, which nobody watches.
    bench.run(&outbound(OTHER_HOST), Verdict::Redirect);
    let arriving = bench.arriving(1, &Ip::new(PEER_HOST, HOST).packet(&pattern(200)), esp::IPV4);
    let opened = bench.run(&arriving, Verdict::Redirect);
    let expected = [
        (Some(CapturePoint::InnerOutbound), sent),
        (Some(CapturePoint::OuterOutbound), sealed),
        (Some(CapturePoint::OuterInbound), arriving),
        (Some(CapturePoint::InnerInbound), opened),
    ];
    assert_eq!(take(&mut stream), expected);
    assert_eq!(stream.lost(), 0);
    assert!(stream.frames.try_recv().is_err(), "nothing else");
}

/// A packet of either family with the addresses of `v4` or `v6`: source, destination.
fn packet_of(is_v6: bool, v4: [Ipv4Addr; 2], v6: [Ipv6Addr; 2]) -> Vec<u8> {
    if is_v6 {
        Ip6::new(v6[0], v6[1]).packet(&pattern(90))
    } else {
        Ip::new(v4[0], v4[1]).packet(&pattern(90))
    }
}

/// A frame from the peer with a sealed packet.
fn arriving_over(sa: &SaConfig, sequence: u64, inner: &[u8]) -> Vec<u8> {
    let next_header = if inner[0] >> 4 == 4 { esp::IPV4 } else { esp::IPV6 };
    let mut payload = esp::seal(sa, sequence, inner, 0, next_header);
    let mut protocol = 50;
    if sa.udp_encapsulation {
        (payload, protocol) = (udp(4500, 4500, &payload), 17);
    }
    ethernet(&if sa.local.is_ipv4() {
        Ip { protocol, ..Ip::new(REMOTE, LOCAL) }.packet(&payload)
    } else {
        Ip6 { next_header: protocol, ..Ip6::new(REMOTE6, LOCAL6) }.packet(&payload)
    })
}

#[test]
fn every_combination_of_families_is_copied_on_both_sides_and_when_it_is_dropped() {
    let mut bench = Bench::new();
    let mut spi = 100;
    for (outer_v6, in_udp) in [(false, false), (false, true), (true, false), (true, true)] {
        spi += 1;
        let mut sa = sa(spi, Aead::ChaCha20Poly1305);
        if outer_v6 {
            sa.local.set_ip(LOCAL6.into());
            sa.remote.set_ip(REMOTE6.into());
        }
        sa.udp_encapsulation = in_udp;
        let index = bench.gateway.send_with(1, &sa).unwrap();
        bench.gateway.receive_with(1, &sa).unwrap();
        let mut sequence = 0;
        for inner_v6 in [false, true] {
            let mut stream = bench.start(Some(1), ALL, 65_535);
            let sent = ethernet(&packet_of(inner_v6, [HOST, PEER_HOST], [HOST6, PEER_HOST6]));
            let sealed = bench.run(&sent, Verdict::Redirect);
            let back = packet_of(inner_v6, [PEER_HOST, HOST], [PEER_HOST6, HOST6]);
            let arriving = arriving_over(&sa, sequence + 1, &back);
            let opened = bench.run(&arriving, Verdict::Redirect);
            let foreign = packet_of(inner_v6, [OTHER_HOST, HOST], [OTHER_HOST6, HOST6]);
            let arriving_foreign = arriving_over(&sa, sequence + 2, &foreign);
            bench.run(&arriving_foreign, Verdict::Drop);
            bench.run(&arriving, Verdict::Drop);
            let spoofed = ethernet(&packet_of(inner_v6, [OTHER_HOST, PEER_HOST], [OTHER_HOST6, PEER_HOST6]));
            bench.run(&spoofed, Verdict::Drop);
            sequence += 2;
            let expected = [
                (Some(CapturePoint::InnerOutbound), sent.clone()),
                (Some(CapturePoint::OuterOutbound), sealed),
                (Some(CapturePoint::OuterInbound), arriving.clone()),
                (Some(CapturePoint::InnerInbound), opened),
                (Some(CapturePoint::OuterInbound), arriving_foreign),
            ];
            assert_eq!(take(&mut stream), expected, "{inner_v6} in {outer_v6}, UDP {in_udp}");
            let dropped = shown(next(&mut stream));
            let comment = "selector_mismatch: dropped after it was opened, connection one";
            assert_eq!(dropped.comment.as_deref(), Some(comment));
            assert_eq!((dropped.side, dropped.direction), (Side::Inner, Direction::Inbound));
            assert_eq!((&dropped.frame[12..14], &dropped.frame[14..]), (&sent[12..14], &*foreign));
            let expected = [
                (Some(CapturePoint::OuterInbound), arriving.clone()),
                (Some(CapturePoint::DroppedOnArrival), arriving),
                (Some(CapturePoint::DroppedOnArrival), spoofed),
            ];
            assert_eq!(take(&mut stream), expected, "{inner_v6} in {outer_v6}, UDP {in_udp}");
            assert_eq!(stream.lost(), 0);
        }
        bench.gateway.edit_sa(index, |entry| entry.hard_bytes = 1).unwrap();
        for inner_v6 in [false, true] {
            let mut stream = bench.start(Some(1), ALL, 65_535);
            let late = ethernet(&packet_of(inner_v6, [HOST, PEER_HOST], [HOST6, PEER_HOST6]));
            bench.run(&late, Verdict::Drop);
            let copied = next(&mut stream);
            assert_eq!(copied.record.reason, DropReason::LifetimeExpired as u32);
            assert_eq!(copied.frame, late, "{inner_v6} in {outer_v6}");
        }
    }
}

#[test]
fn what_arrived_in_fragments_is_copied_as_if_it_had_arrived_whole() {
    let mut bench = Bench::new();
    for (spi, outer_v6) in [(200, false), (201, true)] {
        let mut sa = sa(spi, Aead::Aes128Gcm);
        if outer_v6 {
            sa.local.set_ip(LOCAL6.into());
            sa.remote.set_ip(REMOTE6.into());
        }
        bench.gateway.receive_with(1, &sa).unwrap();
        let inner = Ip::new(PEER_HOST, HOST).packet(&pattern(90));
        let whole = arriving_over(&sa, 1, &inner);
        let frame = [&return_header(ReturnKind::Reassembled as u32), &whole[14..]].concat();
        let mut stream = bench.start(Some(1), ALL, 65_535);
        let opened = bench.gateway.run_program("returned", &frame).unwrap();
        assert_eq!(opened.verdict, Verdict::Redirect);
        assert_eq!(bench.gateway.run_program("returned", &frame).unwrap().verdict, Verdict::Drop);
        let whole = [&[0; 12][..], &whole[12..]].concat();
        let expected = [
            (Some(CapturePoint::OuterInbound), whole.clone()),
            (Some(CapturePoint::InnerInbound), opened.frame),
            (Some(CapturePoint::OuterInbound), whole.clone()),
            (Some(CapturePoint::DroppedOnArrival), whole),
        ];
        assert_eq!(take(&mut stream), expected);
    }
}

#[test]
fn only_what_is_wanted_is_copied_and_no_more_of_a_frame() {
    let bench = Bench::new();
    let mut outer = bench.start(Some(1), Capture::OUTER, 60);
    let mut all_inner = bench.start(None, Capture::INNER, 50);
    for destination in [OTHER_HOST, PEER_HOST] {
        bench.run(&outbound(destination), Verdict::Redirect);
    }
    let (first, second) = (next(&mut all_inner), next(&mut all_inner));
    assert_eq!([first.record.tunnel, second.record.tunnel], [2, 1]);
    let copied = next(&mut outer);
    assert_eq!(copied.record.point, CapturePoint::OuterOutbound as u32);
    assert_eq!((copied.frame.len(), copied.record.captured), (60, 60));
    assert!(copied.record.len > 134, "{:?}", copied.record);
    assert!(outer.frames.try_recv().is_err() && all_inner.frames.try_recv().is_err());
}

#[test]
fn dropped_packets_come_with_their_reason_in_every_stage() {
    let bench = Bench::new();
    let mut stream = bench.start(Some(1), Capture::DROPPED, 65_535);
    let inner = Ip::new(PEER_HOST, HOST).packet(&pattern(90));
    let foreign = Ip::new(OTHER_HOST, HOST).packet(&pattern(90));
    let mut unknown = bench.arriving(1, &inner, esp::IPV4);
    unknown[34..38].copy_from_slice(&[0, 0, 0xab, 0xcd]);
    let mut forged = bench.arriving(2, &inner, esp::IPV4);
    let last = forged.len() - 1;
    forged[last] ^= 1;
    let outside = ethernet(&Ip::new([172, 16, 0, 1].into(), PEER_HOST).packet(&pattern(90)));
    let good = bench.arriving(5, &inner, esp::IPV4);
    bench.run(&good, Verdict::Redirect);

    let cases = [
        (unknown.clone(), 0, DropReason::UnknownSpi, CapturePoint::DroppedOnArrival),
        (outside.clone(), 1, DropReason::SourceOutsideVnet, CapturePoint::DroppedOnArrival),
        (forged.clone(), 1, DropReason::AuthenticationFailed, CapturePoint::DroppedOpening),
        (good.clone(), 1, DropReason::Replayed, CapturePoint::DroppedOnArrival),
        (
            bench.arriving(6, &foreign, esp::IPV4),
            1,
            DropReason::SelectorMismatch,
            CapturePoint::DroppedOpened,
        ),
        (bench.arriving(7, &inner, 59), 1, DropReason::Dummy, CapturePoint::DroppedOpened),
    ];
    let mut packets = Vec::new();
    for (frame, tunnel, reason, point) in cases {
        bench.run(&frame, Verdict::Drop);
        let copied = next(&mut stream);
        assert_eq!((copied.record.tunnel, copied.record.reason), (tunnel, reason as u32), "{reason:?}");
        assert_eq!(CapturePoint::from_number(copied.record.point), Some(point), "{reason:?}");
        let packet = shown(copied);
        let comment = packet.comment.clone().unwrap();
        assert!(comment.starts_with(&format!("{}: dropped ", reason.name())), "{comment}");
        assert_eq!(comment.ends_with(", connection one"), tunnel == 1, "{comment}");
        packets.push((packet.side, packet.direction, packet.frame));
    }
    let opened = |packet: &[u8]| [&[0; 12][..], &[0x08, 0x00], packet].concat();
    let expected = [
        (Side::Outer, Direction::Inbound, unknown),
        (Side::Inner, Direction::Outbound, outside),
        (Side::Outer, Direction::Inbound, forged),
        (Side::Outer, Direction::Inbound, good),
        (Side::Inner, Direction::Inbound, opened(&foreign)),
        (Side::Inner, Direction::Inbound, opened(&inner)),
    ];
    assert_eq!(packets, expected);
    assert!(stream.frames.try_recv().is_err(), "packets that pass are not dropped");
}

#[test]
fn without_a_capture_nothing_is_copied_and_drops_are_forgotten() {
    let bench = Bench::new();
    let outside = ethernet(&Ip::new([172, 16, 0, 1].into(), PEER_HOST).packet(&pattern(90)));
    bench.run(&outside, Verdict::Drop);
    bench.run(&outbound(PEER_HOST), Verdict::Redirect);
    let mut stream = bench.start(None, ALL, 65_535);
    bench.run(&outbound(PEER_HOST), Verdict::Redirect);
    let points = take::<2>(&mut stream).map(|(point, _)| point);
    assert_eq!(points, [Some(CapturePoint::InnerOutbound), Some(CapturePoint::OuterOutbound)]);
    assert!(stream.frames.try_recv().is_err(), "nothing from before");
}

#[test]
fn a_capture_ends_with_its_stream_and_with_its_tunnel() {
    let mut bench = Bench::new();
    bench.gateway.open_lane(PortRole::LAN).unwrap();
    let produced = |bench: &Bench| bench.gateway.lane().unwrap().produced;
    bench.gateway.run(&outbound(PEER_HOST)).unwrap();
    assert_eq!(produced(&bench), 1, "a worker takes it");

    let stream = bench.start(Some(1), Capture::OUTER, 100);
    bench.gateway.run(&outbound(PEER_HOST)).unwrap();
    assert_eq!(produced(&bench), 1, "packets of a tunnel that is watched go to no worker");
    bench.gateway.run(&outbound(OTHER_HOST)).unwrap();
    assert_eq!(produced(&bench), 2, "those of others do");
    drop(stream);
    let deadline = Instant::now() + Duration::from_secs(20);
    while produced(&bench) == 2 {
        assert!(Instant::now() < deadline, "the tunnel is still watched");
        std::thread::sleep(Duration::from_millis(20));
        bench.gateway.run(&outbound(PEER_HOST)).unwrap();
    }

    let mut stream = bench.start(Some(1), Capture::OUTER, 100);
    let mut other = bench.start(None, Capture::OUTER, 100);
    bench.captures.forget(1).unwrap();
    assert_eq!(stream.frames.blocking_recv().map(|copied| copied.record.tunnel), None);
    bench.gateway.run(&outbound(PEER_HOST)).unwrap();
    assert_eq!(next(&mut other).record.tunnel, 1, "another capture goes on");
}

#[test]
fn what_finds_no_room_is_counted() {
    let bench = Bench::new();
    let mut stream = bench.start(Some(1), Capture::INNER, 65_535);
    let frame = ethernet(&Ip::new(HOST, PEER_HOST).packet(&pattern(TUNNEL_MTU as usize - 20)));
    let runs = 20_000;
    for _ in 0..runs {
        bench.run(&frame, Verdict::Redirect);
    }
    // Reading does not begin before all is there, so that most of it finds no room.
    let mut read = 0;
    let deadline = Instant::now() + Duration::from_mins(1);
    while read + stream.lost() < runs {
        assert!(Instant::now() < deadline, "{read} read and {} lost of {runs}", stream.lost());
        match stream.frames.try_recv() {
            Ok(copied) => {
                assert_eq!(copied.frame, frame);
                read += 1;
            }
            Err(_) => std::thread::sleep(Duration::from_millis(5)),
        }
    }
    assert!(read >= 4096 && stream.lost() > 0, "{read} read, {} lost", stream.lost());
    assert_eq!(read + stream.lost(), runs);
}

#[test]
fn captures_are_bounded_in_number() {
    let bench = Bench::new();
    let streams: Vec<_> = (0..16).map(|_| bench.start(Some(1), Capture::INNER, 100)).collect();
    let spec = CaptureSpec { tunnel: None, what: ALL, snap_len: 100 };
    let error = bench.captures.start(spec).map(|_| ()).unwrap_err().to_string();
    assert_eq!(error, "16 captures run already");
    drop(streams);
    assert!(bench.captures.start(spec).is_ok(), "those that ended do not count");
}
