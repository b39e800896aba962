//! Exchanges about Child SAs that collide, are refused or come out of the blue, seen from one end (RFC 7296 §1.3.1,
//! §1.4.1, §2.8.1, §2.25.1).

use std::time::Duration;

use ike::wire::{
    AddressRange, Delete, ExchangeType, Notify, NotifyType, Payload, Proposal, ProtocolId, Selector,
    TrafficSelector,
};
use ike::{ConnectionMode, PeerConfig, PeerState};

use crate::puppet::{
    Contribution, FIRST_SPI, Puppet, Received, delete_esp, esp_spi, notify, only_notification,
    patient_config, proposals,
};
use crate::sim::Pair;

const CREATE: ExchangeType = ExchangeType::CREATE_CHILD_SA;
const INFORMATIONAL: ExchangeType = ExchangeType::INFORMATIONAL;
/// SPIs of the puppet for what its rekey and that of end 0 make.
const THEIRS: u32 = 0x7000_0002;
const OURS: u32 = 0x7000_0003;

/// The proposals for Child SAs that end 0 makes outside of IKE_AUTH.
fn esp_proposals() -> Vec<Proposal> {
    let (mut pair, mut puppet) = Puppet::connected(1);
    pair.rekey(0);
    proposals(&puppet.next(&mut pair).payloads).to_vec()
}

fn rekey_request(nonce: u8, rekeyed: u32, spi: u32) -> Vec<Payload> {
    let mut request = vec![Payload::Notify(Notify::esp(NotifyType::REKEY_SA, rekeyed))];
    request.extend(new_request(nonce, spi));
    request
}

fn new_request(nonce: u8, spi: u32) -> Vec<Payload> {
    Contribution::with_nonce(5, vec![nonce; 32]).request(&esp_proposals(), &spi.to_be_bytes())
}

fn answer(pair: &mut Pair, puppet: &mut Puppet, asked: &Received, nonce: u8, spi: u32) {
    let own = Contribution::with_nonce(6, vec![nonce; 32]);
    let payloads = own.answer(&asked.payloads, &spi.to_be_bytes());
    puppet.respond(pair, asked, payloads);
}

/// The puppet's SPI that traffic of end 0 goes to, as its status and its data plane say.
fn outbound(pair: &Pair) -> u32 {
    let spi = pair.nodes[0].plane.outbound.as_ref().unwrap().spi;
    assert_eq!(pair.status(0).child.unwrap().outbound_spi, spi);
    spi
}

fn rekeyed_spi(payloads: &[Payload]) -> Option<u32> {
    payloads.iter().find_map(|payload| match payload {
        Payload::Notify(notify) if notify.kind == NotifyType::REKEY_SA => notify.esp_spi(),
        _ => None,
    })
}

/// Both have asked for a rekey of the first Child SA; end 0 has answered. Returns its request and its SPI in the answer.
fn collision(nonce: u8) -> (Pair, Puppet, Received, u32) {
    let (mut pair, mut puppet) = Puppet::connected(2);
    pair.rekey(0);
    let asked = puppet.next(&mut pair);
    assert_eq!(rekeyed_spi(&asked.payloads), Some(puppet.first_child));
    let spi = esp_spi(&puppet.ask(&mut pair, CREATE, rekey_request(nonce, FIRST_SPI, THEIRS)));
    (pair, puppet, asked, spi)
}

#[test]
fn of_two_rekeys_of_a_child_sa_at_once_ours_wins_when_theirs_has_the_lowest_nonce() {
    let (mut pair, mut puppet, asked, theirs) = collision(0x00);
    answer(&mut pair, &mut puppet, &asked, 0xff, OURS);
    assert_eq!(outbound(&pair), OURS);
    let delete = puppet.next(&mut pair);
    assert_eq!(delete.payloads, [delete_esp(&[puppet.first_child])], "the winner deletes the old one");
    assert_eq!(puppet.delete_children(&mut pair, &[THEIRS]), [delete_esp(&[theirs])]);
    puppet.respond(&mut pair, &delete, vec![delete_esp(&[FIRST_SPI])]);
    pair.run_for(Duration::from_secs(30));
    assert_eq!((outbound(&pair), pair.nodes[0].plane.inbound.len()), (OURS, 1));
}

#[test]
fn of_two_rekeys_of_a_child_sa_at_once_theirs_wins_when_ours_has_the_lowest_nonce() {
    let (mut pair, mut puppet, asked, _) = collision(0xff);
    let ours = esp_spi(&asked.payloads);
    answer(&mut pair, &mut puppet, &asked, 0x00, OURS);
    let delete = puppet.next(&mut pair);
    assert_eq!(delete.payloads, [delete_esp(&[ours])], "who made the loser deletes it");
    puppet.respond(&mut pair, &delete, vec![delete_esp(&[OURS])]);
    assert_eq!(outbound(&pair), FIRST_SPI);
    let answer = puppet.delete_children(&mut pair, &[FIRST_SPI]);
    assert_eq!(answer, [delete_esp(&[puppet.first_child])]);
    assert_eq!(outbound(&pair), THEIRS);
    pair.run_for(Duration::from_secs(30));
    assert_eq!((outbound(&pair), pair.nodes[0].plane.inbound.len()), (THEIRS, 1));
}

#[test]
fn a_loser_that_its_maker_does_not_delete_does_not_stay() {
    let (mut pair, mut puppet, asked, theirs) = collision(0x00);
    answer(&mut pair, &mut puppet, &asked, 0xff, OURS);
    let delete = puppet.next(&mut pair);
    puppet.respond(&mut pair, &delete, vec![delete_esp(&[FIRST_SPI])]);
    pair.run_for(Duration::from_secs(16));
    let delete = puppet.next(&mut pair);
    assert_eq!(delete.payloads, [delete_esp(&[theirs])]);
    puppet.respond(&mut pair, &delete, Vec::new());
    pair.run_for(Duration::from_secs(10));
    assert_eq!((outbound(&pair), pair.nodes[0].plane.inbound.len()), (OURS, 1));
}

#[test]
fn a_loser_whose_winner_has_been_rekeyed_in_turn_takes_no_place() {
    for nonce in [0x00, 0xff] {
        let (mut pair, mut puppet, asked, _) = collision(nonce);
        puppet.delete_children(&mut pair, &[FIRST_SPI]);
        assert_eq!(outbound(&pair), THEIRS);
        let latest = 0x7000_0004;
        puppet.ask(&mut pair, CREATE, rekey_request(9, THEIRS, latest));
        puppet.delete_children(&mut pair, &[THEIRS]);
        assert_eq!(outbound(&pair), latest);
        answer(&mut pair, &mut puppet, &asked, !nonce, OURS);
        assert_eq!(outbound(&pair), latest);
        let delete = puppet.next(&mut pair);
        assert_eq!(delete.payloads, [delete_esp(&[esp_spi(&asked.payloads)])]);
        puppet.respond(&mut pair, &delete, vec![delete_esp(&[OURS])]);
        pair.run_for(Duration::from_secs(30));
        assert_eq!((outbound(&pair), pair.nodes[0].plane.inbound.len()), (latest, 1));
    }
}

#[test]
fn a_child_sa_that_the_peer_may_not_know_yet_is_not_rekeyed() {
    let (mut pair, mut puppet) = Puppet::connected(16);
    puppet.ask(&mut pair, CREATE, rekey_request(7, FIRST_SPI, THEIRS));
    pair.run_for(Duration::from_secs(6));
    assert_eq!(outbound(&pair), THEIRS, "it is used after a while");
    pair.rekey(0);
    assert!(puppet.try_next(&mut pair).is_none(), "the peer may still wait for the answer");
    assert_eq!(puppet.ask(&mut pair, INFORMATIONAL, Vec::new()), []);
    let rekey = puppet.next(&mut pair);
    assert_eq!(rekey.header.exchange, CREATE, "another request shows that it has it");

    // A peer that says nothing more does not prevent it.
    let (mut pair, mut puppet) = Puppet::connected(17);
    puppet.ask(&mut pair, CREATE, rekey_request(7, FIRST_SPI, THEIRS));
    pair.run_for(Duration::from_secs(6));
    pair.rekey(0);
    pair.run_for(Duration::from_millis(14_200));
    let delete = puppet.next(&mut pair);
    assert_eq!(delete.payloads, [delete_esp(&[puppet.first_child])]);
    puppet.respond(&mut pair, &delete, vec![delete_esp(&[FIRST_SPI])]);
    assert!(puppet.try_next(&mut pair).is_none());
    pair.run_for(Duration::from_mins(3));
    assert_eq!(puppet.next(&mut pair).header.exchange, CREATE);
}

#[test]
fn a_rekey_of_a_child_sa_that_we_close_is_refused() {
    let (mut pair, mut puppet) = Puppet::connected(3);
    pair.rekey(0);
    let asked = puppet.next(&mut pair);
    answer(&mut pair, &mut puppet, &asked, 7, OURS);
    assert_eq!(puppet.next(&mut pair).payloads, [delete_esp(&[puppet.first_child])]);
    let answer = puppet.ask(&mut pair, CREATE, rekey_request(8, FIRST_SPI, THEIRS));
    assert_eq!(only_notification(&answer), NotifyType::TEMPORARY_FAILURE);
    // A close that crosses ours is answered without a delete.
    assert_eq!(puppet.delete_children(&mut pair, &[FIRST_SPI]), []);
    assert_eq!(outbound(&pair), OURS);
}

#[test]
fn a_rekey_of_a_child_sa_that_does_not_exist_is_refused_by_name() {
    let (mut pair, mut puppet) = Puppet::connected(4);
    let answer = puppet.ask(&mut pair, CREATE, rekey_request(8, 0x5000, THEIRS));
    assert_eq!(answer, [Payload::Notify(Notify::esp(NotifyType::CHILD_SA_NOT_FOUND, 0x5000))]);
}

#[test]
fn a_close_of_a_child_sa_that_we_rekey_is_answered_as_usual_and_another_one_is_made() {
    let (mut pair, mut puppet) = Puppet::connected(5);
    pair.rekey(0);
    let asked = puppet.next(&mut pair);
    let answered = puppet.delete_children(&mut pair, &[FIRST_SPI]);
    assert_eq!(answered, [delete_esp(&[puppet.first_child])]);
    puppet.respond(&mut pair, &asked, vec![notify(NotifyType::TEMPORARY_FAILURE)]);
    let asked = puppet.next(&mut pair);
    assert_eq!((asked.header.exchange, rekeyed_spi(&asked.payloads)), (CREATE, None));
    answer(&mut pair, &mut puppet, &asked, 7, OURS);
    assert_eq!((pair.state(0), outbound(&pair)), (PeerState::Connected, OURS));
}

#[test]
fn deletes_of_unknown_spis_and_of_other_protocols_change_nothing() {
    let (mut pair, mut puppet) = Puppet::connected(6);
    let ah = Payload::Delete(Delete::ChildSas { protocol: ProtocolId::AH, spis: vec![FIRST_SPI] });
    for payloads in [vec![delete_esp(&[0x5000, 0x5001])], vec![ah], vec![delete_esp(&[])]] {
        assert_eq!(puppet.ask(&mut pair, INFORMATIONAL, payloads), []);
    }
    assert_eq!(outbound(&pair), FIRST_SPI);
    // Known ones among them are found.
    let answer = puppet.delete_children(&mut pair, &[0x5000, FIRST_SPI, 0x5001]);
    assert_eq!(answer, [delete_esp(&[puppet.first_child])]);
}

#[test]
fn a_child_sa_that_the_peer_does_not_know_is_replaced_by_another_one() {
    let (mut pair, mut puppet) = Puppet::connected(7);
    let before = pair.status(0).ike.unwrap();
    pair.rekey(0);
    let asked = puppet.next(&mut pair);
    let refusal = Notify::esp(NotifyType::CHILD_SA_NOT_FOUND, puppet.first_child);
    puppet.respond(&mut pair, &asked, vec![Payload::Notify(refusal)]);
    assert_eq!(pair.state(0), PeerState::Connecting);
    assert!(pair.nodes[0].plane.outbound.is_none());
    let asked = puppet.next(&mut pair);
    assert_eq!((asked.header.exchange, rekeyed_spi(&asked.payloads)), (CREATE, None));
    answer(&mut pair, &mut puppet, &asked, 7, OURS);
    assert_eq!((pair.state(0), outbound(&pair)), (PeerState::Connected, OURS));
    assert_eq!(pair.status(0).ike.unwrap().spi_i, before.spi_i);
    let reasons: Vec<_> = pair.nodes[0].states.iter().skip(2).map(|(_, reason)| reason.as_str()).collect();
    assert_eq!(reasons, ["peer does not know the Child SA any more", "a Child SA was agreed on"]);
}

#[test]
fn a_child_sa_that_the_peer_does_not_know_is_replaced_by_an_end_that_else_only_answers() {
    for mode in [ConnectionMode::Responder, ConnectionMode::OnDemand] {
        let (mut pair, mut puppet) = Puppet::connected(18);
        pair.set_peer(0, PeerConfig { mode, ..patient_config() });
        pair.rekey(0);
        let asked = puppet.next(&mut pair);
        puppet.respond(&mut pair, &asked, vec![notify(NotifyType::CHILD_SA_NOT_FOUND)]);
        let asked = puppet.next(&mut pair);
        assert_eq!((asked.header.exchange, rekeyed_spi(&asked.payloads)), (CREATE, None));
        answer(&mut pair, &mut puppet, &asked, 7, OURS);
        assert_eq!((pair.state(0), outbound(&pair)), (PeerState::Connected, OURS));
    }
}

#[test]
fn a_child_sa_that_the_peer_deletes_is_replaced_in_the_same_ike_sa() {
    let (mut pair, mut puppet) = Puppet::connected(8);
    assert_eq!(puppet.delete_children(&mut pair, &[FIRST_SPI]), [delete_esp(&[puppet.first_child])]);
    assert_eq!(
        (pair.state(0), pair.last_error(0).as_str()),
        (PeerState::Connecting, "peer deleted the Child SA")
    );
    let asked = puppet.next(&mut pair);
    puppet.respond(&mut pair, &asked, vec![notify(NotifyType::TEMPORARY_FAILURE)]);
    assert!(puppet.try_next(&mut pair).is_none());
    pair.run_for(Duration::from_millis(4100));
    let asked = puppet.next(&mut pair);
    assert_eq!(rekeyed_spi(&asked.payloads), None);
    answer(&mut pair, &mut puppet, &asked, 7, OURS);
    assert_eq!((pair.state(0), outbound(&pair)), (PeerState::Connected, OURS));
    assert_eq!(pair.status(0).last_error, None);
    assert_eq!(pair.status(0).child.unwrap().rekeys, 0);
}

#[test]
fn when_the_peer_refuses_another_child_sa_the_connection_is_made_anew() {
    let (mut pair, mut puppet) = Puppet::connected(9);
    puppet.delete_children(&mut pair, &[FIRST_SPI]);
    let asked = puppet.next(&mut pair);
    puppet.respond(&mut pair, &asked, vec![notify(NotifyType::NO_ADDITIONAL_SAS)]);
    assert_eq!(puppet.next(&mut pair).payloads, [Payload::Delete(Delete::IkeSa)]);
    assert_eq!(
        pair.last_error(0),
        "peer refused another Child SA: it says NO_ADDITIONAL_SAS; we offered chacha20poly1305-x25519-esn"
    );
}

#[test]
fn a_new_child_sa_of_the_peer_takes_the_place_of_the_present_one() {
    let (mut pair, mut puppet) = Puppet::connected(11);
    let spi = esp_spi(&puppet.ask(&mut pair, CREATE, new_request(7, THEIRS)));
    assert_eq!((outbound(&pair), pair.nodes[0].plane.inbound.len()), (FIRST_SPI, 2));
    pair.run_for(Duration::from_secs(6));
    assert_eq!(outbound(&pair), THEIRS, "it is used when the peer has had time to install it");
    pair.run_for(Duration::from_mins(2));
    assert!(puppet.try_next(&mut pair).is_none(), "the older one is left to the peer");
    // Their number is bounded.
    let answer = puppet.ask(&mut pair, CREATE, new_request(8, OURS));
    assert_eq!(only_notification(&answer), NotifyType::NO_ADDITIONAL_SAS);
    assert_eq!(pair.last_error(0), "another Child SA of the peer refused: it has 2 already and deletes none");
    puppet.delete_children(&mut pair, &[FIRST_SPI]);
    assert!(esp_spi(&puppet.ask(&mut pair, CREATE, new_request(9, OURS))) != spi);
    // Nor does it stay for ever.
    pair.run_for(Duration::from_secs(5 * 60 + 10));
    assert_eq!((outbound(&pair), puppet.next(&mut pair).payloads), (OURS, vec![delete_esp(&[spi])]));
}

#[test]
fn a_peer_that_rekeys_and_deletes_nothing_soon_gets_no_more() {
    let (mut pair, mut puppet) = Puppet::connected(19);
    puppet.ask(&mut pair, CREATE, new_request(7, THEIRS));
    puppet.ask(&mut pair, CREATE, rekey_request(8, FIRST_SPI, OURS));
    pair.run_for(Duration::from_secs(6));
    let active = outbound(&pair);
    assert_ne!(active, FIRST_SPI);
    let latest = 0x7000_0004;
    let answer = puppet.ask(&mut pair, CREATE, rekey_request(9, active, latest));
    assert_eq!(only_notification(&answer), NotifyType::TEMPORARY_FAILURE);
    assert_eq!(pair.nodes[0].plane.inbound.len(), 3);
    puppet.delete_children(&mut pair, &[FIRST_SPI]);
    assert_ne!(esp_spi(&puppet.ask(&mut pair, CREATE, rekey_request(9, active, latest))), 0);
}

#[test]
fn a_new_child_sa_of_the_peer_for_other_addresses_is_refused_with_a_reason() {
    let (mut pair, mut puppet) = Puppet::connected(12);
    let mut request = new_request(7, THEIRS);
    let addresses = AddressRange::V4([10, 1, 0, 0].into(), [10, 1, 255, 255].into());
    request[3] = Payload::SelectorsInitiator(vec![TrafficSelector::Range(Selector {
        addresses,
        ..Selector::ANY_IPV4
    })]);
    let answer = puppet.ask(&mut pair, CREATE, request);
    assert_eq!(only_notification(&answer), NotifyType::NO_ADDITIONAL_SAS);
    assert_eq!(
        pair.last_error(0),
        "another Child SA of the peer refused: there is one at a time, for 0.0.0.0/0 === 0.0.0.0/0; \
         the peer wants 0.0.0.0/0 === 10.1.0.0/16 besides"
    );
    assert_eq!(outbound(&pair), FIRST_SPI);
}

#[test]
fn both_ends_asking_for_another_child_sa_at_once_agree_on_one() {
    for (nonce, winner) in [(0x00, OURS), (0xff, THEIRS)] {
        let (mut pair, mut puppet) = Puppet::connected(13);
        puppet.delete_children(&mut pair, &[FIRST_SPI]);
        let asked = puppet.next(&mut pair);
        let theirs = esp_spi(&puppet.ask(&mut pair, CREATE, new_request(nonce, THEIRS)));
        assert_eq!((pair.state(0), outbound(&pair)), (PeerState::Connected, THEIRS));
        answer(&mut pair, &mut puppet, &asked, !nonce, OURS);
        assert_eq!(outbound(&pair), winner);
        if winner == OURS {
            assert_eq!(puppet.delete_children(&mut pair, &[THEIRS]), [delete_esp(&[theirs])]);
        } else {
            let ours = esp_spi(&asked.payloads);
            assert_eq!(puppet.next(&mut pair).payloads, [delete_esp(&[ours])]);
        }
    }
}

#[test]
fn unknown_notifications_and_vendor_ids_are_ignored_in_requests() {
    let (mut pair, mut puppet) = Puppet::connected(14);
    // SET_WINDOW_SIZE and INVALID_MESSAGE_ID among them.
    let unknown = || {
        let kinds = [9, 8000, 16385, 40959];
        let notify = |kind| Payload::Notify(Notify::new(NotifyType(kind), [0, 0, 0, 4]));
        kinds.map(notify).into_iter().chain([Payload::VendorId(b"somebody".to_vec())])
    };
    assert_eq!(puppet.ask(&mut pair, INFORMATIONAL, unknown().collect()), []);
    let request = unknown().chain(rekey_request(7, FIRST_SPI, THEIRS)).collect();
    esp_spi(&puppet.ask(&mut pair, CREATE, request));
    let request = unknown().chain([delete_esp(&[FIRST_SPI])]).collect();
    assert_eq!(puppet.ask(&mut pair, INFORMATIONAL, request), [delete_esp(&[puppet.first_child])]);
    assert_eq!((pair.state(0), outbound(&pair)), (PeerState::Connected, THEIRS));
    assert_eq!(pair.status(0).last_error, None);
}

#[test]
fn in_a_response_unknown_status_is_ignored_and_an_unknown_error_is_a_failure() {
    for (kind, succeeds) in [(40959, true), (8000, false)] {
        let (mut pair, mut puppet) = Puppet::connected(15);
        pair.rekey(0);
        let asked = puppet.next(&mut pair);
        let mut payloads =
            Contribution::with_nonce(6, vec![7; 32]).answer(&asked.payloads, &OURS.to_be_bytes());
        payloads.insert(0, Payload::Notify(Notify::new(NotifyType(kind), [])));
        puppet.respond(&mut pair, &asked, payloads);
        assert_eq!(outbound(&pair), if succeeds { OURS } else { FIRST_SPI });
        assert_eq!(pair.state(0), PeerState::Connected);
        let said = "rekeying refused: peer says notification 8000";
        assert_eq!(pair.last_error(0).contains(said), !succeeds, "{}", pair.last_error(0));
    }
}
