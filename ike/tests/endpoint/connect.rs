//! Connecting: algorithms, retries with another group, bad networks.

use std::time::Duration;

use ike::{ConnectionMode, DhGroup, EspProposal, IkeProposal, PeerConfig, PeerState};

use crate::sim::{Conditions, PEER, Pair, cheap_config};

#[test]
fn two_endpoints_connect_with_the_default_profile() {
    let mut pair = Pair::new(1);
    let default = |index| PeerConfig {
        ike_proposals: vec![IkeProposal::default_profile()],
        esp_proposals: vec![EspProposal::default_profile()],
        ..cheap_config(index)
    };
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..default(1) });
    pair.set_peer(0, default(0));
    pair.run_for(Duration::from_mins(1));
    pair.assert_settled();
    let status = pair.status(0);
    let ike = status.ike.unwrap();
    assert_eq!(ike.proposal, "aes256gcm16-prfsha384-x25519");
    assert_eq!((ike.authentication, ike.peer_identity.as_str()), ("pre-shared key", "192.0.2.2"));
    assert!(ike.initiator && !ike.nat_detected && !ike.udp_encapsulation);
    assert_eq!(status.child.unwrap().proposal, "chacha20poly1305-esn");
    assert_eq!(pair.nodes[1].states.len(), 1, "{:?}", pair.nodes[1].states);
}

#[test]
fn the_initiator_takes_the_group_the_responder_wants() {
    let groups = DhGroup::ALL;
    for first in groups {
        for wanted in groups.into_iter().filter(|group| *group != first) {
            let offer = |groups: &[DhGroup]| PeerConfig {
                ike_proposals: vec![IkeProposal {
                    groups: groups.to_vec(),
                    ..IkeProposal::default_profile()
                }],
                esp_proposals: vec![EspProposal {
                    groups: groups.to_vec(),
                    ..EspProposal::default_profile()
                }],
                ..cheap_config(usize::from(groups.len() == 1))
            };
            let mut pair = Pair::new(7);
            pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..offer(&[wanted]) });
            pair.set_peer(0, offer(&[first, wanted]));
            pair.run_for(Duration::from_secs(1));
            pair.assert_converged();
            assert!(pair.status(0).ike.unwrap().proposal.ends_with(wanted.name()));
        }
    }
}

#[test]
fn a_rekey_takes_the_group_the_responder_wants() {
    let esp = |groups: &[DhGroup]| EspProposal { groups: groups.to_vec(), ..EspProposal::default_profile() };
    let mut pair = Pair::new(8);
    let responder = PeerConfig { esp_proposals: vec![esp(&[DhGroup::Ecp256])], ..cheap_config(1) };
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..responder });
    let offer = esp(&[DhGroup::X25519, DhGroup::Ecp384, DhGroup::Ecp256]);
    pair.set_peer(0, PeerConfig { esp_proposals: vec![offer], ..cheap_config(0) });
    pair.run_for(Duration::from_secs(1));
    pair.rekey(0);
    pair.run_for(Duration::from_secs(1));
    pair.assert_converged();
    assert_eq!(pair.status(0).child.unwrap().proposal, "chacha20poly1305-ecp256-esn");
    // The next one takes it right away: rekey and delete, two messages each.
    pair.trace.clear();
    pair.rekey(0);
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.status(0).child.unwrap().rekeys, 2);
    assert_eq!(pair.trace.len(), 4);
}

#[test]
fn a_bad_network_delays_but_does_not_prevent_the_connection() {
    for seed in 0..1000 {
        let mut pair = Pair::cheap(seed);
        pair.conditions = Conditions::BAD;
        assert!(pair.run_until(Duration::from_mins(10), Pair::is_converged), "seed {seed}");
        pair.conditions = Conditions::PERFECT;
        pair.run_for(Duration::from_mins(2));
        pair.assert_settled();
    }
}

#[test]
fn a_placeholder_address_is_left_alone() {
    let mut pair = Pair::new(3);
    pair.set_peer(0, PeerConfig { remote: "0.0.0.0".parse().unwrap(), ..cheap_config(0) });
    pair.act(0, |endpoint, now| endpoint.connect(now, PEER));
    pair.run_for(Duration::from_mins(5));
    assert!(pair.trace.is_empty());
    assert_eq!(pair.state(0), PeerState::NotConnected);
}

#[test]
fn an_end_that_does_not_know_its_own_address_only_responds() {
    let mut pair = Pair::new(1);
    pair.set_peer(1, PeerConfig { local: "0.0.0.0".parse().unwrap(), ..cheap_config(1) });
    pair.act(1, |endpoint, now| endpoint.connect(now, PEER));
    pair.run_for(Duration::from_mins(1));
    assert!(pair.trace.is_empty());
    assert_eq!(pair.state(1), PeerState::NotConnected);
    pair.set_peer(0, cheap_config(0));
    pair.run_for(Duration::from_mins(1));
    pair.assert_settled();
}
