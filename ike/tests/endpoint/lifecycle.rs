//! The life of a connection after it is up: dead peers, deletes, restarts, changes of configuration.

use std::time::Duration;

use ike::{EndpointConfig, PeerConfig, PeerState, Psk};

use crate::sim::{Conditions, PEER, Pair, cheap_config};

#[test]
fn a_dead_peer_is_noticed_and_connected_again_when_it_returns() {
    let mut pair = Pair::connected(1);
    pair.cut();
    // 45 s of silence, then 39.5 s of retransmissions.
    pair.run_for(Duration::from_secs(83));
    assert_eq!([pair.state(0), pair.state(1)], [PeerState::Connected; 2]);
    pair.run_for(Duration::from_secs(3));
    assert_eq!([pair.state(0), pair.state(1)], [PeerState::Connecting, PeerState::NotConnected]);
    assert_eq!(pair.last_error(1), "peer does not answer any more at 10.9.0.1:500");
    assert!(pair.nodes.iter().all(|node| node.plane.outbound.is_none()));
    pair.run_for(Duration::from_mins(10));
    assert_eq!(pair.state(0), PeerState::Connecting);
    pair.conditions = Conditions::PERFECT;
    // The longest pause between attempts is 30 s.
    pair.run_for(Duration::from_secs(40));
    pair.assert_settled();
}

#[test]
fn an_idle_connection_stays_up() {
    let mut pair = Pair::connected(2);
    pair.run_for(Duration::from_mins(30));
    pair.assert_settled();
    assert_eq!(pair.nodes[0].states.len(), 2);
    // A liveness check every 45 s by at least one end, two messages each.
    let messages = pair.trace.len() - 4;
    assert!((78..=160).contains(&messages), "{messages} messages");
}

#[test]
fn either_end_can_disconnect_and_connect_again() {
    for index in [0, 1] {
        let mut pair = Pair::mutual(3);
        pair.run_for(Duration::from_mins(1));
        pair.assert_settled();
        pair.act(index, |endpoint, now| endpoint.disconnect(now, PEER));
        let node = &pair.nodes[index];
        assert!(node.plane.inbound.is_empty() && node.plane.outbound.is_none());
        assert_eq!(pair.state(index), PeerState::NotConnected);
        pair.run_for(Duration::from_secs(1));
        let other = 1 - index;
        assert_eq!(pair.state(other), PeerState::Connecting);
        assert_eq!(pair.last_error(other), "peer deleted the IKE SA");
        assert!(pair.nodes[other].plane.outbound.is_none());
        pair.run_for(Duration::from_mins(3));
        assert_eq!(pair.state(index), PeerState::NotConnected, "it stays down");
        pair.act(index, |endpoint, now| endpoint.connect(now, PEER));
        pair.run_for(Duration::from_mins(1));
        pair.assert_settled();
    }
}

#[test]
fn a_responder_that_disconnects_is_down_until_it_wants_to_connect() {
    let mut pair = Pair::connected(4);
    pair.act(1, |endpoint, now| endpoint.disconnect(now, PEER));
    pair.run_for(Duration::from_mins(5));
    assert_eq!([pair.state(0), pair.state(1)], [PeerState::Connecting, PeerState::NotConnected]);
    pair.act(1, |endpoint, now| endpoint.connect(now, PEER));
    pair.run_for(Duration::from_mins(1));
    pair.assert_settled();
}

#[test]
fn removing_a_peer_takes_the_connection_down_on_both_ends() {
    let mut pair = Pair::connected(5);
    pair.act(0, |endpoint, now| endpoint.remove_peer(now, PEER));
    assert!(pair.nodes[0].plane.inbound.is_empty() && pair.nodes[0].plane.outbound.is_none());
    assert!(pair.nodes[0].endpoint.status(PEER).is_none());
    pair.run_for(Duration::from_mins(1));
    assert_eq!(pair.state(1), PeerState::NotConnected);
    assert!(pair.nodes.iter().all(|node| node.endpoint.ike_sa_count() == 0));
    assert!(pair.nodes[1].plane.inbound.is_empty(), "removed after the linger");
}

#[test]
fn a_delete_waits_for_the_answer_to_an_earlier_request() {
    let mut pair = Pair::connected(6);
    pair.cut();
    pair.rekey(0);
    pair.conditions = Conditions::PERFECT;
    pair.act(0, |endpoint, now| endpoint.disconnect(now, PEER));
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.state(1), PeerState::NotConnected);
    assert_eq!(pair.last_error(1), "peer deleted the IKE SA");
}

#[test]
fn a_restarted_peer_takes_over() {
    for seed in 0..50 {
        for index in [0, 1] {
            let mut pair = Pair::mutual(seed);
            pair.run_for(Duration::from_secs(31));
            pair.assert_settled();
            if seed % 2 == 1 {
                pair.conditions = Conditions::BAD;
            }
            let before = pair.status(1 - index).ike.unwrap();
            pair.restart(index, seed + 10_000, cheap_config(index));
            let anew = |pair: &Pair| {
                let ike = pair.status(1 - index).ike;
                pair.is_converged() && ike.is_some_and(|ike| ike.spi_i != before.spi_i)
            };
            assert!(pair.run_until(Duration::from_mins(10), anew), "seed {seed}");
            pair.conditions = Conditions::PERFECT;
            pair.run_for(Duration::from_mins(2));
            pair.assert_settled();
            let states = &pair.nodes[1 - index].states;
            assert_eq!(states.len(), 2, "the other end stays connected: {states:?}");
        }
    }
}

#[test]
fn the_old_ike_sa_of_a_restarted_peer_is_forgotten_silently() {
    let mut pair = Pair::connected(9);
    pair.trace.clear();
    pair.restart(0, 99, cheap_config(0));
    pair.run_for(Duration::from_secs(10));
    pair.assert_converged();
    assert_eq!(pair.trace.len(), 4, "IKE_SA_INIT, IKE_AUTH and no delete");
}

#[test]
fn a_changed_key_reconnects_and_changed_timers_do_not() {
    let mut pair = Pair::mutual(7);
    pair.run_for(Duration::from_mins(1));
    let before = pair.status(0).ike.unwrap();
    for index in [0, 1] {
        let dpd_interval = Duration::from_secs(10);
        pair.set_peer(index, PeerConfig { dpd_interval, ..cheap_config(index) });
    }
    pair.run_for(Duration::from_secs(30));
    assert_eq!(pair.status(0).ike.unwrap(), before);
    for index in [0, 1] {
        pair.set_peer(index, PeerConfig { auth: Psk::new("another").into(), ..cheap_config(index) });
        pair.run_for(Duration::from_secs(1));
    }
    pair.run_for(Duration::from_mins(1));
    pair.assert_settled();
    assert_ne!(pair.status(0).ike.unwrap(), before);
}

#[test]
fn old_inbound_sas_linger_for_the_configured_time() {
    let linger = EndpointConfig::default().inbound_linger;
    let mut pair = Pair::connected(8);
    let old = pair.status(0).child.unwrap().inbound_spi;
    pair.rekey(0);
    assert!(pair.run_until(Duration::from_secs(5), |pair| pair.status(0).child.unwrap().rekeys == 1));
    let still_there = |pair: &Pair| pair.nodes[0].plane.inbound.contains_key(&old);
    pair.run_for(linger);
    assert!(still_there(&pair));
    pair.run_for(Duration::from_secs(1));
    assert!(!still_there(&pair));
}
