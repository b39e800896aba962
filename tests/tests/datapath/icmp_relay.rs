//! ICMP errors from routers that no prefix covers: those about the tunnel's own traffic pass, in both directions, and no others.

use std::net::Ipv4Addr;

use gateway_common::{Aead, DropReason, PortRole};
use gateway_user::datapath::SaConfig;
use xdp_harness::frames::{Ip, checksum, ethernet, pattern};
use xdp_harness::worker::Handed;
use xdp_harness::{
    GatewayUnderTest, HOST, LOCAL, OTHER_HOST, Outcome, PEER_HOST, REMOTE, VGW0_MAC, Verdict, esp, sa,
};

/// A router with an address of its own, in neither VNet.
const ROUTER: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 9);
const ICMP: u8 = 1;
const BOTH: u32 = PortRole::LAN | PortRole::WAN;

/// An ICMP message of `kind` about the packet that begins with `quote`.
fn message(kind: u8, quote: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0, 0, 0, 0];
    message.extend(quote);
    message.resize(message.len().next_multiple_of(2), 0);
    let sum = checksum(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message.truncate(8 + quote.len());
    message
}

/// What one case changes of an error that passes: its own header, its type, and what it quotes.
struct Case {
    what: &'static str,
    ip: Ip,
    kind: u8,
    quote: Vec<u8>,
}

impl Case {
    fn packet(&self) -> Vec<u8> {
        self.ip.packet(&message(self.kind, &self.quote))
    }
}

/// Errors about packets from `sender` to `receiver`; `sender` gets them. `neighbour` is another host of its VNet.
struct Errors {
    sender: Ipv4Addr,
    neighbour: Ipv4Addr,
    receiver: Ipv4Addr,
}

impl Errors {
    fn case(&self, what: &'static str) -> Case {
        let ip = Ip { protocol: ICMP, fragment: 0, ..Ip::new(ROUTER, self.sender) };
        Case { what, ip, kind: 3, quote: self.quoted(8) }
    }

    fn quoted(&self, payload: usize) -> Vec<u8> {
        Ip { ttl: 1, ..Ip::new(self.sender, self.receiver) }.packet(&pattern(payload))
    }

    /// The same with options.
    fn quoted_with_options(&self) -> Vec<u8> {
        Ip { options: vec![1; 40], ..Ip::new(self.sender, self.receiver) }.packet(&pattern(8))
    }

    fn passing(&self) -> Vec<Case> {
        let mut long = self.quoted(1000);
        long.truncate(500);
        let mut dscp = Ip::new(self.sender, self.receiver);
        (dscp.tos, dscp.protocol) = (0xb9, 6);
        let first_fragment = Ip { fragment: 0x2000, ..Ip::new(self.sender, self.receiver) };
        vec![
            self.case("unreachable"),
            Case { kind: 11, ..self.case("time exceeded") },
            Case { kind: 12, ..self.case("parameter problem") },
            Case { quote: long, ..self.case("a part of a long packet") },
            Case { quote: self.quoted(3), ..self.case("all of a short packet") },
            Case { quote: self.quoted(0), ..self.case("all of an empty packet") },
            Case { quote: self.quoted_with_options(), ..self.case("a packet with options") },
            Case { quote: dscp.packet(&pattern(20)), ..self.case("a packet of another protocol and class") },
            Case { quote: first_fragment.packet(&pattern(16)), ..self.case("a first fragment") },
        ]
    }

    fn refused(&self) -> Vec<Case> {
        let case = |what| self.case(what);
        let quote = |source, destination| Ip::new(source, destination).packet(&pattern(8));
        let from = |source: Ipv4Addr, what| Case { ip: Ip { source, ..case(what).ip }, ..case(what) };
        let mut cases = vec![
            Case { quote: quote(self.receiver, self.sender), ..case("the other direction") },
            Case { quote: quote(self.sender, ROUTER), ..case("a packet to nowhere") },
            Case { quote: quote(self.sender, OTHER_HOST), ..case("a packet for another tunnel") },
            Case { quote: quote(self.sender, self.neighbour), ..case("a packet within the VNet") },
            Case { quote: quote(ROUTER, self.receiver), ..case("a packet from nowhere") },
            Case { quote: quote(self.neighbour, self.receiver), ..case("another host's packet") },
            from(OTHER_HOST, "a source behind another tunnel"),
            from(self.receiver, "a source of the other end"),
            from([127, 0, 0, 1].into(), "a loopback source"),
            from([0, 0, 0, 0].into(), "no source"),
            from([224, 0, 0, 1].into(), "a multicast source"),
            from([255, 255, 255, 255].into(), "a broadcast source"),
            Case { ip: Ip { protocol: 17, ..case("").ip }, ..case("no ICMP") },
            Case { ip: Ip { fragment: 0x2000, ..case("").ip }, ..case("a first fragment") },
            Case { ip: Ip { fragment: 100, ..case("").ip }, ..case("a later fragment") },
        ];
        for kind in [0, 4, 5, 8, 9, 13, 42] {
            cases.push(Case { kind, ..case("another type") });
        }
        for len in [0, 1, 19, 20, 27] {
            cases.push(Case { quote: self.quoted(8)[..len].to_vec(), ..case("a short quote") });
        }
        for len in [20, 28, 59, 60, 67] {
            let quote = self.quoted_with_options()[..len].to_vec();
            cases.push(Case { quote, ..case("a short quote with options") });
        }
        cases.push(Case { quote: self.quoted(3)[..22].to_vec(), ..case("not all of a short packet") });
        for first in [0x44, 0x65, 0x05, 0x40] {
            let mut quote = self.quoted(8);
            quote[0] = first;
            cases.push(Case { quote, ..case("no IPv4 header") });
        }
        let mut lying = self.quoted(8);
        lying[2..4].copy_from_slice(&19_u16.to_be_bytes());
        cases.push(Case { quote: lying, ..case("a quoted length below its header's") });
        let later = Ip { fragment: 1, ..Ip::new(self.sender, self.receiver) };
        cases.push(Case { quote: later.packet(&pattern(8)), ..case("a later fragment in the quote") });
        cases
    }
}

/// A gateway that receives, with a worker or without.
struct Receiving {
    gateway: GatewayUnderTest,
    sa: SaConfig,
    sequence: u64,
    by_worker: bool,
}

impl Receiving {
    fn new(by_worker: bool) -> Self {
        let mut gateway = GatewayUnderTest::new().unwrap();
        if by_worker {
            gateway.open_lane(BOTH).unwrap();
        }
        let sa = sa(0x8200, Aead::ChaCha20Poly1305);
        gateway.receive_with(1, &sa).unwrap();
        Self { gateway, sa, sequence: 0, by_worker }
    }

    /// What becomes of `packet` when it comes out of tunnel 1.
    fn receive(&mut self, packet: &[u8]) -> Outcome {
        self.sequence += 1;
        let outer = Ip { protocol: 50, ..Ip::new(REMOTE, LOCAL) };
        let esp = esp::seal(&self.sa, self.sequence, packet, 0, esp::IPV4);
        let outcome = self.gateway.run(&ethernet(&outer.packet(&esp))).unwrap();
        if !self.by_worker {
            return outcome;
        }
        let mut handed = Handed::parse(&outcome.frame);
        assert!(handed.open(&self.sa));
        self.gateway.run_program("returned", &handed.deliver()).unwrap()
    }
}

const ABOUT_OURS: Errors =
    Errors { sender: HOST, neighbour: Ipv4Addr::new(10, 1, 0, 11), receiver: PEER_HOST };
const ABOUT_THEIRS: Errors =
    Errors { sender: PEER_HOST, neighbour: Ipv4Addr::new(10, 2, 0, 21), receiver: HOST };

#[test]
fn errors_about_what_went_into_a_tunnel_come_out_of_it() {
    for by_worker in [false, true] {
        let mut receiving = Receiving::new(by_worker);
        for mut case in ABOUT_OURS.passing() {
            let outcome = receiving.receive(&case.packet());
            assert_eq!(outcome.verdict, Verdict::Redirect, "{}", case.what);
            case.ip.ttl -= 1;
            assert!(outcome.frame[14..] == case.packet(), "{}: {:02x?}", case.what, outcome.frame);
        }
        let case = ABOUT_OURS.case("options of its own");
        let case = Case { ip: Ip { options: vec![1; 40], ..case.ip }, ..case };
        let outcome = receiving.receive(&case.packet());
        assert_eq!(
            (outcome.verdict, &outcome.frame[..6]),
            (Verdict::Redirect, &VGW0_MAC[..]),
            "{}",
            case.what
        );
        assert!(receiving.gateway.counters.drops(1).unwrap().is_empty());
    }
}

#[test]
fn no_other_foreign_packets_come_out_of_a_tunnel() {
    for by_worker in [false, true] {
        let mut receiving = Receiving::new(by_worker);
        let host_of_ours = Ip { source: ABOUT_OURS.neighbour, ..ABOUT_OURS.case("").ip };
        let more = [
            Case { ip: host_of_ours, ..ABOUT_OURS.case("a source of our own") },
            Case {
                ip: Ip { destination: ABOUT_OURS.neighbour, ..ABOUT_OURS.case("").ip },
                ..ABOUT_OURS.case("not to the sender")
            },
        ];
        // What comes from the other end's own hosts is held to the prefixes alone, as ever.
        let others = ABOUT_OURS.refused().into_iter().filter(|case| case.ip.source != PEER_HOST);
        for (number, case) in others.chain(more).enumerate() {
            // One that passes changes nothing for the next.
            let passing = receiving.receive(&ABOUT_OURS.case("").packet());
            assert_eq!(passing.verdict, Verdict::Redirect);
            let outcome = receiving.receive(&case.packet());
            assert_eq!(outcome.verdict, Verdict::Drop, "{} (case {number})", case.what);
            let refused = receiving.gateway.dropped(1, DropReason::SelectorMismatch).unwrap();
            assert_eq!(refused, number as u64 + 1, "{}", case.what);
        }
    }
}

/// A gateway that sends into tunnel 1 what arrives at an interface with the roles `roles`.
fn sending(roles: u32) -> (GatewayUnderTest, SaConfig) {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.set_roles(roles).unwrap();
    let sa = sa(0x8300, Aead::ChaCha20Poly1305);
    gateway.send_with(1, &sa).unwrap();
    gateway.send_with(2, &xdp_harness::sa(0x8301, Aead::ChaCha20Poly1305)).unwrap();
    (gateway, sa)
}

#[test]
fn errors_about_what_came_out_of_a_tunnel_go_into_it() {
    for roles in [BOTH, PortRole::TUNNEL] {
        let (gateway, sa) = sending(roles);
        for mut case in ABOUT_THEIRS.passing() {
            let outcome = gateway.run(&ethernet(&case.packet())).unwrap();
            assert_eq!(outcome.verdict, Verdict::Redirect, "{}", case.what);
            // What comes from the kernel was forwarded by it.
            case.ip.ttl -= u8::from(roles == BOTH);
            let (_, inner) = esp::open(&sa, 0, &outcome.frame[34..]);
            assert!(inner == case.packet(), "{}", case.what);
        }
        assert!(gateway.counters.drops(1).unwrap().is_empty());
    }
    let (gateway, sa) = sending(PortRole::TUNNEL);
    let case = ABOUT_THEIRS.case("options of its own");
    let case = Case { ip: Ip { options: vec![1; 40], ..case.ip }, ..case };
    let outcome = gateway.run(&ethernet(&case.packet())).unwrap();
    assert!(esp::open(&sa, 0, &outcome.frame[34..]).1 == case.packet(), "{}", case.what);
}

#[test]
fn no_other_foreign_packets_go_into_a_tunnel() {
    for roles in [BOTH, PortRole::TUNNEL] {
        let (gateway, _) = sending(roles);
        let not_to_sender = Ip { destination: ABOUT_THEIRS.neighbour, ..ABOUT_THEIRS.case("").ip };
        let more = Case { ip: not_to_sender, ..ABOUT_THEIRS.case("not to the sender") };
        // What comes from the VNet's own hosts is held to the prefixes alone, as ever.
        let others = ABOUT_THEIRS.refused().into_iter().filter(|case| case.ip.source != HOST);
        for (number, case) in others.chain([more]).enumerate() {
            let passing = gateway.run(&ethernet(&ABOUT_THEIRS.case("").packet())).unwrap();
            assert_eq!(passing.verdict, Verdict::Redirect);
            let outcome = gateway.run(&ethernet(&case.packet())).unwrap();
            assert_eq!(outcome.verdict, Verdict::Drop, "{}", case.what);
            let refused = gateway.dropped(1, DropReason::SourceOutsideVnet).unwrap();
            assert_eq!(refused, number as u64 + 1, "{}: {:?}", case.what, gateway.counters.drops(1));
        }
        // To a host behind tunnel 2, quoting a packet out of tunnel 1.
        let case = ABOUT_THEIRS.case("into another tunnel");
        let case = Case { ip: Ip { destination: OTHER_HOST, ..case.ip }, ..case };
        assert_eq!(gateway.run(&ethernet(&case.packet())).unwrap().verdict, Verdict::Drop, "{}", case.what);
        assert_eq!(gateway.dropped(2, DropReason::SourceOutsideVnet).unwrap(), 1);
    }
}
