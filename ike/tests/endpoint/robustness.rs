//! Repeated, damaged and hostile messages.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use ike::wire::{ExchangeType, Header, Message, Notify, NotifyType, Payload, SealedMessage};
use ike::{ConnectionMode, DhGroup, IkeProposal, PeerConfig, PeerState};
use rand::RngExt;

use crate::sim::{ADDRESSES, Conditions, PEER, Pair, cheap_config};

fn socket(index: usize, port: u16) -> SocketAddr {
    SocketAddr::new(ADDRESSES[index], port)
}

#[test]
fn a_repeated_request_gets_the_very_same_response() {
    let mut pair = Pair::new(1);
    pair.repeat_requests = true;
    let wants_other_group = IkeProposal { groups: vec![DhGroup::Ecp256], ..IkeProposal::default_profile() };
    let responder = PeerConfig { ike_proposals: vec![wants_other_group], ..cheap_config(1) };
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..responder });
    pair.set_peer(0, PeerConfig { ike_proposals: vec![IkeProposal::default_profile()], ..cheap_config(0) });
    pair.run_for(Duration::from_secs(1));
    pair.assert_converged();
    pair.rekey(0);
    pair.run_for(Duration::from_secs(1));
    pair.rekey(1);
    pair.run_for(Duration::from_mins(2));
    pair.assert_settled();
    assert_eq!(pair.status(0).child.unwrap().rekeys, 2);
    pair.act(0, |endpoint, now| endpoint.disconnect(now, PEER));
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.state(1), PeerState::NotConnected);
    let exchanges: BTreeSet<_> =
        pair.trace.iter().map(|(_, datagram)| Header::parse(datagram).unwrap().0.exchange).collect();
    assert_eq!(exchanges.len(), 4, "every exchange was repeated");
    // Different messages of one sender never share an IV, which follows two generic headers.
    let is_sealed = |(_, datagram): &&(usize, Vec<u8>)| SealedMessage::parse(datagram).is_ok();
    let sealed: BTreeSet<_> = pair.trace.iter().filter(is_sealed).collect();
    let ivs: BTreeSet<_> = sealed.iter().map(|(from, datagram)| (from, &datagram[32..40])).collect();
    assert!(sealed.len() >= 10);
    assert_eq!(ivs.len(), sealed.len());
}

#[test]
fn only_identical_octets_are_a_repeated_request() {
    let mut pair = Pair::connected(6);
    let (_, mut request) = pair.trace.iter().rfind(|(from, _)| *from == 0).cloned().unwrap();
    pair.trace.clear();
    pair.receive(1, socket(1, 500), socket(0, 500), &request);
    assert_eq!(pair.trace.len(), 1);
    *request.last_mut().unwrap() ^= 1;
    pair.receive(1, socket(1, 500), socket(0, 500), &request);
    assert_eq!(pair.trace.len(), 1);
}

#[test]
fn a_refusal_is_repeated_too() {
    let mut pair = Pair::new(2);
    pair.repeat_requests = true;
    let mut wrong = cheap_config(0);
    wrong.auth = ike::Psk::new("wrong").into();
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..cheap_config(1) });
    pair.set_peer(0, wrong);
    pair.run_for(Duration::from_secs(30));
    assert_eq!(
        pair.last_error(0),
        "peer says AUTHENTICATION_FAILED: pre-shared keys differ, or it does not know us as 10.9.0.1?"
    );
}

#[test]
fn a_cookie_is_sent_back() {
    let mut pair = Pair::new(3);
    pair.cut();
    pair.set_peer(0, cheap_config(0));
    let first = Message::parse(&pair.trace[0].1).unwrap();
    let header = Header { from_initiator: false, response: true, ..first.header };
    let cookie = Payload::Notify(Notify::new(NotifyType::COOKIE, *b"biscuit"));
    let answer = Message { header, payloads: vec![cookie.clone()] }.encode();
    pair.receive(0, socket(0, 500), socket(1, 500), &answer);
    let second = Message::parse(&pair.trace[1].1).unwrap();
    assert_eq!(second.header, first.header);
    assert_eq!(second.payloads[0], cookie);
    assert_eq!(second.payloads[1..4], first.payloads[..3], "same proposals, public value and nonce");
    // The answer to the repeated first request changes nothing.
    pair.receive(0, socket(0, 500), socket(1, 500), &answer);
    assert_eq!(pair.trace.len(), 2);
    // The request with the cookie is what is authenticated.
    pair.conditions = Conditions::PERFECT;
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..cheap_config(1) });
    pair.run_for(Duration::from_mins(1));
    pair.assert_settled();
    assert_eq!(pair.status(1).ike.unwrap().spi_i, first.header.spi_i);
}

#[test]
fn damaged_and_misdirected_messages_do_not_disturb_a_session() {
    for seed in 0..20 {
        let mut pair = Pair::mutual(seed);
        pair.run_for(Duration::from_secs(30));
        pair.assert_settled();
        let before = pair.status(0).ike.unwrap();
        for round in 0..60 {
            pair.conditions = Conditions::REORDERING;
            pair.rekey(round % 2);
            for _ in 0..20 {
                let (_, mut datagram) = pair.trace[pair.rng.random_range(0..pair.trace.len())].clone();
                damage(&mut pair, &mut datagram);
                let to = pair.rng.random_range(0..2);
                let port = if pair.rng.random_bool(0.7) { 500 } else { 4500 };
                let from = if pair.rng.random_bool(0.7) { 1 - to } else { to };
                pair.receive(to, socket(to, port), socket(from, port), &datagram);
                pair.run_for(Duration::from_millis(20));
            }
            pair.run_for(Duration::from_secs(6));
        }
        pair.run_for(Duration::from_mins(2));
        pair.assert_settled();
        let after = pair.status(0).ike.unwrap();
        assert_eq!(after, before, "the IKE SA is the one from the start");
        assert!(pair.status(0).child.unwrap().rekeys >= 50);
        assert!(pair.nodes.iter().all(|node| node.states.len() == 2));
    }
}

/// Flips, cuts or extends; sometimes the message stays whole and is just a replay.
fn damage(pair: &mut Pair, datagram: &mut Vec<u8>) {
    for _ in 0..pair.rng.random_range(0..4) {
        let at = pair.rng.random_range(0..=datagram.len());
        match pair.rng.random_range(0..4) {
            0 => datagram.truncate(at),
            1 => datagram.insert(at, pair.rng.random()),
            _ => {
                if let Some(octet) = datagram.get_mut(at) {
                    *octet ^= 1 << pair.rng.random_range(0..8);
                }
            }
        }
    }
    // Half of them get past the check of the length.
    if pair.rng.random_bool(0.5) && datagram.len() >= 28 {
        let len = u32::try_from(datagram.len()).unwrap();
        datagram[24..28].copy_from_slice(&len.to_be_bytes());
    }
}

#[test]
fn floods_do_not_make_the_endpoint_grow() {
    let mut pair = Pair::connected(4);
    let (_, first) = pair.trace[0].clone();
    let mut message = Message::parse(&first).unwrap();
    let limit = ike::EndpointConfig::default().max_half_open_per_source / 2;
    for count in 1..300_u64 {
        message.header.spi_i = count;
        let datagram = message.encode();
        pair.receive(1, socket(1, 500), socket(0, 500), &datagram);
        // From an address that belongs to no peer.
        pair.receive(1, socket(1, 500), "198.51.100.9:500".parse().unwrap(), &datagram);
        // For an SA that does not exist.
        message.header.exchange = ExchangeType::INFORMATIONAL;
        pair.receive(1, socket(1, 500), socket(0, 500), &message.encode());
        message.header.exchange = ExchangeType::IKE_SA_INIT;
        assert!(pair.nodes[1].endpoint.ike_sa_count() <= limit + 1);
    }
    assert_eq!(pair.nodes[1].endpoint.ike_sa_count(), limit + 1);
    // The others got a cookie, which is shorter than what they sent.
    let answered = pair.trace.iter().filter(|(from, answer)| *from == 1 && answer.len() > 60).count();
    assert!(answered <= limit + 2, "{answered} answers");
    pair.run_for(Duration::from_mins(1));
    pair.assert_settled();
}

#[test]
fn requests_we_do_not_serve_leave_the_session_alone() {
    // An unauthenticated error for a session that stands is not believed.
    let mut pair = Pair::connected(5);
    let ike = pair.status(0).ike.unwrap();
    for kind in [NotifyType::AUTHENTICATION_FAILED, NotifyType::INVALID_SYNTAX] {
        for response in [false, true] {
            for message_id in 0..4 {
                let header = Header {
                    spi_i: ike.spi_i,
                    spi_r: ike.spi_r,
                    exchange: ExchangeType::INFORMATIONAL,
                    from_initiator: false,
                    response,
                    message_id,
                };
                let payloads = vec![Payload::Notify(Notify::new(kind, []))];
                let datagram = Message { header, payloads }.encode();
                pair.receive(0, socket(0, 500), socket(1, 500), &datagram);
            }
        }
    }
    pair.run_for(Duration::from_mins(3));
    pair.assert_settled();
    assert_eq!(pair.status(0).ike.unwrap(), ike);
}

#[test]
fn an_unknown_critical_payload_is_refused_but_not_at_greater_length() {
    let mut pair = Pair::new(5);
    pair.cut();
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..cheap_config(1) });
    for (padding, answers) in [(0, 0), (64, 1)] {
        let mut request = vec![7; 8];
        request.extend([0; 8]);
        // A first payload of type 200, version 2.0, IKE_SA_INIT, from the initiator; a critical payload.
        request.extend([200, 0x20, 34, 0x08, 0, 0, 0, 0, 0, 0, 0, 32 + padding, 0, 0x80, 0, 4 + padding]);
        request.resize(32 + usize::from(padding), 0);
        let before = pair.trace.len();
        pair.receive(1, socket(1, 500), socket(0, 500), &request);
        assert_eq!(pair.trace.len(), before + answers, "padding of {padding}");
    }
    let answer = Message::parse(&pair.trace[0].1).unwrap();
    let refusal = Notify::new(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, [200]);
    assert_eq!(answer.payloads, [Payload::Notify(refusal)]);
}
