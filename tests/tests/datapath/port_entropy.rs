//! ESP in UDP whose source port tells inner flows apart.

use std::collections::BTreeSet;

use gateway_common::{Aead, PortRole, port_entropy};
use gateway_user::datapath::SaConfig;
use xdp_harness::frames::{Ip, ethernet, pattern, udp};
use xdp_harness::{GatewayUnderTest, HOST, PEER_HOST, REMOTE, Verdict, esp, sa};

/// Where the UDP header of the outer packet begins.
const UDP: usize = 34;

fn spreading_sa() -> SaConfig {
    SaConfig { udp_encapsulation: true, udp_port_entropy: true, ..sa(7, Aead::ChaCha20Poly1305) }
}

/// Sends `packet` and returns the UDP source port that it left with; everything else about the datagram is checked.
fn port_of(gateway: &GatewayUnderTest, sa: &SaConfig, packet: &[u8]) -> u16 {
    let outcome = gateway.run(&ethernet(packet)).unwrap();
    assert_eq!(outcome.verdict, Verdict::Redirect);
    let frame = outcome.frame;
    assert_eq!(frame[30..34], REMOTE.octets());
    assert_eq!(frame[UDP + 2..UDP + 4], 4500_u16.to_be_bytes(), "the peer's port stays");
    let (_, inner) = esp::open(sa, 0, &frame[UDP + 8..]);
    assert_eq!(inner[12..], packet[12..], "inner packet, but for TTL and checksum");
    u16::from_be_bytes([frame[UDP], frame[UDP + 1]])
}

fn datagram(source: u16, payload: usize) -> Vec<u8> {
    Ip::new(HOST, PEER_HOST).packet(&udp(source, 53, &pattern(payload)))
}

#[test]
fn each_flow_has_a_source_port_of_its_own_and_keeps_it() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let sa = spreading_sa();
    gateway.send_with(1, &sa).unwrap();
    let ports: Vec<u16> = (1000..1100).map(|source| port_of(&gateway, &sa, &datagram(source, 20))).collect();
    assert!(ports.iter().all(|port| *port >= port_entropy::FIRST), "{ports:?}");
    let different: BTreeSet<_> = ports.iter().collect();
    assert!(different.len() > 90, "{} ports for 100 flows", different.len());
    for (source, port) in (1000..1100).zip(ports) {
        assert_eq!(port_of(&gateway, &sa, &datagram(source, 900)), port, "whatever else the packet holds");
    }
}

#[test]
fn fragments_of_a_packet_go_the_same_way() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let sa = spreading_sa();
    gateway.send_with(1, &sa).unwrap();
    let mut ip = Ip::new(HOST, PEER_HOST);
    let mut port = |fragment, payload: &[u8]| {
        ip.fragment = fragment;
        port_of(&gateway, &sa, &ip.packet(payload))
    };
    let first = port(0x2000, &udp(1000, 53, &pattern(992)));
    assert_eq!(port(0x2000 | 0x7d, &pattern(1000)), first);
    assert_eq!(port(250, &pattern(3)), first);
}

#[test]
fn packets_without_ports_have_the_port_of_their_addresses() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let sa = spreading_sa();
    gateway.send_with(1, &sa).unwrap();
    let mut ip = Ip::new(HOST, PEER_HOST);
    ip.protocol = 1;
    let ping = port_of(&gateway, &sa, &ip.packet(&[8, 0, 1, 2, 3, 4, 5, 6]));
    assert_eq!(port_of(&gateway, &sa, &ip.packet(&[8, 0, 9, 9, 9, 9, 9, 9])), ping);
    // A datagram that ends before its ports, in a frame whose padding must not be taken for them.
    ip.protocol = 17;
    let short = port_of(&gateway, &sa, &ip.packet(&[1, 2]));
    assert_eq!(port_of(&gateway, &sa, &ip.packet(&[3, 4])), short);
    // Options, in a packet that the kernel routed: where the ports would be, there are options.
    gateway.set_roles(PortRole::TUNNEL).unwrap();
    ip.options = vec![1; 4];
    let with_options = port_of(&gateway, &sa, &ip.packet(&udp(1000, 53, &[])));
    assert_eq!(port_of(&gateway, &sa, &ip.packet(&udp(1001, 53, &[]))), with_options);
}

#[test]
fn without_it_the_source_port_is_that_of_ike() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let sa = SaConfig { udp_port_entropy: false, ..spreading_sa() };
    gateway.send_with(1, &sa).unwrap();
    for source in 1000..1010 {
        assert_eq!(port_of(&gateway, &sa, &datagram(source, 20)), 4500);
    }
}

#[test]
fn a_receiver_takes_its_packets_from_any_port() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let sa = spreading_sa();
    gateway.receive_with(1, &sa).unwrap();
    let inner = Ip::new(PEER_HOST, HOST).packet(&udp(53, 1000, &pattern(100)));
    for (sequence, port) in [(1, port_entropy::FIRST), (2, 4500), (3, 65_535)] {
        let datagram = udp(port, 4500, &esp::seal(&sa, sequence, &inner, 0, esp::IPV4));
        let outer = Ip::new(REMOTE, xdp_harness::LOCAL).packet(&datagram);
        let outcome = gateway.run(&ethernet(&outer)).unwrap();
        assert_eq!(outcome.verdict, Verdict::Redirect, "port {port}");
        assert_eq!(outcome.frame[14 + 12..], inner[12..]);
    }
}
