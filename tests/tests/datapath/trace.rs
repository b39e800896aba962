//! What the agent says of a packet is what the programs do with it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use gateway_common::{Aead, Budget, DropReason, PortRole, Share};
use gateway_user::datapath::{Origin, SaConfig, Trace, TracedPacket, TracedVerdict};
use xdp_harness::frames::{Ip, Ip6, ethernet, pattern, udp};
use xdp_harness::{
    GatewayUnderTest, HOST, HOST_MAC, HOST6, INGRESS, LOCAL, LOCAL6, OTHER_HOST, OTHER_HOST6, PEER_HOST,
    PEER_HOST6, REMOTE, REMOTE6, ROUTER_MAC, TUNNEL_MTU, UNRESOLVED_REMOTE, UNRESOLVED_REMOTE6, VGW0_MAC,
    Verdict, esp, sa,
};

/// Hosts of the VNet that have no neighbour entry.
const SILENT_HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 2, 3);
const SILENT_HOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 2, 3);
/// Outside of everything.
const STRANGER: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 1);
const STRANGER6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 1);
/// Protocols of UDP, ICMP and hop-by-hop options.
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
/// Whether outer packets are IPv6.
const OUTER_V6: [bool; 2] = [false, true];

/// Drops by tunnel and reason.
type Drops = BTreeMap<(u32, &'static str), u64>;

fn drops(gateway: &GatewayUnderTest) -> Drops {
    let of = |tunnel| {
        gateway.counters.drops(tunnel).unwrap().into_iter().map(move |(name, n)| ((tunnel, name), n))
    };
    (0..=2).flat_map(of).collect()
}

/// A packet of either family with a UDP datagram.
fn asked(source: impl Into<IpAddr>, destination: impl Into<IpAddr>, size: usize) -> TracedPacket {
    TracedPacket {
        source: source.into(),
        destination: destination.into(),
        protocol: UDP,
        port: Some(9),
        size: size as u32,
        ttl: 64,
        dont_fragment: true,
        quotes: None,
    }
}

/// An error about a packet between `quotes`.
fn error(source: impl Into<IpAddr>, destination: impl Into<IpAddr>, quotes: [IpAddr; 2]) -> TracedPacket {
    let packet = asked(source, destination, 200);
    let protocol = if packet.source.is_ipv4() { ICMP } else { ICMPV6 };
    TracedPacket { protocol, port: None, quotes: Some(quotes), ..packet }
}

/// The bytes of a packet that is asked about.
fn bytes(packet: &TracedPacket) -> Vec<u8> {
    let TracedPacket { source, destination, protocol, ttl, size, .. } = *packet;
    let header_len = if source.is_ipv4() { 20 } else { 40 };
    let len = size as usize - header_len;
    let payload = match packet.quotes {
        Some([source, destination]) => {
            let kind = if source.is_ipv4() { 11 } else { 3 };
            let quoted = bytes(&asked(source, destination, 1000));
            [&[kind, 0, 0, 0, 0, 0, 0, 0], &quoted[..len - 8]].concat()
        }
        None if protocol == HOP_BY_HOP => [&[UDP, 0, 1, 4, 0, 0, 0, 0], &*pattern(len - 8)].concat(),
        None => udp(7, 9, &pattern(len - 8)),
    };
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            Ip { ttl, protocol, ..Ip::new(source, destination) }.packet(&payload)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            Ip6 { hop_limit: ttl, next_header: protocol, ..Ip6::new(source, destination) }.packet(&payload)
        }
        _ => panic!("{source} and {destination}"),
    }
}

/// An SA whose outer packets are IPv6 or IPv4.
fn sa_of(spi: u32, aead: Aead, outer_v6: bool) -> SaConfig {
    let mut sa = sa(spi, aead);
    if outer_v6 {
        sa.local = SocketAddr::new(LOCAL6.into(), 4500);
        sa.remote = SocketAddr::new(REMOTE6.into(), 4500);
    }
    sa
}

/// The frame with `packet`, sealed as number `sequence`, as it arrives from the peer.
fn sealed(sa: &SaConfig, sequence: u64, packet: &[u8]) -> Vec<u8> {
    let next_header = if packet[0] >> 4 == 4 { esp::IPV4 } else { esp::IPV6 };
    let payload = esp::seal(sa, sequence, packet, 0, next_header);
    ethernet(&if sa.local.is_ipv4() {
        Ip { protocol: 50, ..Ip::new(REMOTE, LOCAL) }.packet(&payload)
    } else {
        Ip6 { next_header: 50, ..Ip6::new(REMOTE6, LOCAL6) }.packet(&payload)
    })
}

/// Fails unless the programs do with `frame` what `trace` said, counters included. `mac` is the neighbour of packets that go straight out.
fn agrees(gateway: &GatewayUnderTest, trace: &Trace, frame: &[u8], mac: [u8; 6]) {
    let mut expected = drops(gateway);
    let outcome = gateway.run(frame).unwrap();
    match trace.verdict {
        TracedVerdict::Forward(_) => {
            assert_eq!((outcome.verdict, &outcome.frame[..6]), (Verdict::Redirect, &mac[..]), "{trace:?}");
        }
        TracedVerdict::Stack => {
            assert_eq!(
                (outcome.verdict, &outcome.frame[..6]),
                (Verdict::Redirect, &VGW0_MAC[..]),
                "{trace:?}"
            );
        }
        TracedVerdict::Kernel => {
            assert_eq!((outcome.verdict, &*outcome.frame), (Verdict::Pass, frame), "{trace:?}");
        }
        TracedVerdict::Drop { tunnel, reason } => {
            assert_eq!(outcome.verdict, Verdict::Drop, "{trace:?}");
            *expected.entry((tunnel, reason.name())).or_default() += 1;
            let last = trace.steps.last().unwrap();
            assert_eq!((last.rule, last.passed), (reason.name(), false), "{trace:?}");
        }
    }
    assert_eq!(drops(gateway), expected, "{trace:?}");
}

/// Every packet of a list of addresses of both families, lengths and times to live, and errors that quote such packets.
fn packets() -> Vec<TracedPacket> {
    let v4 = [HOST, SILENT_HOST, PEER_HOST, OTHER_HOST, STRANGER, LOCAL].map(IpAddr::from);
    let v6 = [HOST6, SILENT_HOST6, PEER_HOST6, OTHER_HOST6, STRANGER6, LOCAL6].map(IpAddr::from);
    let mtu = TUNNEL_MTU as usize;
    let mut packets = Vec::new();
    for addresses in [v4, v6] {
        let [host, _, peer, other, stranger, local] = addresses;
        // Nothing arrives from the gateway itself.
        for source in addresses.into_iter().filter(|address| *address != local) {
            for destination in addresses {
                for (ttl, size) in
                    [1, 2, 64].into_iter().flat_map(|ttl| [84, mtu, mtu + 1].map(|size| (ttl, size)))
                {
                    packets.push(TracedPacket { ttl, ..asked(source, destination, size) });
                }
                if source.is_ipv6() {
                    packets.push(TracedPacket { protocol: HOP_BY_HOP, ..asked(source, destination, 200) });
                }
            }
        }
        let martian = if host.is_ipv4() { [127, 0, 0, 9].into() } else { IpAddr::V6(Ipv6Addr::LOCALHOST) };
        for source in [stranger, martian, other] {
            for quotes in
                [[peer, host], [other, host], [host, peer], [host, other], [host, host], [stranger, host]]
            {
                let answered = error(source, quotes[0], quotes);
                packets.push(TracedPacket { size: if host.is_ipv4() { 55 } else { 95 }, ..answered.clone() });
                packets.extend([answered, error(source, peer, quotes), error(source, host, quotes)]);
            }
        }
    }
    packets
}

#[test]
fn packets_from_interfaces_go_as_the_agent_says() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    for outer_v6 in OUTER_V6 {
        gateway.send_with(1, &sa_of(7 + u32::from(outer_v6), Aead::ChaCha20Poly1305, outer_v6)).unwrap();
        let mut kinds = BTreeMap::<String, u32>::new();
        for roles in [PortRole::LAN, PortRole::WAN, PortRole::LAN | PortRole::WAN, PortRole::TUNNEL] {
            gateway.set_roles(roles).unwrap();
            for packet in packets() {
                let trace = gateway.trace(&packet, Origin::Interface(INGRESS)).unwrap();
                let frame = ethernet(&bytes(&packet));
                if roles == PortRole::TUNNEL && trace.verdict == TracedVerdict::Kernel {
                    // No route leads such packets there; the programs refuse them all the same.
                    assert_eq!(gateway.run(&frame).unwrap().verdict, Verdict::Drop);
                    continue;
                }
                agrees(&gateway, &trace, &frame, ROUTER_MAC);
                let family = if packet.source.is_ipv4() { 4 } else { 6 };
                *kinds.entry(format!("{:?} of IPv{family}", trace.verdict)).or_default() += 1;
            }
        }
        // The list has packets of every kind in each family: forwarded, left to the kernel, seven sorts of drops, and what is too
        // large for the WAN with an outer IPv6 header.
        assert_eq!(kinds.len(), 2 * (9 + usize::from(outer_v6)), "{kinds:?}");
    }
}

#[test]
fn packets_from_tunnels_go_as_the_agent_says() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let origin = Origin::Tunnel { tunnel: 1, ingress_ifindex: INGRESS };
    for outer_v6 in OUTER_V6 {
        let inbound = sa_of(9 + u32::from(outer_v6), Aead::ChaCha20Poly1305, outer_v6);
        gateway.receive_with(1, &inbound).unwrap();
        let mut sequence = 0;
        let mut kinds = BTreeMap::<String, u32>::new();
        for lan_role in [PortRole::LAN, PortRole::WAN] {
            gateway.set_roles_of("lan", lan_role).unwrap();
            // Ways that were noted under the other role are void, as they are when the agent changes something.
            gateway.set_epoch(u64::from(lan_role) + 4 * u64::from(outer_v6)).unwrap();
            for packet in packets() {
                sequence += 1;
                let trace = gateway.trace(&packet, origin).unwrap();
                agrees(&gateway, &trace, &sealed(&inbound, sequence, &bytes(&packet)), HOST_MAC);
                let family = if packet.source.is_ipv4() { 4 } else { 6 };
                *kinds.entry(format!("{:?} of IPv{family}", trace.verdict)).or_default() += 1;
            }
        }
        assert_eq!(kinds.len(), 2 * 4, "{kinds:?}");
    }
}

#[test]
fn errors_go_through_tunnels_for_what_they_quote() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.send_with(1, &sa(7, Aead::Aes128Gcm)).unwrap();
    let tunnel = Origin::Tunnel { tunnel: 1, ingress_ifindex: INGRESS };
    for (router, host, peer) in [
        (IpAddr::from(STRANGER), HOST.into(), PEER_HOST.into()),
        (STRANGER6.into(), HOST6.into(), PEER_HOST6.into()),
    ] {
        for (packet, origin, text) in [
            (error(router, peer, [peer, host]), Origin::Interface(INGRESS), "came out of connection tunnel1"),
            (error(router, host, [host, peer]), tunnel, "went into connection tunnel1"),
        ] {
            let trace = gateway.trace(&packet, origin).unwrap();
            assert!(matches!(trace.verdict, TracedVerdict::Forward(_)), "{trace:?}");
            assert!(trace.steps.iter().any(|step| step.detail.contains(text)), "{trace:?}");
            let other = TracedPacket { quotes: None, ..packet };
            assert!(matches!(gateway.trace(&other, origin).unwrap().verdict, TracedVerdict::Drop { .. }));
        }
    }
}

#[test]
fn the_state_of_sas_and_routes_is_seen() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let packet = asked(HOST, PEER_HOST, 600);
    let frame = ethernet(&bytes(&packet));
    let ask = |gateway: &GatewayUnderTest| gateway.trace(&packet, Origin::Interface(INGRESS)).unwrap();
    let expect = |gateway: &GatewayUnderTest, reason: DropReason| {
        let trace = ask(gateway);
        assert_eq!(trace.verdict, TracedVerdict::Drop { tunnel: 1, reason });
        agrees(gateway, &trace, &frame, ROUTER_MAC);
    };
    expect(&gateway, DropReason::NoOutboundSa);

    for (spi, outer_v6, router) in
        [(10, false, IpAddr::from([192, 0, 2, 254])), (20, true, "2001:db8:a::fe".parse().unwrap())]
    {
        let mut limited = sa_of(spi, Aead::Aes256Gcm, outer_v6);
        limited.hard_bytes = 1000;
        gateway.send_with(1, &limited).unwrap();
        for left in [1000, 400] {
            let trace = ask(&gateway);
            let told = trace.sa.clone().unwrap();
            assert_eq!((told.spi, told.bytes_left, &*told.algorithm), (spi, Some(left), "aes256gcm16-esn"));
            assert_eq!((told.local, told.remote), (limited.local.ip(), limited.remote.ip()));
            assert_eq!(told.next_sequence, if left == 1000 { 1 } else { 2 });
            let hop = trace.next_hop.clone().unwrap();
            assert_eq!(
                (hop.interface.as_deref(), hop.mac.as_deref()),
                (Some("wan"), Some("02:00:00:00:00:fe"))
            );
            assert_eq!(hop.address, Some(router), "of the router");
            agrees(&gateway, &trace, &frame, ROUTER_MAC);
        }
        expect(&gateway, DropReason::LifetimeExpired);
    }

    let mut short = sa(11, Aead::Aes128Gcm);
    short.esn = false;
    let index = gateway.send_with(1, &short).unwrap();
    gateway.edit_sa(index, |entry| entry.sequence = u64::from(u32::MAX)).unwrap();
    expect(&gateway, DropReason::SequenceExhausted);

    let refused = TracedVerdict::Drop { tunnel: 1, reason: DropReason::NoRoute };
    for (spi, remote, verdict) in [
        (12, [203, 0, 113, 5].into(), refused),
        (13, UNRESOLVED_REMOTE.into(), TracedVerdict::Stack),
        (14, "2001:db8:c::1".parse().unwrap(), refused),
        (15, IpAddr::from(UNRESOLVED_REMOTE6), TracedVerdict::Stack),
    ] {
        let mut sa = sa_of(spi, Aead::ChaCha20Poly1305, remote.is_ipv6());
        sa.remote.set_ip(remote);
        gateway.send_with(1, &sa).unwrap();
        let trace = ask(&gateway);
        assert_eq!(trace.verdict, verdict);
        agrees(&gateway, &trace, &frame, ROUTER_MAC);
    }
}

#[test]
fn the_state_of_the_budget_is_seen() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.send_with(1, &sa(14, Aead::ChaCha20Poly1305)).unwrap();
    gateway.send_with(2, &sa(15, Aead::ChaCha20Poly1305)).unwrap();
    // So slow that nothing is refilled during the test.
    let slow = Budget::new(8, 4000);
    let ceiling = Share::new(1, &slow).with_ceiling(8);
    for (budget, share, told) in [
        (slow, Share::new(1, &slow), "ahead of the gateway's rate"),
        (slow, Share::new(1, &slow).with_guarantee(8), "ahead of what is guaranteed"),
        (Budget { is_active: 1, ..Budget::default() }, ceiling, "ahead of the ceiling"),
    ] {
        gateway.set_budget(budget).unwrap();
        gateway.set_share(1, share).unwrap();
        let mut verdicts = BTreeMap::<String, u32>::new();
        for destination in [PEER_HOST, OTHER_HOST].into_iter().cycle().take(60) {
            let packet = asked(HOST, destination, 600);
            let trace = gateway.trace(&packet, Origin::Interface(INGRESS)).unwrap();
            agrees(&gateway, &trace, &ethernet(&bytes(&packet)), ROUTER_MAC);
            if destination == PEER_HOST {
                assert!(trace.steps.iter().any(|step| step.detail.contains(told)), "{trace:?}");
                *verdicts.entry(format!("{:?}", trace.verdict)).or_default() += 1;
            }
        }
        let excess = TracedVerdict::Drop { tunnel: 1, reason: DropReason::BudgetExceeded };
        assert!(verdicts.contains_key(&format!("{excess:?}")), "{verdicts:?}");
    }
}

#[test]
fn a_question_changes_nothing() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let index = gateway.send_with(1, &sa(7, Aead::Aes128Gcm)).unwrap();
    gateway.set_budget(Budget::new(8, 1500)).unwrap();
    let before = drops(&gateway);
    for packet in packets() {
        gateway.trace(&packet, Origin::Interface(INGRESS)).unwrap();
    }
    assert_eq!(drops(&gateway), before);
    let entry = gateway.read_sa(index).unwrap();
    assert_eq!((entry.sequence, entry.packets), (0, 0));
    assert_eq!(gateway.counters.traffic(1).unwrap(), gateway_common::TunnelCounters::default());
    let trace = gateway.trace(&asked(HOST, PEER_HOST, 1400), Origin::Interface(INGRESS)).unwrap();
    assert!(matches!(trace.verdict, TracedVerdict::Forward(_)), "nothing was charged: {trace:?}");
}

#[test]
fn the_engine_that_would_seal_is_told() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.send_with(1, &sa(7, Aead::Aes128Gcm)).unwrap();
    let engine = |gateway: &GatewayUnderTest| {
        let packet = asked(HOST, PEER_HOST, 100);
        let trace = gateway.trace(&packet, Origin::Interface(INGRESS)).unwrap();
        trace.steps.into_iter().find(|step| step.rule == "engine").unwrap().detail
    };
    assert_eq!(engine(&gateway), "kernel");
    gateway.open_lane(PortRole::LAN).unwrap();
    assert!(engine(&gateway).starts_with("xsk, lane"), "{}", engine(&gateway));
}
