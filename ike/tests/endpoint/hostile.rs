//! An end that completes IKE_SA_INIT without knowing the pre-shared key, and requests of strangers.

use std::net::SocketAddr;
use std::time::Duration;

use ike::crypto::DhGroup;
use ike::wire::{
    AddressRange, ExchangeType, Header, KeyExchangeData, Message, Notify, NotifyType, Payload, Selector,
    Transform, TransformType,
};
use ike::{ConnectionMode, IkeProposal, PeerConfig, PeerState};

use crate::rogue::{Rogue, socket, visit, waiting};
use crate::sim::{ADDRESSES, Conditions, PEER, Pair, cheap_config};

/// A payload that parses in no message: nonces have 16 octets or more.
fn malformed() -> Vec<Payload> {
    vec![Payload::Nonce(Vec::new())]
}

#[test]
fn a_response_of_another_exchange_does_not_stop_retransmission() {
    let mut pair = waiting();
    let rogue = Rogue::answer_init(&mut pair);
    let sent = pair.trace.len();
    rogue.respond(&mut pair, ExchangeType::INFORMATIONAL, 1, Vec::new());
    pair.run_for(Duration::from_mins(1));
    assert!(pair.trace.len() > sent + 2, "IKE_AUTH is sent again");
    assert_eq!(pair.last_error(0), "peer does not answer IKE_AUTH at 192.0.2.2:500");
    pair.conditions = Conditions::PERFECT;
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..cheap_config(1) });
    pair.run_for(Duration::from_mins(2));
    pair.assert_settled();
}

#[test]
fn a_malformed_answer_to_a_delete_leaves_no_sa_behind() {
    let mut pair = waiting();
    let rogue = Rogue::answer_init(&mut pair);
    rogue.respond(&mut pair, ExchangeType::IKE_AUTH, 1, malformed());
    assert!(pair.last_error(0).starts_with("malformed response from the peer"), "{}", pair.last_error(0));
    assert_eq!(pair.nodes[0].endpoint.ike_sa_count(), 1, "the delete is outstanding");
    rogue.respond(&mut pair, ExchangeType::INFORMATIONAL, 2, malformed());
    assert_eq!(pair.nodes[0].endpoint.ike_sa_count(), 0);
    assert_eq!(pair.state(0), PeerState::Connecting);
    pair.act(0, |endpoint, now| endpoint.disconnect(now, PEER));
    pair.run_for(Duration::from_mins(1));
    assert_eq!(pair.nodes[0].endpoint.ike_sa_count(), 0);
}

/// A request of end 0 for the default profile, whose public value belongs to `group`.
fn request_with(group: DhGroup, public: &[u8]) -> Message {
    let mut pair = Pair::new(2);
    pair.cut();
    pair.set_peer(0, PeerConfig { ike_proposals: vec![IkeProposal::default_profile()], ..cheap_config(0) });
    let mut request = Message::parse(&pair.trace[0].1).unwrap();
    for payload in &mut request.payloads {
        if let Payload::KeyExchange(exchange) = payload {
            *exchange = KeyExchangeData { group: group.id(), data: public.to_owned() };
        }
    }
    request
}

/// An end that only answers, with the default profile.
fn answering() -> Pair {
    let mut pair = Pair::new(1);
    let proposals = vec![IkeProposal::default_profile()];
    pair.set_peer(
        1,
        PeerConfig { ike_proposals: proposals, mode: ConnectionMode::Responder, ..cheap_config(1) },
    );
    pair
}

#[test]
fn invalid_public_values_count_against_the_limit_of_their_source() {
    let mut pair = answering();
    let mut request = request_with(DhGroup::X25519, &[0; 32]);
    // Beyond, the source has to show that it receives what is sent to it.
    let limit = ike::EndpointConfig::default().max_half_open_per_source / 2;
    let mut cookies = 0;
    for spi_i in 1..=100 {
        request.header.spi_i = spi_i;
        let datagram = request.encode();
        // What comes again costs nothing more.
        for _ in 0..2 {
            pair.receive(1, socket(1), socket(0), &datagram);
        }
        let sas = usize::try_from(spi_i).unwrap().min(limit);
        assert_eq!(pair.nodes[1].endpoint.ike_sa_count(), sas);
    }
    for (_, answer) in &pair.trace {
        let answer = Message::parse(answer).unwrap();
        assert_eq!(answer.header.spi_r, 0);
        if matches!(&answer.payloads[..], [Payload::Notify(notify)] if notify.kind == NotifyType::COOKIE) {
            cookies += 1;
            continue;
        }
        assert_eq!(answer.payloads, [Payload::Notify(Notify::new(NotifyType::INVALID_SYNTAX, []))]);
    }
    assert_eq!((pair.trace.len(), cookies), (200, 200 - 2 * limit));
    pair.run_for(Duration::from_mins(1));
    assert_eq!(pair.nodes[1].endpoint.ike_sa_count(), 0);
}

#[test]
fn public_values_of_the_wrong_length_leave_no_state() {
    let mut pair = answering();
    for len in [0, 255, 257] {
        let request = request_with(DhGroup::Modp2048, &vec![2; len]);
        pair.receive(1, socket(1), socket(0), &request.encode());
        let answer = Message::parse(&pair.trace.pop().unwrap().1).unwrap();
        assert_eq!(answer.payloads, [Payload::Notify(Notify::new(NotifyType::INVALID_SYNTAX, []))]);
        assert_eq!(pair.nodes[1].endpoint.ike_sa_count(), 0);
    }
}

#[test]
fn malformed_messages_do_not_keep_an_ended_sa() {
    let mut pair = waiting();
    let rogue = Rogue::answer_init(&mut pair);
    let refusal = Payload::Notify(Notify::new(NotifyType::AUTHENTICATION_FAILED, []));
    rogue.respond(&mut pair, ExchangeType::IKE_AUTH, 1, vec![refusal]);
    let reason = pair.last_error(0);
    pair.act(0, |endpoint, now| endpoint.disconnect(now, PEER));
    for message_id in 0..10 {
        pair.run_for(Duration::from_millis(900));
        assert_eq!(pair.nodes[0].endpoint.ike_sa_count(), 1);
        let exchange = ExchangeType::INFORMATIONAL;
        let header = Header { exchange, response: false, message_id, ..rogue.header };
        rogue.send(&mut pair, header, malformed());
    }
    assert_eq!(pair.last_error(0), reason);
    pair.run_for(Duration::from_millis(1100));
    assert_eq!(pair.nodes[0].endpoint.ike_sa_count(), 0);
}

/// A request of end 0 that asks for unknown encryption of this id.
fn request_for(encryption: u16) -> Vec<u8> {
    let pair = waiting();
    let mut request = Message::parse(&pair.trace[0].1).unwrap();
    request.header.spi_i = 1 + u64::from(encryption);
    for payload in &mut request.payloads {
        if let Payload::SecurityAssociation(proposals) = payload {
            proposals[0].transforms = vec![Transform::new(TransformType::ENCR, encryption, None)];
        }
    }
    request.encode()
}

#[test]
fn a_stranger_leaves_no_error_on_a_connection() {
    let mut pair = Pair::connected(1);
    pair.trace.clear();
    pair.receive(1, socket(1), socket(0), &request_for(60000));
    assert_eq!(pair.trace.len(), 1, "it is refused");
    assert_eq!(pair.status(1).last_error, None);
}

#[test]
fn a_stranger_cannot_keep_other_reasons_from_being_seen() {
    let mut pair = Pair::new(1);
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..cheap_config(1) });
    for encryption in 60000..60040 {
        pair.receive(1, socket(1), socket(0), &request_for(encryption));
    }
    assert_eq!(pair.nodes[1].states.len(), 4);
    assert!(pair.last_error(1).contains("encryption-60039"), "{}", pair.last_error(1));
    pair.set_peer(0, PeerConfig { auth: ike::Psk::new("wrong").into(), ..cheap_config(0) });
    pair.run_for(Duration::from_secs(1));
    let (_, reason) = pair.nodes[1].states.last().unwrap();
    assert_eq!(reason, "authentication of peer failed: pre-shared keys differ?");
}

#[test]
fn a_peer_that_restricts_protocols_is_refused() {
    let mut pair = waiting();
    let rogue = Rogue::answer_init(&mut pair);
    rogue.authenticate(&mut pair, Selector { protocol: 6, ..Selector::ANY_IPV4 });
    assert_eq!(pair.state(0), PeerState::Connecting);
    assert_eq!(pair.last_error(0), "no common traffic selectors for every protocol and port");
}

#[test]
fn a_peer_that_restricts_addresses_is_told_of() {
    let mut pair = waiting();
    let rogue = Rogue::answer_init(&mut pair);
    let addresses = AddressRange::V4([10, 1, 0, 0].into(), [10, 1, 255, 255].into());
    rogue.authenticate(&mut pair, Selector { addresses, ..Selector::ANY_IPV4 });
    assert_eq!(pair.state(0), PeerState::Connected);
    assert_eq!(pair.last_error(0), "peer narrowed the traffic selectors to 0.0.0.0/0 === 10.1.0.0/16");
}

#[test]
fn the_true_answer_may_follow_a_refusal_by_a_stranger() {
    let refuse = |pair: &mut Pair| {
        let request = Message::parse(&pair.trace[0].1).unwrap();
        let header = Header { from_initiator: false, response: true, ..request.header };
        let payloads = vec![Payload::Notify(Notify::new(NotifyType::NO_PROPOSAL_CHOSEN, []))];
        pair.receive(0, socket(0), socket(1), &Message { header, payloads }.encode());
        request.header.spi_i
    };
    let mut pair = waiting();
    let spi_i = refuse(&mut pair);
    let reason = "peer refused our proposal; we offered aes128gcm16-prfsha256-x25519";
    assert_eq!(pair.last_error(0), reason);
    pair.conditions = Conditions::PERFECT;
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..cheap_config(1) });
    pair.run_for(Duration::from_secs(5));
    pair.assert_settled();
    assert_eq!(pair.status(0).ike.unwrap().spi_i, spi_i, "the attempt went on");
    assert_eq!(pair.status(0).last_error, None);

    // When none follows, the attempt ends and another is made.
    let mut pair = waiting();
    let spi_i = refuse(&mut pair);
    pair.run_for(Duration::from_secs(10));
    assert_eq!(pair.last_error(0), reason);
    let latest = Message::parse(&pair.trace.last().unwrap().1).unwrap();
    assert_ne!(latest.header.spi_i, spi_i);
}

#[test]
fn a_mirror_in_place_of_the_peer_is_not_the_peer() {
    for force_udp_encapsulation in [false, true] {
        let mut pair = Pair::new(1);
        pair.cut();
        pair.set_peer(0, PeerConfig { force_udp_encapsulation, ..cheap_config(0) });
        let mut seen = 0;
        while seen < pair.trace.len().min(100) {
            let (_, datagram) = pair.trace[seen].clone();
            seen += 1;
            let port = if datagram.starts_with(&[0; 4]) { 4500 } else { 500 };
            let [here, there] = ADDRESSES.map(|address| SocketAddr::new(address, port));
            pair.receive(0, here, there, &datagram);
        }
        assert_eq!(pair.nodes[0].states.last().unwrap().0, PeerState::Connecting);
        assert!(pair.nodes[0].plane.outbound.is_none());
    }
}

#[test]
fn a_peer_that_connects_over_and_over_does_not_make_sas_pile_up() {
    let mut pair = Pair::new(1);
    pair.cut();
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..cheap_config(1) });
    for spi_i in 1..=200 {
        visit(&mut pair, spi_i);
    }
    assert_eq!(pair.state(1), PeerState::Connected);
    let sas = pair.nodes[1].endpoint.ike_sa_count();
    assert!((2..=64).contains(&sas), "{sas} IKE SAs");
    // Once those are gone it may connect again.
    pair.run_for(Duration::from_mins(2));
    assert_eq!(pair.nodes[1].endpoint.ike_sa_count(), 0);
    visit(&mut pair, 1000);
    assert_eq!(pair.state(1), PeerState::Connected);
}

#[test]
fn a_request_to_another_address_than_the_configured_one_is_ignored() {
    let (_, request) = waiting().trace.remove(0);
    let mut pair = Pair::new(1);
    pair.cut();
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..cheap_config(1) });
    pair.receive(1, "198.51.100.2:500".parse().unwrap(), socket(0), &request);
    assert_eq!((pair.trace.len(), pair.nodes[1].endpoint.ike_sa_count()), (0, 0));
    pair.receive(1, socket(1), socket(0), &request);
    assert_eq!((pair.trace.len(), pair.nodes[1].endpoint.ike_sa_count()), (1, 1));
}
