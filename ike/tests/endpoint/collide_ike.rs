//! Rekeys of the IKE SA that collide or are refused, seen from one end (RFC 7296 §2.8.2, §2.25).

use std::time::Duration;

use ike::wire::{Delete, ExchangeType, Notify, NotifyType, Payload, Proposal};
use ike::{DhGroup, IkeAead, IkeProposal, PeerConfig, PeerState, Prf};

use crate::puppet::{
    Contribution, FIRST_SPI, Puppet, Received, delete_esp, ike_spi, notify, only_notification,
    patient_config, proposals,
};
use crate::sim::{PEER, Pair, cheap_config};

const CREATE: ExchangeType = ExchangeType::CREATE_CHILD_SA;
const INFORMATIONAL: ExchangeType = ExchangeType::INFORMATIONAL;

/// The proposal for an IKE SA that end 0 accepts.
fn ike_proposals() -> Vec<Proposal> {
    let mut pair = Pair::new(1);
    pair.cut();
    pair.set_peer(0, cheap_config(0));
    let request = ike::wire::Message::parse(&pair.trace[0].1).unwrap();
    proposals(&request.payloads).to_vec()
}

/// End 0 and the puppet have each asked for a rekey of the IKE SA, and end 0 has answered.
struct Collision {
    pair: Pair,
    old: Puppet,
    /// The request of end 0.
    asked: Received,
    /// The IKE SA of the puppet's request.
    theirs: Puppet,
}

/// The puppet's SPIs of the IKE SAs that its rekey and that of end 0 make.
const PUPPETS_SPI: u64 = 0x5555 << 48;
const OURS: u64 = 0x6666 << 48;

fn collision(seed: u64, puppets_nonce: u8) -> Collision {
    let (mut pair, mut old) = Puppet::connected(seed);
    pair.rekey_ike(0);
    let asked = old.next(&mut pair);
    let own = Contribution::with_nonce(seed + 1, vec![puppets_nonce; 32]);
    let request = own.request(&ike_proposals(), &PUPPETS_SPI.to_be_bytes());
    let answer = old.ask(&mut pair, CREATE, request);
    let theirs = old.rekeyed(&pair, &own, &answer, (PUPPETS_SPI, ike_spi(&answer)), true);
    Collision { pair, old, asked, theirs }
}

/// Whether this IKE SA of end 0 carries the connection.
fn is_in_use(pair: &Pair, spi: u64) -> bool {
    let status = pair.status(0);
    let ike = status.ike.unwrap();
    status.state == PeerState::Connected
        && status.child.is_some_and(|child| child.outbound_spi == FIRST_SPI)
        && (ike.spi_i == spi || ike.spi_r == spi)
}

/// The puppet answers the request of end 0; returns the IKE SA of that.
fn answer(collision: &mut Collision, nonce: u8) -> Puppet {
    let Collision { pair, old, asked, .. } = collision;
    let own = Contribution::with_nonce(99, vec![nonce; 32]);
    let ours = old.rekeyed(pair, &own, &asked.payloads, (OURS, ike_spi(&asked.payloads)), false);
    let payloads = own.answer(&asked.payloads, &OURS.to_be_bytes());
    old.respond(pair, asked, payloads);
    ours
}

#[test]
fn of_two_rekeys_at_once_the_one_without_the_lowest_nonce_wins_ours() {
    let mut collision = collision(1, 0x00);
    let mut ours = answer(&mut collision, 0xff);
    let Collision { mut pair, mut old, mut theirs, .. } = collision;
    assert!(is_in_use(&pair, OURS));
    assert_eq!(
        old.next(&mut pair).payloads,
        [Payload::Delete(Delete::IkeSa)],
        "the winner deletes the old one"
    );
    assert!(theirs.try_next(&mut pair).is_none(), "the loser is left to who made it");
    assert_eq!(theirs.ask(&mut pair, INFORMATIONAL, vec![Payload::Delete(Delete::IkeSa)]), []);
    assert!(is_in_use(&pair, OURS));
    assert_eq!(ours.ask(&mut pair, INFORMATIONAL, Vec::new()), [], "the new one answers");
    assert!(pair.nodes[0].states.len() <= 2);
}

#[test]
fn of_two_rekeys_at_once_the_one_without_the_lowest_nonce_wins_theirs() {
    let mut collision = collision(2, 0xff);
    let mut ours = answer(&mut collision, 0x00);
    let Collision { mut pair, mut old, mut theirs, .. } = collision;
    assert!(is_in_use(&pair, PUPPETS_SPI));
    assert_eq!(
        ours.next(&mut pair).payloads,
        [Payload::Delete(Delete::IkeSa)],
        "who made the loser deletes it"
    );
    assert!(old.try_next(&mut pair).is_none(), "the winner deletes the old one");
    assert_eq!(old.ask(&mut pair, INFORMATIONAL, vec![Payload::Delete(Delete::IkeSa)]), []);
    assert!(is_in_use(&pair, PUPPETS_SPI));
    assert_eq!(theirs.ask(&mut pair, INFORMATIONAL, Vec::new()), []);
    assert!(pair.nodes[0].states.len() <= 2);
}

#[test]
fn a_peer_that_did_not_see_our_rekey_and_deletes_the_old_ike_sa_wins() {
    let Collision { mut pair, mut old, mut theirs, .. } = collision(3, 0x00);
    assert_eq!(old.ask(&mut pair, INFORMATIONAL, vec![Payload::Delete(Delete::IkeSa)]), []);
    assert!(is_in_use(&pair, PUPPETS_SPI), "whatever the nonces");
    assert_eq!(theirs.ask(&mut pair, INFORMATIONAL, Vec::new()), []);
    pair.run_for(Duration::from_mins(1));
    assert!(is_in_use(&pair, PUPPETS_SPI));
    assert_eq!(pair.nodes[0].endpoint.ike_sa_count(), 1);
}

#[test]
fn a_peer_that_refuses_our_rekey_because_it_has_replaced_the_ike_sa_wins() {
    let Collision { mut pair, mut old, asked, mut theirs } = collision(4, 0x00);
    old.respond(&mut pair, &asked, vec![notify(NotifyType::TEMPORARY_FAILURE)]);
    assert!(is_in_use(&pair, PUPPETS_SPI));
    assert_eq!(theirs.ask(&mut pair, INFORMATIONAL, Vec::new()), []);
    assert_eq!(old.ask(&mut pair, INFORMATIONAL, vec![Payload::Delete(Delete::IkeSa)]), []);
    pair.run_for(Duration::from_secs(11));
    assert!(is_in_use(&pair, PUPPETS_SPI));
    assert_eq!(pair.nodes[0].endpoint.ike_sa_count(), 1);
}

#[test]
fn a_rekey_of_ours_that_is_never_answered_leaves_the_connection_to_the_peers() {
    let Collision { mut pair, mut theirs, .. } = collision(5, 0x00);
    pair.run_for(Duration::from_secs(45));
    assert!(is_in_use(&pair, PUPPETS_SPI));
    assert_eq!(theirs.ask(&mut pair, INFORMATIONAL, Vec::new()), []);
}

#[test]
fn a_loser_that_nobody_deletes_does_not_stay() {
    let mut collision = collision(6, 0x00);
    let mut ours = answer(&mut collision, 0xff);
    let Collision { mut pair, mut theirs, .. } = collision;
    pair.run_for(Duration::from_mins(5));
    assert_eq!(theirs.next(&mut pair).payloads, [Payload::Delete(Delete::IkeSa)]);
    assert!(is_in_use(&pair, OURS));
    assert_eq!(pair.nodes[0].endpoint.ike_sa_count(), 1);
    assert_eq!(ours.ask(&mut pair, INFORMATIONAL, Vec::new()), []);
}

#[test]
fn a_second_rekey_of_an_ike_sa_by_the_peer_is_refused() {
    let Collision { mut pair, mut old, .. } = collision(7, 0x00);
    let request = Contribution::new(9).request(&ike_proposals(), &7_u64.to_be_bytes());
    let answer = old.ask(&mut pair, CREATE, request);
    assert_eq!(only_notification(&answer), NotifyType::TEMPORARY_FAILURE);

    // Also when the first one has replaced it already.
    let (mut pair, mut old) = Puppet::connected(7);
    let request = |spi: u64| Contribution::new(spi).request(&ike_proposals(), &spi.to_be_bytes());
    let answer = old.ask(&mut pair, CREATE, request(8));
    assert!(is_in_use(&pair, ike_spi(&answer)));
    let answer = old.ask(&mut pair, CREATE, request(9));
    assert_eq!(only_notification(&answer), NotifyType::TEMPORARY_FAILURE);
}

#[test]
fn a_rekey_of_an_ike_sa_that_we_close_is_refused() {
    let (mut pair, mut puppet) = Puppet::connected(8);
    pair.act(0, |endpoint, now| endpoint.disconnect(now, PEER));
    assert_eq!(puppet.next(&mut pair).payloads, [Payload::Delete(Delete::IkeSa)]);
    let request = Contribution::new(9).request(&ike_proposals(), &7_u64.to_be_bytes());
    let answer = puppet.ask(&mut pair, CREATE, request);
    assert_eq!(only_notification(&answer), NotifyType::TEMPORARY_FAILURE);
    // A close that crosses ours is answered as usual.
    assert_eq!(puppet.ask(&mut pair, INFORMATIONAL, vec![Payload::Delete(Delete::IkeSa)]), []);
    pair.run_for(Duration::from_mins(1));
    assert_eq!(pair.nodes[0].endpoint.ike_sa_count(), 0);
}

#[test]
fn a_close_by_the_peer_ends_our_rekey() {
    let (mut pair, mut puppet) = Puppet::connected(9);
    pair.rekey_ike(0);
    let asked = puppet.next(&mut pair);
    assert_eq!(puppet.ask(&mut pair, INFORMATIONAL, vec![Payload::Delete(Delete::IkeSa)]), []);
    assert_eq!(pair.last_error(0), "peer deleted the IKE SA");
    assert_eq!(pair.state(0), PeerState::Connecting);
    // An answer that comes too late makes nothing.
    let own = Contribution::new(5);
    let payloads = own.answer(&asked.payloads, &5_u64.to_be_bytes());
    puppet.respond(&mut pair, &asked, payloads);
    assert!(pair.status(0).ike.is_none());
}

#[test]
fn what_a_rekey_makes_after_we_have_closed_the_ike_sa_is_deleted_too() {
    let (mut pair, mut puppet) = Puppet::connected(10);
    pair.rekey_ike(0);
    let asked = puppet.next(&mut pair);
    pair.act(0, |endpoint, now| endpoint.disconnect(now, PEER));
    assert!(puppet.try_next(&mut pair).is_none(), "the window is not free");
    let own = Contribution::new(5);
    let spis = (5, ike_spi(&asked.payloads));
    let mut made = puppet.rekeyed(&pair, &own, &asked.payloads, spis, false);
    let payloads = own.answer(&asked.payloads, &5_u64.to_be_bytes());
    puppet.respond(&mut pair, &asked, payloads);
    for sa in [&mut puppet, &mut made] {
        let delete = sa.next(&mut pair);
        assert_eq!(delete.payloads, [Payload::Delete(Delete::IkeSa)]);
        sa.respond(&mut pair, &delete, Vec::new());
    }
    assert_eq!(pair.nodes[0].endpoint.ike_sa_count(), 0);
    assert_eq!(pair.state(0), PeerState::NotConnected);
}

#[test]
fn a_child_sa_is_neither_made_nor_rekeyed_while_the_ike_sa_is() {
    let (mut pair, mut puppet) = Puppet::connected(11);
    let offered = {
        pair.rekey(0);
        let request = puppet.next(&mut pair);
        puppet.respond(&mut pair, &request, vec![notify(NotifyType::NO_PROPOSAL_CHOSEN)]);
        proposals(&request.payloads).to_vec()
    };
    pair.rekey_ike(0);
    puppet.next(&mut pair);
    let new = Contribution::new(3).request(&offered, &[7; 4]);
    let mut rekey = vec![Payload::Notify(Notify::esp(NotifyType::REKEY_SA, FIRST_SPI))];
    rekey.extend(new.clone());
    for request in [new, rekey] {
        let answer = puppet.ask(&mut pair, CREATE, request);
        assert_eq!(only_notification(&answer), NotifyType::TEMPORARY_FAILURE);
    }
    let answer = puppet.delete_children(&mut pair, &[FIRST_SPI]);
    assert_eq!(answer, [delete_esp(&[puppet.first_child])], "a delete is answered as usual");
}

#[test]
fn the_peer_cannot_rekey_the_ike_sa_in_a_tight_loop() {
    let (mut pair, mut old) = Puppet::connected(20);
    let own = Contribution::new(21);
    let answer = old.ask(&mut pair, CREATE, own.request(&ike_proposals(), &PUPPETS_SPI.to_be_bytes()));
    let mut heir = old.rekeyed(&pair, &own, &answer, (PUPPETS_SPI, ike_spi(&answer)), true);
    let again = Contribution::new(22).request(&ike_proposals(), &OURS.to_be_bytes());
    let refusal = heir.ask(&mut pair, CREATE, again.clone());
    assert_eq!(only_notification(&refusal), NotifyType::TEMPORARY_FAILURE);
    pair.run_for(Duration::from_secs(1));
    assert_ne!(ike_spi(&heir.ask(&mut pair, CREATE, again)), 0);
}

#[test]
fn the_ike_sa_is_not_rekeyed_by_the_peer_while_we_rekey_a_child_sa() {
    let (mut pair, mut puppet) = Puppet::connected(12);
    pair.rekey(0);
    let rekey = puppet.next(&mut pair);
    let request = Contribution::new(9).request(&ike_proposals(), &7_u64.to_be_bytes());
    let answer = puppet.ask(&mut pair, CREATE, request.clone());
    assert_eq!(only_notification(&answer), NotifyType::TEMPORARY_FAILURE);
    // Nor while its predecessor is being deleted.
    let payloads = Contribution::new(4).answer(&rekey.payloads, &[7; 4]);
    puppet.respond(&mut pair, &rekey, payloads);
    let delete = puppet.next(&mut pair);
    assert_eq!(delete.payloads, [delete_esp(&[puppet.first_child])]);
    let answer = puppet.ask(&mut pair, CREATE, request.clone());
    assert_eq!(only_notification(&answer), NotifyType::TEMPORARY_FAILURE);
    puppet.respond(&mut pair, &delete, vec![delete_esp(&[FIRST_SPI])]);
    assert!(ike_spi(&puppet.ask(&mut pair, CREATE, request)) != 0, "now it is");
}

#[test]
fn a_temporary_failure_is_followed_by_another_try_after_longer_and_longer_pauses() {
    let (mut pair, mut puppet) = Puppet::connected(13);
    let mut pauses = Vec::new();
    let mut last = pair.now;
    pair.rekey_ike(0);
    for _ in 0..6 {
        let request = loop {
            match puppet.try_next(&mut pair) {
                Some(request) => break request,
                None => pair.run_for(Duration::from_millis(100)),
            }
        };
        pauses.push(pair.now.duration_since(last).as_secs());
        last = pair.now;
        puppet.respond(&mut pair, &request, vec![notify(NotifyType::TEMPORARY_FAILURE)]);
    }
    assert_eq!(pauses[0], 0);
    for (pause, longest) in pauses[1..].iter().zip([4, 8, 16, 32, 64]) {
        assert!((longest / 2..=longest + 1).contains(pause), "{pauses:?}");
    }
    assert_eq!(pair.state(0), PeerState::Connected);
}

#[test]
fn an_unused_notification_or_proposal_does_not_rekey() {
    let (mut pair, mut puppet) = Puppet::connected(16);
    let own = Contribution::new(9);
    // An SPI of the wrong length, and one of zero.
    for spi in [vec![7; 4], vec![0; 8], Vec::new()] {
        let mut request = own.request(&ike_proposals(), &spi);
        request.truncate(3);
        let answer = puppet.ask(&mut pair, CREATE, request);
        assert_eq!(only_notification(&answer), NotifyType::NO_PROPOSAL_CHOSEN);
    }
    // Without a public value.
    let mut request = own.request(&ike_proposals(), &7_u64.to_be_bytes());
    request.truncate(2);
    let answer = puppet.ask(&mut pair, CREATE, request);
    assert_eq!(only_notification(&answer), NotifyType::INVALID_SYNTAX);
    assert_eq!(pair.nodes[0].endpoint.ike_sa_count(), 1);
    assert_eq!(pair.state(0), PeerState::Connected);
}

#[test]
fn an_ike_sa_that_cannot_be_rekeyed_is_replaced_by_a_new_connection() {
    let config = PeerConfig {
        ike_lifetime: Duration::from_mins(20),
        rekey_jitter: Duration::ZERO,
        rekey_margin: Duration::from_mins(4),
        ..patient_config()
    };
    let (mut pair, mut puppet) = Puppet::connected_with(5, config);
    let started = pair.now;
    let mut asked = Vec::new();
    while pair.state(0) == PeerState::Connected {
        pair.run_for(Duration::from_millis(400));
        if let Some(request) = puppet.try_next(&mut pair)
            && request.header.exchange == ExchangeType::CREATE_CHILD_SA
        {
            asked.push(pair.now.duration_since(started).as_secs() / 60);
            puppet.respond(&mut pair, &request, vec![notify(NotifyType::NO_PROPOSAL_CHOSEN)]);
            assert_eq!(
                pair.last_error(0),
                "rekeying of the IKE SA refused: peer says NO_PROPOSAL_CHOSEN; \
                 we offered aes128gcm16-prfsha256-x25519"
            );
            assert_eq!(pair.state(0), PeerState::Connected);
        }
    }
    assert_eq!(asked, [20, 21, 22, 23], "once a minute");
    assert_eq!(pair.now.duration_since(started).as_secs(), 24 * 60);
    assert_eq!(pair.last_error(0), "IKE SA expired without being rekeyed");
}

#[test]
fn the_rekey_of_an_ike_sa_is_repeated_with_the_group_the_peer_asks_for() {
    let of_group = |group| IkeProposal::single(IkeAead::Aes128Gcm16, Prf::HmacSha256, group);
    let ike_proposals = vec![of_group(DhGroup::X25519), of_group(DhGroup::Ecp256)];
    let (mut pair, mut puppet) = Puppet::connected_with(6, PeerConfig { ike_proposals, ..patient_config() });
    let group_of_next = |pair: &mut Pair, puppet: &mut Puppet, wanted: DhGroup| {
        let request = puppet.next(pair);
        let group = request.payloads.iter().find_map(|payload| match payload {
            Payload::KeyExchange(exchange) => Some(exchange.group),
            _ => None,
        });
        let refusal = Notify::new(NotifyType::INVALID_KE_PAYLOAD, wanted.id().to_be_bytes());
        puppet.respond(pair, &request, vec![Payload::Notify(refusal)]);
        group.and_then(DhGroup::from_id)
    };
    pair.rekey_ike(0);
    assert_eq!(group_of_next(&mut pair, &mut puppet, DhGroup::Ecp256), Some(DhGroup::X25519));
    // Then one that was not offered.
    assert_eq!(group_of_next(&mut pair, &mut puppet, DhGroup::Modp2048), Some(DhGroup::Ecp256));
    assert!(puppet.try_next(&mut pair).is_none());
    assert_eq!(pair.last_error(0), "rekeying of the IKE SA refused: the peer wants a group we do not offer");
    assert_eq!(pair.state(0), PeerState::Connected);
}
