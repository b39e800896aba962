//! Rekeying of Child SAs: no packet is lost, whoever asks.

use std::time::Duration;

use ike::wire::{ExchangeType, Header};
use ike::{ConnectionMode, DhGroup, EspAead, EspProposal, PeerConfig, PeerState};

use crate::sim::{Conditions, Pair, cheap_config};

/// Connected ends with a packet per millisecond in both directions, on a network that reorders.
fn busy_pair(seed: u64) -> Pair {
    let mut pair = Pair::connected(seed);
    pair.conditions = Conditions::REORDERING;
    pair.traffic = Some(Duration::from_millis(1));
    pair.run_for(Duration::from_millis(300));
    pair
}

#[track_caller]
fn assert_nothing_lost(pair: &Pair, rekeys: usize) {
    pair.assert_converged();
    assert_eq!(pair.esp_lost, 0, "of {} packets", pair.esp_sent);
    assert!(pair.esp_sent > 2000);
    for node in &pair.nodes {
        assert!(node.plane.installed > rekeys, "{rekeys} rekeys were expected");
        assert_eq!(node.states.last().unwrap().0, PeerState::Connected);
    }
}

#[test]
fn a_rekey_by_either_end_loses_no_packet() {
    for seed in 0..20 {
        let mut pair = busy_pair(seed);
        pair.rekey(seed as usize % 2);
        pair.run_for(Duration::from_secs(2));
        assert_nothing_lost(&pair, 1);
        pair.traffic = None;
        pair.run_for(Duration::from_mins(1));
        pair.assert_settled();
        assert_eq!(pair.status(0).child.unwrap().rekeys, 1);
    }
}

#[test]
fn rekeys_by_both_ends_at_once_lose_no_packet_and_leave_one_child_sa() {
    let mut collisions = 0;
    for seed in 0..40 {
        let mut pair = busy_pair(seed);
        pair.rekey(0);
        pair.run_for(Duration::from_millis(seed * 5));
        pair.rekey(1);
        let three = |pair: &Pair| pair.nodes.iter().all(|node| node.plane.inbound.len() == 3);
        collisions += usize::from(pair.run_until(Duration::from_secs(1), three));
        pair.run_for(Duration::from_secs(2));
        assert_nothing_lost(&pair, 1);
        pair.traffic = None;
        pair.run_for(Duration::from_mins(1));
        pair.assert_settled();
    }
    assert!(collisions >= 5, "only {collisions} of the runs had a collision");
}

#[test]
fn rekeys_at_once_on_a_bad_network_leave_one_child_sa() {
    for seed in 0..200 {
        let mut pair = Pair::connected(seed);
        pair.conditions = Conditions::BAD;
        pair.rekey(0);
        pair.rekey(1);
        pair.run_for(Duration::from_secs(20));
        pair.conditions = Conditions::PERFECT;
        pair.run_for(Duration::from_mins(2));
        pair.assert_settled();
        let rekeys = pair.status(0).child.unwrap().rekeys;
        assert!((1..=2).contains(&rekeys) || pair.nodes[0].states.len() > 2, "seed {seed}: {rekeys}");
    }
}

#[test]
fn lifetimes_bring_rekeys_by_themselves() {
    let lifetime = Duration::from_secs(20);
    let short = |index| PeerConfig {
        child_lifetime: lifetime,
        rekey_jitter: Duration::from_secs(4),
        rekey_margin: Duration::from_secs(10),
        ..cheap_config(index)
    };
    for seed in 0..10 {
        let mut pair = Pair::new(seed);
        pair.set_peer(0, short(0));
        pair.set_peer(1, short(1));
        pair.run_for(Duration::from_secs(10));
        pair.conditions = Conditions::REORDERING;
        pair.traffic = Some(Duration::from_millis(20));
        pair.run_for(Duration::from_mins(5));
        assert_nothing_lost(&pair, 10);
        let rekeys = pair.status(0).child.unwrap().rekeys;
        assert!((14..=22).contains(&rekeys), "{rekeys} in five minutes");
    }
}

#[test]
fn a_child_sa_that_cannot_be_rekeyed_is_replaced_by_a_new_connection() {
    // The first Child SA needs no group, so the ends agree; a rekey finds that they want different ones.
    let config = |index, group| PeerConfig {
        esp_proposals: vec![EspProposal::single(EspAead::Aes128Gcm16, Some(group), true)],
        child_lifetime: Duration::from_mins(5),
        rekey_jitter: Duration::ZERO,
        rekey_margin: Duration::from_mins(2),
        ..cheap_config(index)
    };
    let mut pair = Pair::new(5);
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..config(1, DhGroup::X25519) });
    pair.set_peer(0, config(0, DhGroup::Ecp256));
    pair.run_for(Duration::from_mins(6));
    pair.assert_converged();
    assert_eq!(
        pair.last_error(0),
        "rekeying refused: peer says NO_PROPOSAL_CHOSEN; we offered aes128gcm16-ecp256-esn"
    );
    assert_eq!(
        pair.last_error(1),
        "rekeying by the peer refused: no common proposal: first difference: \
         DH group (offered ecp256, we accept x25519)"
    );
    let first = pair.status(0).ike.unwrap();
    pair.run_for(Duration::from_mins(2));
    pair.assert_settled();
    assert_ne!(pair.status(0).ike.unwrap().spi_i, first.spi_i);
    let went_down = |states: &[(PeerState, String)]| {
        states.iter().any(|(_, reason)| reason == "Child SA expired without being rekeyed")
    };
    assert!(went_down(&pair.nodes[0].states) || went_down(&pair.nodes[1].states));
}

#[test]
fn traffic_moves_though_the_delete_of_the_old_child_sa_is_lost() {
    let mut pair = Pair::connected(6);
    pair.rekey(0);
    let rekeyed = |pair: &Pair, index: usize| pair.status(index).child.unwrap().rekeys == 1;
    assert!(pair.run_until(Duration::from_secs(1), |pair| rekeyed(pair, 0)));
    pair.cut();
    pair.run_for(Duration::from_millis(4900));
    assert!(!rekeyed(&pair, 1));
    pair.run_for(Duration::from_millis(200));
    assert!(rekeyed(&pair, 1));
    pair.conditions = Conditions::PERFECT;
    pair.run_for(Duration::from_mins(1));
    pair.assert_settled();
    assert!(rekeyed(&pair, 1));
}

#[test]
fn deletes_of_the_same_child_sa_by_both_ends_cross() {
    let mut pair = Pair::connected(8);
    pair.rekey(0);
    assert!(pair.run_until(Duration::from_secs(1), |pair| pair.status(0).child.unwrap().rekeys == 1));
    pair.cut();
    pair.trace.clear();
    // The end that did not ask for the rekey loses its patience with the old Child SA.
    pair.run_for(Duration::from_secs(22));
    assert!(pair.trace.iter().any(|(from, _)| *from == 1));
    pair.conditions = Conditions::PERFECT;
    pair.run_for(Duration::from_mins(1));
    pair.assert_settled();
    assert!(pair.nodes.iter().all(|node| node.states.last().unwrap().0 == PeerState::Connected));
    assert_eq!(pair.status(0).child.unwrap().rekeys, 1);
}

#[test]
fn traffic_does_not_move_before_the_end_that_asked_has_the_answer() {
    let mut pair = Pair::connected(7);
    pair.traffic = Some(Duration::from_millis(10));
    pair.rekey(0);
    assert!(pair.run_until(Duration::from_secs(1), |pair| pair.nodes[1].plane.inbound.len() == 2));
    pair.cut();
    // Requests get through, responses do not, for longer than the fallback.
    for _ in 0..100 {
        pair.run_for(Duration::from_millis(90));
        let (_, request) = pair.trace.iter().rfind(|(from, _)| *from == 0).cloned().unwrap();
        let [a, b] = crate::sim::ADDRESSES.map(|address| std::net::SocketAddr::new(address, 500));
        pair.receive(1, b, a, &request);
    }
    assert_eq!(pair.status(1).child.unwrap().rekeys, 0);
    pair.conditions = Conditions::PERFECT;
    pair.run_for(Duration::from_mins(1));
    assert_nothing_lost(&pair, 1);
}

#[test]
fn repeated_wishes_make_one_rekey() {
    let mut pair = Pair::connected(4);
    for _ in 0..5 {
        pair.rekey(0);
    }
    pair.run_for(Duration::from_secs(3));
    assert_eq!(pair.status(1).child.unwrap().rekeys, 1);
}

#[test]
fn a_refused_wish_is_tried_again_until_it_is_met() {
    // The first Child SA needs no group; a rekey finds that the ends want different ones.
    let config = |index, group| PeerConfig {
        esp_proposals: vec![EspProposal::single(EspAead::Aes128Gcm16, Some(group), true)],
        ..cheap_config(index)
    };
    let mut pair = Pair::new(5);
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..config(1, DhGroup::X25519) });
    pair.set_peer(0, config(0, DhGroup::Ecp256));
    pair.run_for(Duration::from_secs(1));
    pair.trace.clear();
    pair.rekey(0);
    pair.run_for(Duration::from_secs(10 * 60 + 30));
    let is_rekey = |datagram: &[u8]| {
        let (header, _) = Header::parse(datagram).unwrap();
        header.exchange == ExchangeType::CREATE_CHILD_SA && !header.response
    };
    let requests = pair.trace.iter().filter(|(_, datagram)| is_rekey(datagram)).count();
    assert_eq!(requests, 11, "one per minute");
}

#[test]
fn a_replayed_rekey_does_not_keep_traffic_on_the_old_child_sa_for_ever() {
    let mut pair = Pair::new(9);
    let patient = PeerConfig { dpd_interval: Duration::from_hours(1), ..cheap_config(1) };
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..patient });
    pair.set_peer(0, cheap_config(0));
    pair.run_for(Duration::from_secs(1));
    pair.assert_converged();
    pair.rekey(0);
    assert!(pair.run_until(Duration::from_secs(1), |pair| pair.nodes[1].plane.inbound.len() == 2));
    let (_, request) = pair.trace.iter().rfind(|(from, _)| *from == 0).cloned().unwrap();
    pair.cut();
    let [a, b] = crate::sim::ADDRESSES.map(|address| std::net::SocketAddr::new(address, 500));
    let rekeys_after = |pair: &mut Pair, rounds: usize| {
        for _ in 0..rounds {
            pair.run_for(Duration::from_secs(2));
            pair.receive(1, b, a, &request);
        }
        pair.status(1).child.unwrap().rekeys
    };
    assert_eq!(rekeys_after(&mut pair, 85), 0);
    assert_eq!(rekeys_after(&mut pair, 15), 1);
}
