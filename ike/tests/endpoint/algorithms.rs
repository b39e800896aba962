//! Every algorithm at work between two endpoints, and the choice among several proposals.

use std::time::Duration;

use ike::{
    ConnectionMode, DhGroup, EspAead, EspProposal, IkeAead, IkeCbc, IkeEncryption, IkeProposal, Integrity,
    PeerConfig, Prf,
};

use crate::sim::{Pair, cheap_config};

fn cheap_esp() -> EspProposal {
    EspProposal::single(EspAead::ChaCha20Poly1305, None, true)
}

fn cheap_ike() -> IkeProposal {
    IkeProposal::single(IkeAead::Aes128Gcm16, Prf::HmacSha256, DhGroup::X25519)
}

fn cbc(cipher: IkeCbc, integrity: Integrity) -> IkeEncryption {
    IkeEncryption::Cbc { ciphers: vec![cipher], integrity: vec![integrity] }
}

/// Two ends with these proposals connect, then end 0 rekeys the Child SA.
fn connect(ike: [&[IkeProposal]; 2], esp: &EspProposal) -> Pair {
    let config = |index: usize| PeerConfig {
        ike_proposals: ike[index].to_vec(),
        esp_proposals: vec![esp.clone()],
        ..cheap_config(index)
    };
    let mut pair = Pair::new(1);
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..config(1) });
    pair.set_peer(0, config(0));
    pair.run_for(Duration::from_secs(1));
    pair.assert_converged();
    pair.rekey(0);
    pair.run_for(Duration::from_secs(1));
    pair.assert_converged();
    pair
}

/// Two ends with the same single algorithms agree on them.
fn check(ike: &IkeProposal, esp: &EspProposal) {
    let ours = std::slice::from_ref(ike);
    let pair = connect([ours, ours], esp);
    assert_eq!(pair.status(1).ike.unwrap().proposal, ike.to_string());
    let child = pair.status(1).child.unwrap();
    assert_eq!((child.proposal, child.rekeys), (esp.to_string(), 1));
}

#[test]
fn every_protection_of_ike_messages_connects_and_rekeys() {
    let aead = IkeAead::ALL.map(|cipher| IkeEncryption::Aead(vec![cipher]));
    let cbc =
        IkeCbc::ALL.into_iter().flat_map(|cipher| Integrity::ALL.map(|integrity| cbc(cipher, integrity)));
    for (encryption, prf) in aead.into_iter().chain(cbc).zip(Prf::ALL.into_iter().cycle()) {
        check(&IkeProposal { encryption, prf: vec![prf], groups: vec![DhGroup::X25519] }, &cheap_esp());
    }
}

#[test]
fn every_group_connects_and_rekeys() {
    for group in DhGroup::ALL {
        let esp = EspProposal::single(EspAead::ChaCha20Poly1305, Some(group), true);
        check(&IkeProposal { groups: vec![group], ..cheap_ike() }, &esp);
    }
}

#[test]
fn every_esp_cipher_connects_and_rekeys_with_and_without_esn() {
    for encryption in EspAead::ALL {
        for esn in [false, true] {
            for group in [None, Some(DhGroup::X25519)] {
                check(&cheap_ike(), &EspProposal::single(encryption, group, esn));
            }
        }
    }
}

#[test]
fn of_aead_and_cbc_proposals_the_first_of_the_initiator_that_the_responder_knows_counts() {
    let aead = cheap_ike();
    let cbc = IkeProposal { encryption: cbc(IkeCbc::Aes256, Integrity::HmacSha384), ..cheap_ike() };
    let both = [cbc.clone(), aead.clone()];
    let agreed = |initiator: &[IkeProposal], responder: &[IkeProposal]| {
        connect([initiator, responder], &cheap_esp()).status(0).ike.unwrap().proposal
    };
    assert_eq!(agreed(&both, &[aead.clone(), cbc.clone()]), cbc.to_string());
    assert_eq!(agreed(&both, std::slice::from_ref(&aead)), aead.to_string());
    assert_eq!(agreed(std::slice::from_ref(&aead), &both), aead.to_string());
}

#[test]
fn the_implicit_iv_is_offered_by_default_and_taken_only_by_a_peer_that_prefers_it() {
    let agreed = |responder: &EspProposal| {
        let mut pair = Pair::new(1);
        let config = |index, esp| PeerConfig { esp_proposals: vec![esp], ..cheap_config(index) };
        pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..config(1, responder.clone()) });
        pair.set_peer(0, config(0, EspProposal::default_profile()));
        pair.run_for(Duration::from_secs(1));
        pair.assert_converged();
        pair.status(0).child.unwrap().proposal
    };
    assert_eq!(agreed(&EspProposal::default_profile()), "chacha20poly1305-esn");
    let esp: EspProposal = "aes256gcm16iiv-chacha20poly1305-noesn".parse().unwrap();
    assert_eq!(agreed(&esp), "aes256gcm16iiv-noesn");
}
