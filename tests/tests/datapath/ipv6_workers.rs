//! IPv6 through workers: what they are given, and what becomes of what they hand back.

use std::net::SocketAddr;

use gateway_common::{Aead, DropReason, Flow, FlowKey, PortRole, ProgramSlot};
use gateway_user::datapath::SaConfig;
use xdp_harness::frames::{Ip, Ip6, ethernet, pattern};
use xdp_harness::worker::Handed;
use xdp_harness::{
    GatewayUnderTest, HOST, HOST_MAC, HOST6, INGRESS, LOCAL, LOCAL6, OTHER_HOST6, Outcome, PEER_HOST,
    PEER_HOST6, REMOTE, REMOTE6, Verdict, esp, sa,
};

const BOTH: u32 = PortRole::LAN | PortRole::WAN;

fn gateway() -> GatewayUnderTest {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.open_lane(BOTH).unwrap();
    gateway
}

fn sa_of(spi: u32, outer_v6: bool) -> SaConfig {
    let mut sa = sa(spi, Aead::Aes256Gcm);
    if outer_v6 {
        sa.local = SocketAddr::new(LOCAL6.into(), 4500);
        sa.remote = SocketAddr::new(REMOTE6.into(), 4500);
    }
    sa
}

/// A frame with the ESP packet around `payload` as it arrives at the gateway.
fn arriving(sa: &SaConfig, sequence: u64, payload: &[u8], next_header: u8, class: u8) -> Vec<u8> {
    let esp = esp::seal(sa, sequence, payload, 0, next_header);
    if sa.local.is_ipv4() {
        return ethernet(&Ip { protocol: 50, tos: class, ..Ip::new(REMOTE, LOCAL) }.packet(&esp));
    }
    ethernet(&Ip6 { next_header: 50, class, ..Ip6::new(REMOTE6, LOCAL6) }.packet(&esp))
}

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

fn inner() -> Ip6 {
    Ip6::new(PEER_HOST6, HOST6)
}

/// The key that packets of `ip` out of tunnel 1 have, written by hand.
fn key(ip: &Ip6) -> FlowKey {
    let word = |address: std::net::Ipv6Addr, index: usize| {
        u32::from_ne_bytes(address.octets()[4 * index..][..4].try_into().unwrap())
    };
    FlowKey {
        tunnel: 1,
        ingress_ifindex: INGRESS,
        class: 1 << 16 | u32::from(ip.class & 0xfc) << 8 | u32::from(ip.next_header),
        source: word(ip.source, 3),
        destination: word(ip.destination, 3),
        source_front: [0, 1, 2].map(|index| word(ip.source, index)),
        destination_front: [0, 1, 2].map(|index| word(ip.destination, index)),
    }
}

fn noted(gateway: &GatewayUnderTest, ip: &Ip6) -> Option<Flow> {
    let flow = gateway.flow(key(ip)).unwrap();
    (flow.key == key(ip) && flow.mtu != 0).then_some(flow)
}

#[test]
fn workers_get_frames_of_every_combination() {
    let mut gateway = gateway();
    for (spi, (inner_v6, outer_v6)) in [(true, false), (false, true), (true, true)].into_iter().enumerate() {
        for udp in [false, true] {
            let mut sa = sa_of(0x100 + 2 * spi as u32 + u32::from(udp), outer_v6);
            sa.udp_encapsulation = udp;
            gateway.send_with(1, &sa).unwrap();
            let (sent, received) = if inner_v6 {
                let ip = Ip6::new(HOST6, PEER_HOST6);
                (ip.packet(&pattern(700)), Ip6 { hop_limit: 63, ..ip }.packet(&pattern(700)))
            } else {
                let ip = Ip::new(HOST, PEER_HOST);
                (ip.packet(&pattern(700)), Ip { ttl: 63, ..ip }.packet(&pattern(700)))
            };
            let outcome = gateway.run(&ethernet(&sent)).unwrap();
            assert_eq!(outcome.verdict, Verdict::Redirect);
            let handed = Handed::parse(&outcome.frame);
            let next = if outer_v6 && udp { ProgramSlot::EncapDoneUdp6 } else { ProgramSlot::EncapDone };
            assert_eq!(handed.handoff.job.next, next as u32, "{inner_v6} in {outer_v6}, UDP {udp}");
            let headers = if outer_v6 { 40 } else { 20 } + if udp { 8 } else { 0 };
            let sealed = handed.seal(&sa);
            let next_header = if inner_v6 { esp::IPV6 } else { esp::IPV4 };
            let (sequence, opened) = esp::open_as(&sa, 0, &sealed[14 + headers..], next_header);
            assert_eq!((sequence, opened), (1, received));
        }
    }
}

#[test]
fn what_a_worker_opened_is_delivered_as_the_kernel_engine_delivers_it() {
    let mut gateway = gateway();
    let packet = |ip: Ip6| ip.packet(&pattern(80));
    let specimens = [
        ("plain", packet(inner()), 41, 0),
        ("large", inner().packet(&pattern(1378)), 41, 0),
        ("congested", packet(Ip6 { class: 2, ..inner() }), 41, 3),
        ("congested without ECN", packet(inner()), 41, 3),
        ("hop limit 1", packet(Ip6 { hop_limit: 1, ..inner() }), 41, 0),
        ("hop-by-hop options", packet(Ip6 { next_header: 0, ..inner() }), 41, 0),
        ("no neighbour entry", packet(Ip6::new(PEER_HOST6, "fd00:1::99".parse().unwrap())), 41, 0),
        ("the gateway itself", packet(Ip6::new(PEER_HOST6, "fd00:1::1".parse().unwrap())), 41, 0),
        ("another tunnel's source", packet(Ip6::new(OTHER_HOST6, HOST6)), 41, 0),
        ("destination outside the VNet", packet(Ip6::new(PEER_HOST6, REMOTE6)), 41, 0),
        ("dummy", packet(inner()), 59, 0),
        ("announced as IPv4", packet(inner()), 4, 0),
        ("shorter than it says", packet(inner())[..60].to_vec(), 41, 0),
    ];
    for outer_v6 in [false, true] {
        let sa = sa_of(0x200 + u32::from(outer_v6), outer_v6);
        let index = gateway.receive_with(1, &sa).unwrap();
        let mut sequence = 0;
        for (what, payload, next_header, class) in &specimens {
            let state = |gateway: &GatewayUnderTest| {
                let drops: Vec<u64> =
                    DropReason::ALL.iter().map(|reason| gateway.dropped(1, *reason).unwrap()).collect();
                (gateway.read_sa(index).unwrap().bytes, drops)
            };
            let before = state(&gateway);
            sequence += 2;
            gateway.edit_lane(|lane| lane.limit = 0).unwrap();
            let expected = gateway.run(&arriving(&sa, sequence - 1, payload, *next_header, *class)).unwrap();
            let by_kernel = state(&gateway);
            gateway.edit_lane(|lane| lane.limit = 1_000_000).unwrap();
            let handed = opened(&gateway, &sa, &arriving(&sa, sequence, payload, *next_header, *class));
            let returned = gateway.lane().unwrap().returned;
            let outcome = give_back(&gateway, &handed.deliver());
            let by_worker = state(&gateway);
            assert_eq!(outcome.verdict, expected.verdict, "{what}");
            if outcome.verdict == Verdict::Redirect {
                assert!(outcome.frame == expected.frame, "{what}: the frame differs");
            }
            assert_eq!(gateway.lane().unwrap().returned, returned + 1, "{what}");
            assert_eq!(by_worker.0 - by_kernel.0, by_kernel.0 - before.0, "{what}: bytes");
            for (index, reason) in DropReason::ALL.iter().enumerate() {
                let difference = by_kernel.1[index] - before.1[index];
                assert_eq!(by_worker.1[index] - by_kernel.1[index], difference, "{what}: {reason:?}");
            }
        }
    }
}

#[test]
fn ways_are_noted_and_found_again_for_their_flow_only() {
    let mut gateway = gateway();
    let sa = sa_of(0x300, true);
    gateway.receive_with(1, &sa).unwrap();
    let handed = opened(&gateway, &sa, &arriving(&sa, 1, &inner().packet(&pattern(80)), 41, 0));
    assert!(noted(&gateway, &inner()).is_none());
    assert_eq!(give_back(&gateway, &handed.resolve(&inner().packet(&[]))).verdict, Verdict::Drop);
    let flow = noted(&gateway, &inner()).expect("the way was asked for");
    assert_eq!((flow.ethernet[..6].to_vec(), flow.mtu), (HOST_MAC.to_vec(), 1500));
    // One that differs in the front of an address is another flow, and has no way: its destination is not of the VNet.
    let other = Ip6::new(PEER_HOST6, "fd09:1::10".parse().unwrap());
    give_back(&gateway, &handed.resolve(&other.packet(&[])));
    assert!(noted(&gateway, &other).is_none());
    // What is no way any more is taken back.
    assert!(
        std::process::Command::new("ip")
            .args(["route", "add", "unreachable", "fd00:1::10"])
            .status()
            .unwrap()
            .success()
    );
    give_back(&gateway, &handed.resolve(&inner().packet(&[])));
    assert!(noted(&gateway, &inner()).is_none());
}
