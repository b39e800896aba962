//! What a human is told when the ends do not come together.

use std::time::Duration;

use ike::{
    ConnectionMode, DhGroup, EspAead, EspProposal, Identity, IkeAead, IkeProposal, PeerConfig, PeerState,
    Prf, Psk,
};

use ike::wire::{Header, Message, Notify, NotifyType, Payload};

use crate::sim::{Conditions, PEER, Pair, cheap_config};

fn run(initiator: PeerConfig, responder: PeerConfig) -> Pair {
    let mut pair = Pair::new(1);
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..responder });
    pair.set_peer(0, initiator);
    pair.run_for(Duration::from_millis(500));
    assert_eq!(pair.state(0), PeerState::Connecting);
    assert_eq!(pair.state(1), PeerState::NotConnected);
    pair
}

fn with_ike(index: usize, proposal: IkeProposal) -> PeerConfig {
    PeerConfig { ike_proposals: vec![proposal], ..cheap_config(index) }
}

fn with_esp(index: usize, proposal: EspProposal) -> PeerConfig {
    PeerConfig { esp_proposals: vec![proposal], ..cheap_config(index) }
}

#[test]
fn different_keys_are_shown_on_both_ends_and_their_correction_connects() {
    let mut pair =
        run(PeerConfig { auth: Psk::new("something else").into(), ..cheap_config(0) }, cheap_config(1));
    assert_eq!(
        pair.last_error(0),
        "peer says AUTHENTICATION_FAILED: pre-shared keys differ, or it does not know us as 10.9.0.1?"
    );
    assert_eq!(pair.last_error(1), "authentication of peer failed: pre-shared keys differ?");
    let (_, reason) = pair.nodes[1].states.last().unwrap();
    assert_eq!(*reason, pair.last_error(1));
    assert!(pair.nodes.iter().all(|node| node.plane.installed == 0));
    // Retries go on without repeating the event.
    pair.run_for(Duration::from_mins(5));
    assert_eq!(pair.nodes[1].states.len(), 1, "{:?}", pair.nodes[1].states);
    pair.set_peer(0, cheap_config(0));
    pair.run_for(Duration::from_mins(1));
    pair.assert_settled();
    assert_eq!(pair.status(0).last_error, None);
    assert_eq!(pair.status(1).last_error, None);
}

#[test]
fn an_initiator_that_refuses_the_responders_identity_says_so() {
    let expected = Some(Identity::Fqdn("gw.example".to_owned()));
    let pair = run(PeerConfig { remote_id: expected, ..cheap_config(0) }, cheap_config(1));
    assert_eq!(pair.last_error(0), "authentication of peer failed: it is 192.0.2.2, expected gw.example");
    assert_eq!(
        pair.last_error(1),
        "peer says AUTHENTICATION_FAILED: pre-shared keys differ, or it does not know us as 192.0.2.2?"
    );
}

#[test]
fn a_responder_that_refuses_the_initiators_identity_says_so() {
    let expected = Some(Identity::Rfc822("gw@example".to_owned()));
    let initiator = PeerConfig { local_id: Identity::Fqdn("a.example".to_owned()), ..cheap_config(0) };
    let pair = run(initiator, PeerConfig { remote_id: expected, ..cheap_config(1) });
    assert_eq!(pair.last_error(1), "authentication of peer failed: it is a.example, expected gw@example");
    assert_eq!(
        pair.last_error(0),
        "peer says AUTHENTICATION_FAILED: pre-shared keys differ, or it does not know us as a.example?"
    );
}

#[test]
fn two_ends_that_both_try_in_vain_do_not_flood_their_users() {
    let mut pair = Pair::mutual(9);
    pair.set_peer(0, PeerConfig { auth: Psk::new("something else").into(), ..cheap_config(0) });
    pair.run_for(Duration::from_mins(30));
    for node in &pair.nodes {
        assert!((2..=8).contains(&node.states.len()), "{:?}", node.states);
        assert_eq!(node.plane.installed, 0);
    }
}

#[test]
fn matching_identities_connect() {
    let mut pair = Pair::new(2);
    let (a, b) = (Identity::Fqdn("a.example".to_owned()), Identity::Rfc822("b@example".to_owned()));
    let [initiator, responder] = [cheap_config(0), cheap_config(1)];
    pair.set_peer(1, PeerConfig { local_id: b.clone(), remote_id: Some(a.clone()), ..responder });
    pair.set_peer(0, PeerConfig { local_id: a, remote_id: Some(b), ..initiator });
    pair.run_for(Duration::from_mins(1));
    pair.assert_settled();
}

#[test]
fn ike_proposals_without_anything_in_common_are_explained() {
    let ours = IkeProposal::single(IkeAead::Aes256Gcm16, Prf::HmacSha384, DhGroup::Ecp384);
    let theirs = IkeProposal::single(IkeAead::Aes256Gcm16, Prf::HmacSha384, DhGroup::X25519);
    let pair = run(with_ike(0, ours), with_ike(1, theirs));
    assert_eq!(pair.last_error(0), "peer refused our proposal; we offered aes256gcm16-prfsha384-ecp384");
    assert_eq!(
        pair.last_error(1),
        "we refused the peer's proposal: no common proposal: first difference: \
         DH group (offered ecp384, we accept x25519)"
    );
}

#[test]
fn esp_proposals_without_anything_in_common_are_explained() {
    let ours = EspProposal::single(EspAead::ChaCha20Poly1305, None, true);
    let theirs = EspProposal::single(EspAead::Aes256Gcm16, None, true);
    let mut pair = run(with_esp(0, ours), with_esp(1, theirs));
    assert_eq!(pair.last_error(0), "peer refused our ESP proposal; we offered chacha20poly1305-esn");
    assert_eq!(
        pair.last_error(1),
        "we refused the peer's ESP proposal: no common proposal: first difference: \
         encryption (offered chacha20poly1305, we accept aes256gcm16)"
    );
    // The IKE SA that came about is gone.
    pair.act(0, |endpoint, now| endpoint.disconnect(now, PEER));
    pair.run_for(Duration::from_mins(1));
    assert!(pair.nodes.iter().all(|node| node.endpoint.ike_sa_count() == 0));
}

#[test]
fn silence_is_reported_and_retried() {
    let mut pair = Pair::cheap(3);
    pair.cut();
    pair.run_for(Duration::from_secs(39));
    assert_eq!(pair.last_error(0), "");
    pair.run_for(Duration::from_secs(1));
    assert_eq!(
        pair.last_error(0),
        "peer does not answer IKE_SA_INIT at 192.0.2.2:500: is it up, and does it expect us at 10.9.0.1?"
    );
    assert_eq!(pair.state(0), PeerState::Connecting);
    pair.conditions = Conditions::PERFECT;
    pair.run_for(Duration::from_mins(1));
    pair.assert_settled();
}

#[test]
fn a_group_the_peer_wants_and_we_do_not_offer_is_named() {
    let mut pair = Pair::new(4);
    pair.cut();
    pair.set_peer(0, cheap_config(0));
    pair.run_for(Duration::from_millis(100));
    let (_, request) = pair.trace.last().cloned().unwrap();
    let header = Message::parse(&request).unwrap().header;
    let header = Header { from_initiator: false, response: true, ..header };
    let [local, remote] = crate::sim::ADDRESSES.map(|address| (address, 500).into());
    for (number, name) in [(DhGroup::Ecp384.id(), "ecp384"), (5, "number 5")] {
        let notify = Notify::new(NotifyType::INVALID_KE_PAYLOAD, number.to_be_bytes());
        let answer = Message { header, payloads: vec![Payload::Notify(notify)] }.encode();
        pair.receive(0, local, remote, &answer);
        pair.run_for(Duration::from_millis(100));
        let wanted = format!("peer refused our proposal: it wants DH group {name}");
        let offered = "we offered aes128gcm16-prfsha256-x25519";
        assert_eq!(pair.last_error(0), format!("{wanted}; {offered}"));
    }
}

#[test]
fn a_peer_that_begins_and_does_not_go_on_is_told_of() {
    let mut pair = Pair::cheap(5);
    assert!(pair.run_until(Duration::from_secs(1), |pair| pair.nodes[1].endpoint.ike_sa_count() == 1));
    pair.run_for(Duration::from_millis(1));
    pair.cut();
    pair.run_for(Duration::from_secs(31));
    assert_eq!(
        pair.last_error(1),
        "peer asked for an IKE SA and did not go on to IKE_AUTH: does our answer reach it, and its next message our \
         UDP port 500?"
    );
}

#[test]
fn silence_on_port_4500_is_told_from_silence_on_port_500() {
    let mut pair = Pair::new(6);
    let forcing = |index| PeerConfig { force_udp_encapsulation: true, ..cheap_config(index) };
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..forcing(1) });
    pair.set_peer(0, forcing(0));
    let on_4500 = |pair: &Pair| pair.trace.iter().any(|(_, sent)| sent.starts_with(&[0; 4]));
    assert!(pair.run_until(Duration::from_secs(1), on_4500));
    pair.cut();
    pair.run_for(Duration::from_secs(40));
    assert_eq!(
        pair.last_error(0),
        "peer does not answer IKE_AUTH at 192.0.2.2:4500: does UDP port 4500 reach it?"
    );
}
