//! Ways that were found a moment ago are taken again without a look-up, for exactly the packets that they were found for.

use gateway_common::{Aead, DropReason, Flow, FlowKey, PortRole};
use gateway_user::datapath::SaConfig;
use xdp_harness::frames::{Ip, ethernet, pattern};
use xdp_harness::{
    GatewayUnderTest, HOST, HOST_MAC, INGRESS, LOCAL, OTHER_HOST, PEER_HOST, REMOTE, ROUTER_MAC,
    UNRESOLVED_REMOTE, VGW0_MAC, Verdict, esp, sa,
};

/// MAC address that only a planted way leads to.
const PLANTED_MAC: [u8; 6] = [2, 7, 7, 7, 7, 7];
const EPOCH: u64 = 4;

fn now_ns() -> u64 {
    let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
    std::time::Duration::from(time).as_nanos() as u64
}

/// A way to [`PLANTED_MAC`] that stays fresh.
fn planted(key: FlowKey) -> Flow {
    let mut ethernet = [2; 12];
    ethernet[..6].copy_from_slice(&PLANTED_MAC);
    let resolved_ns = u64::MAX / 2;
    Flow { version: 2, epoch: EPOCH, resolved_ns, key, ifindex: 77, mtu: 1500, ethernet, ..Flow::default() }
}

/// Ways that do not hold for a packet of more than 200 bytes with the key of `flow`.
fn void(flow: Flow) -> [(&'static str, Flow); 6] {
    let other = FlowKey { class: flow.key.class ^ 1, ..flow.key };
    [
        ("another epoch", Flow { epoch: EPOCH - 1, ..flow }),
        ("old", Flow { resolved_ns: now_ns() - 2 * Flow::FRESH_NS, ..flow }),
        ("never found", Flow { resolved_ns: 0, ..flow }),
        ("another flow's", Flow { key: other, ..flow }),
        ("too narrow", Flow { mtu: 200, ..flow }),
        ("being written", Flow { version: 3, ..flow }),
    ]
}

fn gateway() -> GatewayUnderTest {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.set_epoch(EPOCH).unwrap();
    gateway
}

fn outer_key(remote: std::net::Ipv4Addr, tos: u8, protocol: u8) -> FlowKey {
    FlowKey {
        tunnel: 0,
        ingress_ifindex: INGRESS,
        class: u32::from(tos & 0xfc) << 8 | u32::from(protocol),
        source: u32::from_ne_bytes(LOCAL.octets()),
        destination: u32::from_ne_bytes(remote.octets()),
        ..FlowKey::default()
    }
}

fn inner_key(ip: &Ip) -> FlowKey {
    FlowKey {
        tunnel: 1,
        ingress_ifindex: INGRESS,
        class: u32::from(ip.tos & 0xfc) << 8 | u32::from(ip.protocol),
        source: u32::from_ne_bytes(ip.source.octets()),
        destination: u32::from_ne_bytes(ip.destination.octets()),
        ..FlowKey::default()
    }
}

fn arriving(sa: &SaConfig, sequence: u64, ip: &Ip, len: usize) -> Vec<u8> {
    let outer = Ip { protocol: 50, ..Ip::new(REMOTE, LOCAL) };
    ethernet(&outer.packet(&esp::seal(sa, sequence, &ip.packet(&pattern(len)), 0, esp::IPV4)))
}

#[test]
fn sealed_packets_take_the_way_that_was_found_for_them() {
    let mut gateway = gateway();
    for (spi, udp_encapsulation) in [(0x7000, false), (0x7001, true)] {
        let mut sa = sa(spi, Aead::Aes256Gcm);
        sa.udp_encapsulation = udp_encapsulation;
        gateway.send_with(1, &sa).unwrap();
        let protocol = if udp_encapsulation { 17 } else { 50 };
        let frame = |tos| ethernet(&Ip { tos, ..Ip::new(HOST, PEER_HOST) }.packet(&pattern(180)));
        let key = outer_key(REMOTE, 0xb8, protocol);
        gateway.run(&frame(0xb8)).unwrap();
        let noted = gateway.flow(key).unwrap();
        assert_eq!(
            (noted.key, noted.epoch, noted.mtu, &noted.ethernet[..6]),
            (key, EPOCH, 1500, &ROUTER_MAC[..])
        );

        gateway.set_flow(key, planted(key)).unwrap();
        // The marks of congestion say nothing about the way.
        for tos in [0xb8, 0xba] {
            assert_eq!(gateway.run(&frame(tos)).unwrap().frame[..6], PLANTED_MAC);
        }
        assert_eq!(gateway.run(&frame(0)).unwrap().frame[..6], ROUTER_MAC, "another traffic class");
        for (what, flow) in void(planted(key)) {
            gateway.set_flow(key, flow).unwrap();
            let outcome = gateway.run(&frame(0xb8)).unwrap();
            assert_eq!(
                (outcome.verdict, &outcome.frame[..6]),
                (Verdict::Redirect, &ROUTER_MAC[..]),
                "{what}"
            );
        }
    }
}

#[test]
fn opened_packets_take_the_way_that_was_found_for_them() {
    let mut gateway = gateway();
    let sa = sa(0x7100, Aead::Aes128Gcm);
    gateway.receive_with(1, &sa).unwrap();
    let ip = Ip::new(PEER_HOST, HOST);
    let key = inner_key(&ip);
    let mut sequence = 0;
    let mut run = |gateway: &GatewayUnderTest, ip: &Ip| {
        sequence += 1;
        gateway.run(&arriving(&sa, sequence, ip, 300)).unwrap()
    };
    assert_eq!(run(&gateway, &ip).frame[..6], HOST_MAC);
    let noted = gateway.flow(key).unwrap();
    assert_eq!((noted.key, noted.epoch, noted.mtu, &noted.ethernet[..6]), (key, EPOCH, 1500, &HOST_MAC[..]));

    gateway.set_flow(key, planted(key)).unwrap();
    let outcome = run(&gateway, &ip);
    assert_eq!((outcome.verdict, &outcome.frame[..6]), (Verdict::Redirect, &PLANTED_MAC[..]));
    assert_eq!(outcome.frame[14..], Ip { ttl: 63, ..ip.clone() }.packet(&pattern(300)));
    for (what, flow) in void(planted(key)) {
        gateway.set_flow(key, flow).unwrap();
        assert_eq!(run(&gateway, &ip).frame[..6], HOST_MAC, "{what}");
    }
    // What needs the kernel goes there whatever is noted.
    gateway.set_flow(key, planted(key)).unwrap();
    assert_eq!(run(&gateway, &Ip { ttl: 1, ..ip.clone() }).frame[..6], VGW0_MAC);
    assert_eq!(run(&gateway, &Ip { options: vec![1; 4], ..ip }).frame[..6], VGW0_MAC);
}

#[test]
fn a_way_that_was_found_opens_no_other() {
    let mut gateway = gateway();
    let sa = sa(0x7200, Aead::Aes128Gcm);
    gateway.receive_with(1, &sa).unwrap();
    let allowed = Ip::new(PEER_HOST, HOST);
    assert_eq!(gateway.run(&arriving(&sa, 1, &allowed, 40)).unwrap().verdict, Verdict::Redirect);
    let forged = [Ip::new(OTHER_HOST, HOST), Ip::new(PEER_HOST, OTHER_HOST), Ip::new(HOST, HOST)];
    for (count, ip) in forged.into_iter().enumerate() {
        for round in 0..2 {
            let sequence = 2 + 2 * count as u64 + round;
            assert_eq!(gateway.run(&arriving(&sa, sequence, &ip, 40)).unwrap().verdict, Verdict::Drop);
        }
    }
    assert_eq!(
        gateway.dropped(1, DropReason::SelectorMismatch).unwrap(),
        6,
        "a refused packet notes nothing"
    );
}

#[test]
fn ways_into_the_stack_and_out_of_the_vnet_are_looked_up_each_time() {
    let mut gateway = gateway();
    let mut outbound = sa(0x7300, Aead::Aes128Gcm);
    outbound.remote.set_ip(UNRESOLVED_REMOTE.into());
    gateway.send_with(1, &outbound).unwrap();
    gateway.run(&ethernet(&Ip::new(HOST, PEER_HOST).packet(&pattern(180)))).unwrap();
    assert_eq!(gateway.flow(outer_key(UNRESOLVED_REMOTE, 0, 50)).unwrap().version, 0);

    let inbound = sa(0x7301, Aead::Aes128Gcm);
    gateway.receive_with(1, &inbound).unwrap();
    let route = ["route", "add", "10.1.200.0/24", "via", "192.0.2.254"];
    assert!(std::process::Command::new("ip").args(route).status().unwrap().success());
    gateway.set_roles_of("wan", PortRole::WAN).unwrap();
    for (sequence, host) in [(1, [10, 1, 200, 5]), (2, [10, 1, 0, 99])] {
        let ip = Ip::new(PEER_HOST, host.into());
        gateway.run(&arriving(&inbound, sequence, &ip, 40)).unwrap();
        assert_eq!(gateway.flow(inner_key(&ip)).unwrap().version, 0, "{host:?}");
    }
}
