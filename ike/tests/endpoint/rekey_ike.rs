//! Rekeying of the IKE SA: the connection goes on under new keys, whoever asks.

use std::time::Duration;

use ike::wire::{ExchangeType, Header};
use ike::{ConnectionMode, PeerConfig, PeerState};

use crate::sim::{Conditions, Pair, cheap_config, ike_message};

/// Both ends are connected by an IKE SA that was replaced this often, the Child SA never.
#[track_caller]
fn assert_rekeyed(pair: &Pair, rekeys: u64) {
    pair.assert_settled();
    assert_eq!(pair.esp_lost, 0, "of {} packets", pair.esp_sent);
    for index in [0, 1] {
        let status = pair.status(index);
        assert_eq!(status.ike.unwrap().rekeys, rekeys, "end {index}");
        assert_eq!(pair.nodes[index].states.last().unwrap().0, PeerState::Connected);
        assert!(pair.nodes[index].states.len() <= 2, "nobody sees it: {:?}", pair.nodes[index].states);
    }
}

/// Connected ends with traffic in both directions.
fn busy_pair(seed: u64) -> Pair {
    let mut pair = Pair::connected(seed);
    pair.traffic = Some(Duration::from_millis(5));
    pair
}

fn headers(pair: &Pair) -> Vec<(usize, Header)> {
    let header =
        |(from, datagram): &(usize, Vec<u8>)| (*from, Header::parse(ike_message(datagram)).unwrap().0);
    pair.trace.iter().map(header).collect()
}

#[test]
fn the_ike_sa_is_rekeyed_by_either_end_and_the_child_sa_goes_on() {
    for index in [0, 1] {
        let mut pair = busy_pair(1);
        let (before, child) = (pair.status(0).ike.unwrap(), pair.status(0).child.unwrap());
        pair.trace.clear();
        pair.rekey_ike(index);
        pair.run_for(Duration::from_secs(11));
        assert_rekeyed(&pair, 1);
        let [ike, other] = [0, 1].map(|index| pair.status(index).ike.unwrap());
        assert!(ike.spi_i != before.spi_i && ike.spi_r != before.spi_r);
        assert_eq!(
            (ike.initiator, other.initiator),
            (index == 0, index == 1),
            "who asked is the initiator now"
        );
        assert_eq!(pair.status(0).child.unwrap(), child);
        assert_eq!(pair.nodes[0].plane.installed, 1);
        // CREATE_CHILD_SA and the delete by who asked, all in the old IKE SA.
        let seen: Vec<_> = headers(&pair)
            .iter()
            .map(|(from, header)| (*from, header.exchange, header.response, header.spi_i == before.spi_i))
            .collect();
        let (create, delete) = (ExchangeType::CREATE_CHILD_SA, ExchangeType::INFORMATIONAL);
        let expected = [
            (index, create, false, true),
            (1 - index, create, true, true),
            (index, delete, false, true),
            (1 - index, delete, true, true),
        ];
        assert_eq!(seen, expected);
    }
}

#[test]
fn message_ids_of_a_rekeyed_ike_sa_start_at_zero_in_both_directions() {
    let mut pair = Pair::connected(2);
    pair.rekey_ike(1);
    pair.run_for(Duration::from_secs(1));
    let ike = pair.status(0).ike.unwrap();
    for index in [0, 1] {
        pair.rekey(index);
        pair.run_for(Duration::from_secs(6));
    }
    let mut ids = [Vec::new(), Vec::new()];
    for (from, header) in headers(&pair) {
        if header.spi_i == ike.spi_i && !header.response {
            assert_eq!(header.from_initiator, from == 1);
            ids[from].push(header.message_id);
        }
    }
    assert_eq!(ids, [vec![0, 1], vec![0, 1]], "a rekey of the Child SA and its delete by each end");
    pair.assert_settled();
    assert_eq!(pair.status(0).child.unwrap().rekeys, 2);
}

#[test]
fn rekeys_of_the_ike_sa_and_of_the_child_sa_alternate() {
    let mut pair = busy_pair(3);
    for round in 0..6 {
        pair.rekey_ike(round % 2);
        pair.run_for(Duration::from_secs(8));
        pair.rekey(round / 2 % 2);
        pair.run_for(Duration::from_secs(8));
    }
    assert_rekeyed(&pair, 6);
    assert_eq!(pair.status(1).child.unwrap().rekeys, 6);
}

#[test]
fn lifetimes_of_the_ike_sa_bring_rekeys_by_themselves() {
    let short = |index| PeerConfig {
        ike_lifetime: Duration::from_secs(40),
        rekey_jitter: Duration::from_secs(8),
        rekey_margin: Duration::from_secs(30),
        ..cheap_config(index)
    };
    for seed in 0..10 {
        let mut pair = Pair::new(seed);
        pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..short(1) });
        pair.set_peer(0, short(0));
        pair.run_for(Duration::from_secs(1));
        pair.conditions = Conditions::REORDERING;
        pair.traffic = Some(Duration::from_millis(50));
        pair.run_for(Duration::from_mins(5));
        pair.assert_converged();
        assert_eq!(pair.esp_lost, 0);
        let status = pair.status(0).ike.unwrap();
        assert!((6..=10).contains(&status.rekeys), "{} in five minutes", status.rekeys);
        assert!(
            status.rekey_at > pair.now && status.rekey_at <= status.established + Duration::from_secs(40)
        );
        assert!(pair.nodes.iter().all(|node| node.states.len() <= 2));
    }
}

#[test]
fn a_jitter_longer_than_the_lifetime_does_not_rekey_for_ever() {
    let short = |index| PeerConfig { ike_lifetime: Duration::from_mins(1), ..cheap_config(index) };
    let mut pair = Pair::new(3);
    pair.set_peer(1, short(1));
    pair.set_peer(0, short(0));
    pair.run_for(Duration::from_mins(10));
    pair.assert_converged();
    let rekeys = pair.status(0).ike.unwrap().rekeys;
    assert!((9..=14).contains(&rekeys), "{rekeys} in ten minutes");
}

#[test]
fn rekeys_of_the_ike_sa_by_both_ends_at_once_leave_one_ike_sa_and_lose_no_packet() {
    let mut collisions = 0;
    let mut winners = [0, 0];
    for seed in 0..150 {
        let mut pair = Pair::connected(seed);
        let child = pair.status(0).child.unwrap();
        pair.conditions = Conditions::REORDERING;
        pair.traffic = Some(Duration::from_millis(5));
        pair.rekey_ike(0);
        pair.run_for(Duration::from_millis(seed));
        pair.rekey_ike(1);
        let three = |pair: &Pair| pair.nodes.iter().any(|node| node.endpoint.ike_sa_count() == 3);
        collisions += usize::from(pair.run_until(Duration::from_secs(1), three));
        pair.run_for(Duration::from_secs(30));
        assert_eq!(pair.esp_lost, 0, "seed {seed}");
        pair.traffic = None;
        pair.run_for(Duration::from_mins(6));
        pair.assert_settled();
        assert!(pair.nodes.iter().all(|node| node.states.len() <= 2), "seed {seed}");
        assert_eq!(pair.status(0).child.unwrap().inbound_spi, child.inbound_spi);
        let ike = pair.status(0).ike.unwrap();
        assert!((1..=2).contains(&ike.rekeys), "seed {seed}: {}", ike.rekeys);
        winners[usize::from(ike.initiator)] += 1;
    }
    assert!(collisions >= 30, "only {collisions} of the runs had a collision");
    assert!(winners.iter().all(|wins| *wins >= 20), "{winners:?}");
}

#[test]
fn rekeys_of_everything_at_once_on_a_bad_network_leave_one_of_each() {
    for seed in 0..200 {
        let mut pair = Pair::connected(seed);
        let first = pair.status(0).ike.unwrap();
        pair.conditions = Conditions::BAD;
        for round in 0..4 {
            pair.rekey_ike(0);
            pair.rekey(round % 2);
            pair.rekey_ike(1);
            pair.run_for(Duration::from_secs(3));
        }
        pair.run_for(Duration::from_secs(20));
        pair.conditions = Conditions::PERFECT;
        pair.run_for(Duration::from_mins(6));
        pair.assert_settled();
        let ike = pair.status(0).ike.unwrap();
        let reasons = pair.nodes.iter().flat_map(|node| &node.states).map(|(_, reason)| reason.as_str());
        assert!(!reasons.into_iter().any(|reason| reason.starts_with("peer deleted")), "seed {seed}");
        // When four transmissions in a row are lost, an end may suspect a restart and connect anew instead.
        assert_ne!(ike.spi_i, first.spi_i, "seed {seed}");
        assert_eq!(ike.rekeys, pair.status(1).ike.unwrap().rekeys);
    }
}

#[test]
fn a_repeated_rekey_of_the_ike_sa_gets_the_very_same_response() {
    let mut pair = Pair::connected(14);
    pair.repeat_requests = true;
    for index in [0, 1, 1, 0] {
        pair.rekey_ike(index);
        pair.run_for(Duration::from_secs(30));
        pair.assert_settled();
    }
    assert_eq!(pair.status(0).ike.unwrap().rekeys, 4);
}

#[test]
fn the_answer_to_a_rekey_of_the_ike_sa_may_be_lost_for_long() {
    let mut pair = Pair::connected(15);
    pair.traffic = Some(Duration::from_millis(50));
    pair.rekey_ike(0);
    pair.run_for(Duration::from_millis(12));
    pair.cut();
    pair.run_for(Duration::from_secs(30));
    pair.conditions = Conditions::PERFECT;
    pair.run_for(Duration::from_secs(30));
    pair.assert_settled();
    assert_eq!(pair.esp_lost, 0);
    assert_eq!(pair.status(0).ike.unwrap().rekeys, 1);
    assert!(pair.nodes.iter().all(|node| node.states.len() <= 2));
}
