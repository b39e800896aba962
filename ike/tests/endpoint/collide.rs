//! Both ends connect at once.

use std::collections::BTreeMap;
use std::time::Duration;

use ike::wire::{Message, Payload};
use ike::{PeerState, PeerStatus};
use rand::RngExt;

use crate::sim::{Conditions, Pair, cheap_config, ike_message};

/// The states of each end once it has been connected.
fn states_after_success(pair: &Pair, index: usize) -> Vec<PeerState> {
    let states = pair.nodes[index].states.iter().map(|(state, _)| *state);
    states.skip_while(|state| *state != PeerState::Connected).collect()
}

#[track_caller]
fn assert_stayed_connected(pair: &Pair) {
    for index in [0, 1] {
        assert_eq!(
            states_after_success(pair, index),
            [PeerState::Connected],
            "{:?}",
            pair.nodes[index].states
        );
    }
}

/// The lowest nonce of each IKE_SA_INIT exchange, by SPIi.
fn lowest_nonces(pair: &Pair) -> BTreeMap<u64, Vec<u8>> {
    let mut lowest = BTreeMap::<u64, Vec<u8>>::new();
    for message in pair.trace.iter().filter_map(|(_, datagram)| Message::parse(ike_message(datagram)).ok()) {
        for payload in message.payloads {
            if let Payload::Nonce(nonce) = payload {
                let known = lowest.entry(message.header.spi_i).or_insert_with(|| nonce.clone());
                *known = nonce.min(known.clone());
            }
        }
    }
    lowest
}

#[test]
fn simultaneous_initiation_ends_with_one_ike_sa() {
    let mut collisions = 0;
    let mut winners = [0, 0];
    for seed in 0..300 {
        let mut pair = Pair::new(seed);
        pair.conditions = Conditions::REORDERING;
        pair.set_peer(0, cheap_config(0));
        let offset = pair.rng.random_range(0..150);
        pair.run_for(Duration::from_millis(offset));
        pair.set_peer(1, cheap_config(1));
        pair.run_until(Duration::from_secs(30), |pair| pair.nodes[0].plane.inbound.len() == 2);
        let collided = pair.nodes[0].plane.inbound.len() == 2;
        collisions += usize::from(collided);
        pair.run_for(Duration::from_mins(1));
        pair.assert_settled();
        assert_stayed_connected(&pair);
        let winner = pair.status(0).ike.unwrap();
        winners[usize::from(winner.initiator)] += 1;
        if collided {
            let nonces = lowest_nonces(&pair);
            assert_eq!(nonces.len(), 2);
            assert!(nonces.values().all(|nonce| *nonce <= nonces[&winner.spi_i]), "seed {seed}");
        }
    }
    assert!(collisions > 50, "only {collisions} of the runs had a collision");
    assert!(winners.iter().all(|wins| *wins > 50), "{winners:?}");
}

#[test]
fn simultaneous_initiation_on_a_bad_network_ends_with_one_ike_sa() {
    for seed in 0..300 {
        let mut pair = Pair::mutual(seed);
        pair.conditions = Conditions::BAD;
        assert!(pair.run_until(Duration::from_mins(10), Pair::is_converged), "seed {seed}");
        pair.run_for(Duration::from_secs(20));
        pair.conditions = Conditions::PERFECT;
        pair.run_for(Duration::from_mins(2));
        pair.assert_settled();
        assert_stayed_connected(&pair);
    }
}

#[test]
fn traffic_survives_the_choice_between_two_ike_sas() {
    for seed in 0..50 {
        let mut pair = Pair::mutual(seed);
        pair.conditions = Conditions { latency: Conditions::REORDERING.latency, ..Conditions::PERFECT };
        let both = |pair: &Pair| pair.nodes.iter().all(|node| node.plane.outbound.is_some());
        assert!(pair.run_until(Duration::from_secs(10), both));
        // Each end has its first SA; what it sends from when the other has it too must arrive.
        pair.run_until(Duration::from_secs(1), |pair| {
            let [a, b] = [&pair.nodes[0].plane, &pair.nodes[1].plane];
            let understood = |from: &crate::sim::Plane, to: &crate::sim::Plane| {
                from.outbound.as_ref().is_some_and(|sa| to.receives(sa))
            };
            understood(a, b) && understood(b, a)
        });
        pair.traffic = Some(Duration::from_millis(5));
        pair.run_for(Duration::from_secs(20));
        pair.assert_converged();
        assert_eq!(pair.esp_lost, 0, "seed {seed}, of {} packets", pair.esp_sent);
    }
}

#[test]
fn a_connection_by_the_peer_ends_our_own_attempt() {
    let mut pair = Pair::new(11);
    pair.cut();
    pair.set_peer(0, cheap_config(0));
    pair.run_for(Duration::from_secs(3));
    pair.conditions = Conditions::PERFECT;
    pair.set_peer(1, cheap_config(1));
    pair.run_for(Duration::from_millis(100));
    let PeerStatus { state, ike, .. } = pair.status(0);
    assert_eq!(state, PeerState::Connected);
    assert!(!ike.unwrap().initiator);
    pair.run_for(Duration::from_mins(1));
    pair.assert_settled();
}
