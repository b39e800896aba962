//! What does not belong to any SA: told little, believed less.

use std::net::SocketAddr;
use std::time::Duration;

use ike::wire::{ExchangeType, Header, Message, Notify, NotifyType, Payload};
use ike::{ConnectionMode, PeerConfig, PeerState};

use crate::sim::{ADDRESSES, Conditions, PEER, Pair, cheap_config};

fn socket(index: usize) -> SocketAddr {
    SocketAddr::new(ADDRESSES[index], 500)
}

/// The last protected message that end 0 sent.
fn protected(pair: &Pair) -> Vec<u8> {
    pair.trace.iter().rfind(|(from, _)| *from == 0).unwrap().1.clone()
}

fn notification(datagram: &[u8]) -> (Header, Notify) {
    let Message { header, payloads } = Message::parse(datagram).unwrap();
    match payloads.as_slice() {
        [Payload::Notify(notify)] => (header, notify.clone()),
        other => panic!("{other:?}"),
    }
}

/// What end 1 sends upon a datagram.
fn upon(pair: &mut Pair, source: SocketAddr, datagram: &[u8]) -> Vec<Vec<u8>> {
    pair.trace.clear();
    pair.receive(1, socket(1), source, datagram);
    pair.trace.drain(..).filter(|(from, _)| *from == 1).map(|(_, sent)| sent).collect()
}

#[test]
fn a_protected_request_for_an_unknown_ike_sa_is_answered_with_its_own_header() {
    let mut pair = Pair::connected(1);
    let mut request = protected(&pair);
    request[8] ^= 1;
    let header = Header::parse(&request).unwrap().0;
    let [answer] = upon(&mut pair, socket(0), &request).try_into().unwrap();
    assert!(answer.len() < request.len());
    let (answered, notify) = notification(&answer);
    assert_eq!(answered, Header { response: true, from_initiator: false, ..header });
    assert_eq!(notify, Notify::new(NotifyType::INVALID_IKE_SPI, []));
    // Never to a response, to what is not protected, or to an address of nobody's.
    request[19] |= 0x20;
    assert!(upon(&mut pair, socket(0), &request).is_empty());
    request[19] &= !0x20;
    assert!(upon(&mut pair, "198.51.100.9:500".parse().unwrap(), &request).is_empty());
    let payloads = vec![Payload::Notify(Notify::new(NotifyType::INITIAL_CONTACT, [1; 100]))];
    assert!(upon(&mut pair, socket(0), &Message { header, payloads }.encode()).is_empty());
}

#[test]
fn a_newer_major_version_is_answered_with_ours() {
    let mut pair = Pair::connected(2);
    let mut request = protected(&pair);
    request[17] = 0x30;
    let [answer] = upon(&mut pair, socket(0), &request).try_into().unwrap();
    assert_eq!(answer[17], 0x20);
    assert_eq!(notification(&answer).1.kind, NotifyType::INVALID_MAJOR_VERSION);
    assert!(upon(&mut pair, "198.51.100.9:500".parse().unwrap(), &request).is_empty());
    request[19] |= 0x20;
    assert!(upon(&mut pair, socket(0), &request).is_empty(), "no answer to an answer");
    // An older one says nothing.
    request[19] &= !0x20;
    request[17] = 0x10;
    assert!(upon(&mut pair, socket(0), &request).is_empty());
}

#[test]
fn answers_to_strangers_are_few() {
    let mut pair = Pair::connected(3);
    let request = protected(&pair);
    let mut answers = 0;
    for count in 0..10_000_u32 {
        let mut unknown = request.clone();
        unknown[..4].copy_from_slice(&count.to_be_bytes());
        unknown[8] ^= 1;
        if count % 2 == 0 {
            unknown[17] = 0x30;
        }
        answers += upon(&mut pair, socket(0), &unknown).len();
        pair.now += Duration::from_millis(1);
    }
    // Twenty at once, and one per 100 ms.
    assert!((100..=121).contains(&answers), "{answers}");
}

/// An unprotected notification with the SPIs of the SA, as an answer to end 0.
fn invalid_ike_spi(pair: &Pair, message_id: u32) -> Vec<u8> {
    let ike = pair.status(0).ike.unwrap();
    let header = Header {
        spi_i: ike.spi_i,
        spi_r: ike.spi_r,
        exchange: ExchangeType::INFORMATIONAL,
        from_initiator: false,
        response: true,
        message_id,
    };
    let payloads = vec![Payload::Notify(Notify::new(NotifyType::INVALID_IKE_SPI, []))];
    Message { header, payloads }.encode()
}

/// The notice, to end 0, that an ESP packet with this SPI was not understood.
fn invalid_spi(spi: u32) -> Vec<u8> {
    let header = Header {
        spi_i: 0,
        spi_r: 0,
        exchange: ExchangeType::INFORMATIONAL,
        from_initiator: true,
        response: false,
        message_id: 0,
    };
    let payloads = vec![Payload::Notify(Notify::new(NotifyType::INVALID_SPI, spi.to_be_bytes()))];
    Message { header, payloads }.encode()
}

#[test]
fn forged_hints_bring_nothing_down_and_about_a_check_now_and_then() {
    for seed in 0..5 {
        let mut pair = Pair::connected(seed);
        let before = pair.status(0);
        let outbound = pair.nodes[0].plane.outbound.as_ref().unwrap().spi;
        pair.trace.clear();
        pair.conditions = Conditions { loss: 0.1, ..Conditions::PERFECT };
        for round in 0..6000_u32 {
            let hint = if round % 2 == 0 { invalid_ike_spi(&pair, round % 7) } else { invalid_spi(outbound) };
            pair.receive(0, socket(0), socket(1), &hint);
            pair.run_for(Duration::from_millis(10));
        }
        pair.conditions = Conditions::PERFECT;
        let checks = pair.trace.iter().filter(|(from, _)| *from == 0).count();
        // One per ten seconds, each repeated when it is lost.
        assert!((5..=20).contains(&checks), "{checks}");
        pair.run_for(Duration::from_secs(10));
        pair.assert_settled();
        assert_eq!(pair.status(0), before);
        assert!(pair.nodes.iter().all(|node| node.states.len() <= 2));
    }
}

#[test]
fn hints_from_elsewhere_or_about_other_sas_do_nothing() {
    let mut pair = Pair::connected(4);
    let outbound = pair.nodes[0].plane.outbound.as_ref().unwrap().spi;
    pair.trace.clear();
    let elsewhere: SocketAddr = "198.51.100.9:500".parse().unwrap();
    let about_ike = invalid_ike_spi(&pair, 2);
    pair.receive(0, socket(0), elsewhere, &about_ike);
    pair.receive(0, socket(0), elsewhere, &invalid_spi(outbound));
    pair.receive(0, socket(0), socket(1), &invalid_spi(outbound ^ 1));
    let mut answer = invalid_spi(outbound);
    answer[19] |= 0x20;
    pair.receive(0, socket(0), socket(1), &answer);
    assert!(pair.trace.is_empty());
    pair.receive(0, socket(0), socket(1), &invalid_spi(outbound));
    assert_eq!(pair.trace.len(), 1, "a liveness check");
}

/// End 1 only answers, is restarted and has forgotten everything.
fn restarted_responder(seed: u64) -> Pair {
    let mut pair = Pair::connected(seed);
    let mode = ConnectionMode::Responder;
    pair.restart(1, seed + 1000, PeerConfig { mode, ..cheap_config(1) });
    pair
}

#[test]
fn a_restarted_peer_is_found_within_seconds_of_the_first_packet() {
    for seed in 0..20 {
        let mut pair = restarted_responder(seed);
        let before = pair.status(0).ike.unwrap();
        // Its datapath does not know the SPI of a packet.
        let spi = pair.nodes[0].plane.outbound.as_ref().unwrap().spi;
        pair.act(1, |endpoint, now| endpoint.unknown_esp_spi(now, ADDRESSES[0], spi));
        assert!(pair.run_until(Duration::from_secs(5), Pair::is_converged), "seed {seed}");
        assert_ne!(pair.status(0).ike.unwrap().spi_i, before.spi_i);
        assert_eq!(pair.nodes[0].states.len(), 2, "it never was down: {:?}", pair.nodes[0].states);
        pair.run_for(Duration::from_mins(2));
        pair.assert_settled();
    }
}

#[test]
fn a_restarted_peer_is_found_within_seconds_of_a_liveness_check() {
    let mut pair = restarted_responder(5);
    pair.run_for(Duration::from_secs(43));
    assert_eq!(pair.state(1), PeerState::NotConnected);
    assert!(pair.run_until(Duration::from_secs(8), Pair::is_converged));
    pair.run_for(Duration::from_mins(2));
    pair.assert_settled();
}

#[test]
fn a_responder_does_not_connect_upon_hints() {
    let mut pair = Pair::connected(6);
    let outbound = pair.nodes[1].plane.outbound.as_ref().unwrap().spi;
    pair.cut();
    pair.trace.clear();
    pair.receive(1, socket(1), socket(0), &invalid_spi(outbound));
    pair.run_for(Duration::from_secs(30));
    let is_init = |datagram: &[u8]| Header::parse(datagram).unwrap().0.exchange == ExchangeType::IKE_SA_INIT;
    assert!(!pair.trace.iter().any(|(from, sent)| *from == 1 && is_init(sent)));
}

#[test]
fn a_packet_without_an_sa_is_reported_in_the_ike_sa_at_most_every_ten_seconds() {
    let mut pair = Pair::connected(7);
    let before = pair.status(0);
    pair.trace.clear();
    for _ in 0..100 {
        pair.act(1, |endpoint, now| endpoint.unknown_esp_spi(now, ADDRESSES[0], 0x1234_5678));
        pair.run_for(Duration::from_millis(90));
    }
    assert_eq!(pair.trace.len(), 2, "one request and its answer");
    assert!(pair.trace.iter().all(|(_, sent)| Message::parse(sent).is_err()), "protected");
    assert_eq!(pair.status(0), before, "an SPI that is not in use changes nothing");
    // From an address of nobody's.
    pair.trace.clear();
    pair.run_for(Duration::from_secs(10));
    pair.act(1, |endpoint, now| endpoint.unknown_esp_spi(now, "198.51.100.9".parse().unwrap(), 7));
    assert!(pair.trace.is_empty());
}

#[test]
fn a_peer_that_has_lost_the_child_sa_gets_another() {
    let mut pair = Pair::connected(8);
    let spi = pair.nodes[0].plane.outbound.as_ref().unwrap().spi;
    pair.act(1, |endpoint, now| endpoint.unknown_esp_spi(now, ADDRESSES[0], spi));
    pair.run_for(Duration::from_secs(10));
    pair.assert_settled();
    assert_ne!(pair.nodes[0].plane.outbound.as_ref().unwrap().spi, spi);
    assert_eq!(pair.nodes[0].states.len(), 2);
}

#[test]
fn outside_of_an_ike_sa_a_packet_without_an_sa_is_reported_rarely_and_unprotected() {
    let mut pair = Pair::new(9);
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..cheap_config(1) });
    for _ in 0..100 {
        pair.act(1, |endpoint, now| endpoint.unknown_esp_spi(now, ADDRESSES[0], 0x1234_5678));
        pair.run_for(Duration::from_millis(300));
    }
    assert_eq!(pair.trace.len(), 3, "one per ten seconds");
    let (header, notify) = notification(&pair.trace[0].1);
    assert!(header.from_initiator && !header.response);
    assert_eq!(notify, Notify::new(NotifyType::INVALID_SPI, 0x1234_5678_u32.to_be_bytes()));
    pair.act(1, |endpoint, now| endpoint.disconnect(now, PEER));
    pair.run_for(Duration::from_secs(20));
    pair.act(1, |endpoint, now| endpoint.unknown_esp_spi(now, ADDRESSES[0], 0x1234_5678));
    assert_eq!(pair.trace.len(), 3, "not for a connection that is to stay down");
}
