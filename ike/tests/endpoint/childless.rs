//! IKE SAs without a Child SA: the first one was refused, or the last one is gone (RFC 7296 §1.2, §1.3.1, §2.21.2).

use std::time::Duration;

use ike::wire::{AddressRange, Delete, ExchangeType, NotifyType, Payload};
use ike::{ConnectionMode, PeerConfig, PeerState};

use crate::puppet::{
    Contribution, FIRST_SPI, Puppet, Received, delete_esp, esp_spi, ike_spi, notify, only_notification,
    patient_config, proposals,
};
use crate::sim::{PEER, Pair, cheap_config};

const CREATE: ExchangeType = ExchangeType::CREATE_CHILD_SA;
const SPI: u32 = 0x7000_0002;

/// The puppet authenticates itself and refuses the Child SA.
fn refused(kind: NotifyType) -> (Pair, Puppet) {
    Puppet::answering_auth(1, patient_config(), |_| vec![notify(kind)])
}

fn accept(pair: &mut Pair, puppet: &mut Puppet, asked: &Received) {
    let answer = Contribution::new(2).answer(&asked.payloads, &SPI.to_be_bytes());
    puppet.respond(pair, asked, answer);
}

fn is_new_child_request(asked: &Received) -> bool {
    let rekeys =
        |payload: &Payload| matches!(payload, Payload::Notify(one) if one.kind == NotifyType::REKEY_SA);
    asked.header.exchange == CREATE && !asked.header.response && !asked.payloads.iter().any(rekeys)
}

fn is_up(pair: &Pair) -> bool {
    let outbound = pair.nodes[0].plane.outbound.as_ref().map(|sa| sa.spi);
    pair.state(0) == PeerState::Connected && outbound == Some(SPI) && pair.status(0).last_error.is_none()
}

/// End 0 with one IKE SA, whose only Child SA the puppet has just deleted.
fn bereft(mode: ConnectionMode) -> (Pair, Puppet) {
    let (mut pair, mut puppet) = Puppet::connected(3);
    pair.set_peer(0, PeerConfig { mode, ..patient_config() });
    assert_eq!(puppet.delete_children(&mut pair, &[FIRST_SPI]), [delete_esp(&[puppet.first_child])]);
    (pair, puppet)
}

#[test]
fn an_ike_sa_whose_child_sa_is_refused_stays_and_another_one_is_asked_for() {
    let offered = "we offered 0.0.0.0/0 === 0.0.0.0/0";
    for (kind, reason) in [
        (
            NotifyType::NO_PROPOSAL_CHOSEN,
            "peer refused our ESP proposal; we offered chacha20poly1305-x25519-esn",
        ),
        (NotifyType::TS_UNACCEPTABLE, &format!("peer refused our traffic selectors; {offered}")),
        (
            NotifyType::SINGLE_PAIR_REQUIRED,
            "peer wants a Child SA for each pair of addresses, which is not supported",
        ),
        (NotifyType::INTERNAL_ADDRESS_FAILURE, "peer made no Child SA: INTERNAL_ADDRESS_FAILURE"),
        (NotifyType::FAILED_CP_REQUIRED, "peer made no Child SA: FAILED_CP_REQUIRED"),
        (NotifyType(8000), "peer made no Child SA: notification 8000"),
    ] {
        let (mut pair, mut puppet) = refused(kind);
        let ike = pair.status(0).ike.expect("it stands");
        for _ in 0..3 {
            assert_eq!((pair.state(0), pair.last_error(0).as_str()), (PeerState::Connecting, reason));
            pair.run_for(Duration::from_secs(59));
            assert!(puppet.try_next(&mut pair).is_none(), "not at once");
            pair.run_for(Duration::from_millis(1100));
            let asked = puppet.next(&mut pair);
            assert!(is_new_child_request(&asked));
            puppet.respond(&mut pair, &asked, vec![notify(kind)]);
        }
        assert_eq!(pair.nodes[0].states.len(), 2, "{:?}", pair.nodes[0].states);
        pair.run_for(Duration::from_millis(60_100));
        let asked = puppet.next(&mut pair);
        accept(&mut pair, &mut puppet, &asked);
        assert!(is_up(&pair));
        assert_eq!(pair.status(0).ike.unwrap().spi_i, ike.spi_i);
        pair.run_for(Duration::from_mins(10));
        assert!(is_up(&pair), "its time without a Child SA is forgotten");
    }
}

#[test]
fn an_ike_sa_that_gets_no_child_sa_is_closed_and_the_connection_made_anew() {
    let kind = NotifyType::TS_UNACCEPTABLE;
    let (mut pair, mut puppet) = refused(kind);
    for _ in 0..4 {
        pair.run_for(Duration::from_millis(60_100));
        let asked = puppet.next(&mut pair);
        puppet.respond(&mut pair, &asked, vec![notify(kind)]);
    }
    pair.run_for(Duration::from_mins(1));
    assert_eq!(puppet.next(&mut pair).payloads, [Payload::Delete(Delete::IkeSa)]);
    assert_eq!(
        pair.last_error(0),
        "peer refused our traffic selectors; we offered 0.0.0.0/0 === 0.0.0.0/0; no Child SA came about"
    );
    pair.trace.clear();
    let is_init = |(_, octets): &(usize, Vec<u8>)| {
        ike::wire::Header::parse(octets).is_ok_and(|(header, _)| header.exchange == ExchangeType::IKE_SA_INIT)
    };
    pair.run_for(Duration::from_secs(5));
    assert!(pair.trace.iter().any(is_init));
    assert_eq!(pair.state(0), PeerState::Connecting);
}

#[test]
fn a_peer_that_allows_no_child_sa_beside_the_first_is_connected_anew_at_once() {
    let (mut pair, mut puppet) = refused(NotifyType::NO_PROPOSAL_CHOSEN);
    pair.run_for(Duration::from_millis(60_100));
    let asked = puppet.next(&mut pair);
    puppet.respond(&mut pair, &asked, vec![notify(NotifyType::NO_ADDITIONAL_SAS)]);
    assert_eq!(puppet.next(&mut pair).payloads, [Payload::Delete(Delete::IkeSa)]);
}

#[test]
fn the_reason_of_a_refusal_outlives_the_ike_sa() {
    let (mut pair, mut puppet) = refused(NotifyType::NO_PROPOSAL_CHOSEN);
    puppet.ask(&mut pair, ExchangeType::INFORMATIONAL, vec![Payload::Delete(Delete::IkeSa)]);
    assert_eq!(
        pair.last_error(0),
        "peer refused our ESP proposal; we offered chacha20poly1305-x25519-esn; peer deleted the IKE SA"
    );
    assert_eq!(pair.status(0).ike, None);
}

/// The proposals for a Child SA that the puppet may ask for.
fn new_child_request() -> Vec<Payload> {
    let (mut pair, mut puppet) = Puppet::connected(4);
    pair.rekey(0);
    let esp = proposals(&puppet.next(&mut pair).payloads).to_vec();
    Contribution::new(5).request(&esp, &SPI.to_be_bytes())
}

#[test]
fn the_peer_may_bring_a_child_sa_into_an_ike_sa_without_one() {
    let (mut pair, mut puppet) = refused(NotifyType::TS_UNACCEPTABLE);
    assert_ne!(esp_spi(&puppet.ask(&mut pair, CREATE, new_child_request())), 0);
    assert!(is_up(&pair));
    pair.run_for(Duration::from_mins(10));
    assert!(puppet.try_next(&mut pair).is_none() && is_up(&pair));
}

#[test]
fn both_ends_keep_an_ike_sa_whose_child_sa_the_responder_refuses() {
    use ConnectionMode::{Default, Initiator, Responder};
    let range = |first| vec![AddressRange::V4([10, first, 0, 0].into(), [10, first, 255, 255].into())];
    for modes in [[Default, Responder], [Initiator, Default], [Default, Default]] {
        let mut pair = Pair::new(6);
        for index in [1, 0] {
            let remote_selectors = range(if index == 0 { 2 } else { 1 });
            let config = PeerConfig {
                local_selectors: range(index as u8 + 5),
                remote_selectors,
                ..cheap_config(index)
            };
            pair.set_peer(index, PeerConfig { mode: modes[index], ..config });
        }
        pair.run_for(Duration::from_secs(10));
        let [a, b] = [0, 1].map(|index| pair.status(index).ike.expect("it stands"));
        assert_eq!((a.spi_i, a.spi_r), (b.spi_i, b.spi_r));
        let expected = if modes[1] == Responder { PeerState::NotConnected } else { PeerState::Connecting };
        assert_eq!([pair.state(0), pair.state(1)], [PeerState::Connecting, expected], "{modes:?}");
        pair.run_for(Duration::from_mins(30));
        for index in [0, 1] {
            assert!(pair.nodes[index].plane.outbound.is_none());
            assert!(pair.nodes[index].states.len() <= 12, "{:?}", pair.nodes[index].states);
            assert!(pair.nodes[index].endpoint.ike_sa_count() <= 2);
            assert!(pair.last_error(index).contains("traffic selectors"), "{}", pair.last_error(index));
        }
    }
}

#[test]
fn an_end_that_only_answers_waits_for_another_child_sa_of_the_peer() {
    let (mut pair, mut puppet) = bereft(ConnectionMode::Responder);
    assert_eq!(
        (pair.state(0), pair.last_error(0).as_str()),
        (PeerState::NotConnected, "peer deleted the Child SA")
    );
    pair.run_for(Duration::from_mins(4));
    assert!(puppet.try_next(&mut pair).is_none(), "it only answers");
    puppet.ask(&mut pair, CREATE, new_child_request());
    assert!(is_up(&pair));
    puppet.delete_children(&mut pair, &[SPI]);
    // Not for ever, so that the peer connects anew.
    pair.run_for(Duration::from_secs(5 * 60 + 1));
    assert_eq!(puppet.next(&mut pair).payloads, [Payload::Delete(Delete::IkeSa)]);
}

#[test]
fn on_demand_a_lost_child_sa_comes_back_with_the_next_packet() {
    let (mut pair, mut puppet) = bereft(ConnectionMode::OnDemand);
    assert_eq!(pair.state(0), PeerState::NotConnected);
    pair.run_for(Duration::from_mins(4));
    assert!(puppet.try_next(&mut pair).is_none(), "no packet wants out");
    pair.act(0, |endpoint, now| endpoint.demand(now, PEER));
    assert_eq!(pair.state(0), PeerState::Connecting);
    let asked = puppet.next(&mut pair);
    assert!(is_new_child_request(&asked));
    accept(&mut pair, &mut puppet, &asked);
    assert!(is_up(&pair));
    // A further loss is one again.
    puppet.delete_children(&mut pair, &[SPI]);
    assert_eq!(pair.state(0), PeerState::NotConnected);
    assert!(puppet.try_next(&mut pair).is_none());
}

#[test]
fn the_ike_sa_is_not_rekeyed_by_the_peer_while_we_ask_for_a_child_sa() {
    let (mut pair, mut puppet) = bereft(ConnectionMode::Default);
    let asked = puppet.next(&mut pair);
    assert!(is_new_child_request(&asked));
    let mut initiating = Pair::new(7);
    initiating.cut();
    initiating.set_peer(0, cheap_config(0));
    let request = ike::wire::Message::parse(&initiating.trace[0].1).unwrap();
    let request = Contribution::new(8).request(proposals(&request.payloads), &7_u64.to_be_bytes());
    let answer = puppet.ask(&mut pair, CREATE, request.clone());
    assert_eq!(only_notification(&answer), NotifyType::TEMPORARY_FAILURE);
    accept(&mut pair, &mut puppet, &asked);
    assert_ne!(ike_spi(&puppet.ask(&mut pair, CREATE, request)), 0, "now it is");
}
