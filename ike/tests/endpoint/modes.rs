//! Which end brings a connection up, and for how long it tries.

use std::time::Duration;

use ike::{ConnectionMode, PeerConfig, PeerState};

use crate::sim::{Conditions, PEER, Pair, cheap_config};

/// Two ends in these modes.
fn pair_of(modes: [ConnectionMode; 2]) -> Pair {
    let mut pair = Pair::new(1);
    for index in [1, 0] {
        pair.set_peer(index, PeerConfig { mode: modes[index], ..cheap_config(index) });
    }
    pair
}

fn demand(pair: &mut Pair, index: usize) {
    pair.act(index, |endpoint, now| endpoint.demand(now, PEER));
}

#[test]
fn modes_that_fit_connect_and_others_do_not() {
    use ConnectionMode::{Default, Initiator, OnDemand, Responder};
    let cases = [
        ([Default, Default], true),
        ([Default, Responder], true),
        ([Default, OnDemand], true),
        ([Initiator, Default], true),
        ([Initiator, Responder], true),
        ([Initiator, OnDemand], true),
        ([Initiator, Initiator], false),
        ([Responder, Responder], false),
        ([Responder, OnDemand], false),
        ([OnDemand, OnDemand], false),
    ];
    for (modes, connects) in cases {
        for modes in [modes, [modes[1], modes[0]]] {
            let mut pair = pair_of(modes);
            pair.run_for(Duration::from_mins(2));
            assert_eq!(pair.is_converged(), connects, "{modes:?}");
            if connects && modes.contains(&Initiator) {
                let initiator = modes.iter().position(|mode| *mode == Initiator).unwrap();
                assert!(pair.status(initiator).ike.unwrap().initiator, "{modes:?}");
            }
        }
    }
}

#[test]
fn an_initiator_does_not_answer() {
    let mut pair = Pair::new(2);
    pair.cut();
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Initiator, ..cheap_config(1) });
    pair.set_peer(0, cheap_config(0));
    pair.run_for(Duration::from_millis(100));
    let (_, request) = pair.trace.iter().rfind(|(from, _)| *from == 0).cloned().unwrap();
    pair.trace.clear();
    let [a, b] = crate::sim::ADDRESSES.map(|address| (address, 500).into());
    pair.receive(1, b, a, &request);
    pair.run_for(Duration::from_millis(100));
    assert!(pair.trace.is_empty());
    assert_eq!(pair.nodes[1].endpoint.ike_sa_count(), 1, "its own attempt");
}

#[test]
fn a_responder_never_begins() {
    let mut pair = pair_of([ConnectionMode::Default, ConnectionMode::Responder]);
    pair.run_for(Duration::from_secs(1));
    pair.assert_converged();
    pair.act(0, |endpoint, now| endpoint.disconnect(now, PEER));
    pair.run_for(Duration::from_mins(1));
    pair.trace.clear();
    pair.act(1, |endpoint, now| endpoint.connect(now, PEER));
    demand(&mut pair, 1);
    pair.run_for(Duration::from_hours(1));
    assert!(pair.trace.is_empty());
    assert_eq!(pair.state(1), PeerState::NotConnected);
}

#[test]
fn a_packet_brings_a_connection_on_demand_up_and_it_stays() {
    let mut pair = pair_of([ConnectionMode::OnDemand, ConnectionMode::Responder]);
    pair.run_for(Duration::from_mins(5));
    assert!(pair.trace.is_empty());
    demand(&mut pair, 0);
    assert_eq!(
        pair.nodes[0].states.last().unwrap(),
        &(PeerState::Connecting, "a packet wants out".to_owned())
    );
    pair.run_for(Duration::from_secs(1));
    pair.assert_settled();
    // Without a packet for hours it is still there.
    pair.run_for(Duration::from_hours(5));
    pair.assert_settled();
    assert_eq!(pair.nodes[0].states.len(), 2, "{:?}", pair.nodes[0].states);
}

#[test]
fn a_lost_connection_on_demand_comes_back_with_the_next_packet_only() {
    let mut pair = pair_of([ConnectionMode::OnDemand, ConnectionMode::Responder]);
    demand(&mut pair, 0);
    pair.run_for(Duration::from_secs(1));
    pair.act(1, |endpoint, now| endpoint.disconnect(now, PEER));
    pair.act(1, |endpoint, now| endpoint.connect(now, PEER));
    pair.run_for(Duration::from_mins(10));
    assert_eq!([pair.state(0), pair.state(1)], [PeerState::NotConnected; 2]);
    demand(&mut pair, 0);
    pair.run_for(Duration::from_secs(1));
    pair.assert_converged();
}

#[test]
fn attempts_on_demand_end_and_the_next_packet_begins_anew() {
    let mut pair = pair_of([ConnectionMode::OnDemand, ConnectionMode::Responder]);
    pair.cut();
    for _ in 0..2 {
        demand(&mut pair, 0);
        // Three attempts of 39.5 s and two pauses; further packets change nothing.
        for _ in 0..110 {
            pair.run_for(Duration::from_secs(1));
            demand(&mut pair, 0);
            assert_eq!(pair.state(0), PeerState::Connecting);
        }
        pair.run_for(Duration::from_secs(15));
        let given_up = "peer does not answer IKE_SA_INIT at 192.0.2.2:500: is it up, and does it expect us at 10.9.0.1?; given up until a packet wants out again";
        assert_eq!(pair.nodes[0].states.last().unwrap(), &(PeerState::NotConnected, given_up.to_owned()));
        pair.trace.clear();
        pair.run_for(Duration::from_hours(1));
        assert!(pair.trace.is_empty());
    }
    pair.conditions = Conditions::PERFECT;
    demand(&mut pair, 0);
    pair.run_for(Duration::from_secs(1));
    pair.assert_settled();
}

#[test]
fn a_connection_that_was_taken_down_is_not_demanded_back() {
    let mut pair = pair_of([ConnectionMode::OnDemand, ConnectionMode::Responder]);
    pair.act(0, |endpoint, now| endpoint.disconnect(now, PEER));
    demand(&mut pair, 0);
    pair.run_for(Duration::from_mins(1));
    assert!(pair.trace.is_empty());
    pair.act(0, |endpoint, now| endpoint.connect(now, PEER));
    pair.run_for(Duration::from_mins(1));
    pair.assert_settled();
}

#[test]
fn a_wanted_connection_is_tried_for_many_hours() {
    let mut pair = Pair::cheap(5);
    pair.cut();
    pair.run_for(Duration::from_hours(48));
    let last = pair.trace.len();
    pair.run_for(Duration::from_mins(2));
    assert!(pair.trace.len() > last, "it is still tried");
    assert!(pair.nodes[0].states.len() <= 3, "{:?}", pair.nodes[0].states);
    pair.conditions = Conditions::PERFECT;
    pair.run_for(Duration::from_secs(80));
    pair.assert_settled();
}
