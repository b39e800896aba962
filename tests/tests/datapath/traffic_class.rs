//! The traffic class of outer and inner headers, value by value (RFC 6040, RFC 2983), with both engines.

use aya::maps::{Array, MapData, RingBuf};
use gateway_common::{Aead, DropReason, Event, EventKind, PortRole};
use gateway_user::datapath::{PacketPolicy, SaConfig};
use gateway_user::model::OuterDscp;
use xdp_harness::frames::{Ip, checksum, ethernet, pattern};
use xdp_harness::worker::Handed;
use xdp_harness::{GatewayUnderTest, HOST, LOCAL, Outcome, PEER_HOST, REMOTE, Verdict, esp, sa};

const NOT_ECT: u8 = 0b00;
const ECT_1: u8 = 0b01;
const ECT_0: u8 = 0b10;
const CE: u8 = 0b11;

const DROP: u8 = 0xff;

/// Outer field, outgoing field, and whether the figure has three exclamation marks there.
type Cell = (u8, u8, bool);

/// Figure 4 of RFC 6040: inner field and cells.
const FIGURE_4: [(u8, [Cell; 4]); 4] = [
    (NOT_ECT, [(NOT_ECT, NOT_ECT, false), (ECT_0, NOT_ECT, true), (ECT_1, NOT_ECT, true), (CE, DROP, true)]),
    (ECT_0, [(NOT_ECT, ECT_0, false), (ECT_0, ECT_0, false), (ECT_1, ECT_1, false), (CE, CE, false)]),
    (ECT_1, [(NOT_ECT, ECT_1, false), (ECT_0, ECT_1, false), (ECT_1, ECT_1, false), (CE, CE, false)]),
    (CE, [(NOT_ECT, CE, false), (ECT_0, CE, false), (ECT_1, CE, true), (CE, CE, false)]),
];

/// DSCPs: best effort, AF11, EF, and the largest.
const DSCPS: [u8; 4] = [0, 10, 46, 63];

fn packet(source: std::net::Ipv4Addr, destination: std::net::Ipv4Addr, tos: u8, ttl: u8) -> Vec<u8> {
    Ip { tos, ttl, ..Ip::new(source, destination) }.packet(&pattern(40))
}

/// What leaves of `frame`, which a worker seals if the programs hand it over.
fn sealed(gateway: &GatewayUnderTest, sa: &SaConfig, frame: &[u8], by_worker: bool) -> Vec<u8> {
    let outcome = gateway.run(frame).unwrap();
    assert_eq!(outcome.verdict, Verdict::Redirect, "{:?}", gateway.counters.drops(1));
    if by_worker { Handed::parse(&outcome.frame).seal(sa) } else { outcome.frame }
}

/// Each traffic class of an inner packet, under each policy.
#[test]
fn encapsulation_copies_ecn_and_copies_or_sets_the_dscp() {
    for by_worker in [false, true] {
        let mut gateway = GatewayUnderTest::new().unwrap();
        if by_worker {
            gateway.open_lane(PortRole::LAN | PortRole::WAN).unwrap();
        }
        let policies = [OuterDscp::Copy].into_iter().chain((0..=63).step_by(9).map(OuterDscp::Set));
        for (number, dscp) in policies.enumerate() {
            let policy = PacketPolicy { dscp, ..PacketPolicy::default() };
            let sa = SaConfig { policy, ..sa(0x8000 + number as u32, Aead::ChaCha20Poly1305) };
            gateway.send_with(1, &sa).unwrap();
            for tos in 0..=255 {
                let frame = sealed(&gateway, &sa, &ethernet(&packet(HOST, PEER_HOST, tos, 64)), by_worker);
                let expected = match dscp {
                    OuterDscp::Copy => tos,
                    OuterDscp::Set(dscp) => dscp * 4 + tos % 4,
                };
                assert_eq!(frame[15], expected, "inner {tos:#x}, {dscp}");
                assert_eq!(checksum(&frame[14..34]), 0, "inner {tos:#x}, {dscp}");
                let (_, inner) = esp::open(&sa, 0, &frame[34..]);
                assert!(
                    inner == packet(HOST, PEER_HOST, tos, 63),
                    "the inner header stays: {tos:#x}, {dscp}"
                );
            }
        }
    }
}

#[test]
fn the_dscp_changes_while_packets_flow() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let sa = sa(0x8050, Aead::ChaCha20Poly1305);
    gateway.send_with(1, &sa).unwrap();
    let frame = ethernet(&packet(HOST, PEER_HOST, 10 << 2 | ECT_0, 64));
    for (dscp, expected) in [(OuterDscp::Copy, 10), (OuterDscp::Set(46), 46), (OuterDscp::Copy, 10)] {
        gateway.sas.set_policy(1, PacketPolicy { dscp, ..PacketPolicy::default() });
        assert_eq!(gateway.run(&frame).unwrap().frame[15], expected << 2 | ECT_0);
    }
}

/// A gateway, its events, and when each was raised last.
struct Bench {
    gateway: GatewayUnderTest,
    events: RingBuf<MapData>,
    times: Array<MapData, u64>,
    by_worker: bool,
}

impl Bench {
    fn new(by_worker: bool) -> Self {
        let mut gateway = GatewayUnderTest::new().unwrap();
        if by_worker {
            gateway.open_lane(PortRole::LAN | PortRole::WAN).unwrap();
        }
        let mut take = |name| gateway.object.ebpf.take_map(name).unwrap();
        let (events, times) = (take("EVENTS").try_into().unwrap(), take("EVENT_TIMES").try_into().unwrap());
        Self { gateway, events, times, by_worker }
    }

    /// Has the packet decapsulated: by the programs, or opened by a worker, which hands it back.
    fn opened(&self, sa: &SaConfig, frame: &[u8]) -> Outcome {
        let outcome = self.gateway.run(frame).unwrap();
        if !self.by_worker {
            return outcome;
        }
        let mut handed = Handed::parse(&outcome.frame);
        assert!(handed.open(sa));
        self.gateway.run_program("returned", &handed.deliver()).unwrap()
    }

    /// The kinds, tunnels and SPIs of the events since the last call; however short a time ago that was, each may come again.
    fn events(&mut self) -> Vec<(u32, u32, [u8; 4])> {
        let mut events = Vec::new();
        while let Some(record) = self.events.next() {
            // SAFETY: the ring holds events only, and every bit pattern is one.
            let event = unsafe { record.as_ptr().cast::<Event>().read_unaligned() };
            assert_eq!(event.source, gateway_common::ip::to_words(&PEER_HOST.to_ipv6_mapped().octets()));
            events.push((event.kind, event.tunnel, event.spi));
        }
        (0..self.times.len()).for_each(|index| self.times.set(index, 0, 0).unwrap());
        events
    }
}

/// Each cell of figure 4, whatever the DSCPs are: the inner one stays (the pipe model, and RFC 4301 section 5.1.2.1).
#[test]
fn decapsulation_follows_figure_4_and_keeps_the_inner_dscp() {
    for by_worker in [false, true] {
        let mut bench = Bench::new(by_worker);
        let sa = sa(0x8100, Aead::ChaCha20Poly1305);
        bench.gateway.receive_with(1, &sa).unwrap();
        bench.events();
        let (mut sequence, mut dropped) = (0, 0);
        for (inner_ecn, cells) in FIGURE_4 {
            for (outer_ecn, expected, is_alarming) in cells {
                for (inner_dscp, outer_dscp) in
                    DSCPS.into_iter().flat_map(|inner| DSCPS.map(|outer| (inner, outer)))
                {
                    sequence += 1;
                    let cell =
                        format!("inner {inner_dscp}/{inner_ecn:02b}, outer {outer_dscp}/{outer_ecn:02b}");
                    let sent = packet(PEER_HOST, HOST, inner_dscp << 2 | inner_ecn, 64);
                    let outer =
                        Ip { tos: outer_dscp << 2 | outer_ecn, protocol: 50, ..Ip::new(REMOTE, LOCAL) };
                    let esp = esp::seal(&sa, sequence, &sent, 0, esp::IPV4);
                    let outcome = bench.opened(&sa, &ethernet(&outer.packet(&esp)));
                    if expected == DROP {
                        dropped += 1;
                        assert_eq!(outcome.verdict, Verdict::Drop, "{cell}");
                    } else {
                        assert_eq!(outcome.verdict, Verdict::Redirect, "{cell}");
                        let forwarded = packet(PEER_HOST, HOST, inner_dscp << 2 | expected, 63);
                        assert!(outcome.frame[14..] == forwarded, "{cell}: {:02x?}", &outcome.frame[14..34]);
                    }
                    let event = (EventKind::AlarmingEcn as u32, 1, sa.spi.to_be_bytes());
                    let events = if is_alarming { vec![event] } else { Vec::new() };
                    assert_eq!(bench.events(), events, "{cell}");
                }
            }
        }
        assert_eq!(bench.gateway.dropped(1, DropReason::EcnDrop).unwrap(), dropped);
        assert_eq!((sequence, dropped), (256, 16));
    }
}
