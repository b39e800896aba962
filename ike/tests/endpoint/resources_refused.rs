//! Child SAs of single resources (RFC 9611) that the peer refuses, deletes or asks for itself, seen from one end.

use std::time::Duration;

use ike::wire::{
    AddressRange, ExchangeType, Notify, NotifyType, Payload, Proposal, ProtocolId, Selector, TrafficSelector,
};
use ike::{EspAead, EspProposal, PeerConfig, PeerState};

use crate::puppet::{
    Contribution, FIRST_SPI, Puppet, Received, any_selectors, delete_esp, esp_spi, notify, only_notification,
    patient_config, proposals,
};
use crate::sim::Pair;

const CREATE: ExchangeType = ExchangeType::CREATE_CHILD_SA;
const INFO: NotifyType = NotifyType::SA_RESOURCE_INFO;
/// SPIs of the puppet for Child SAs of resources.
const SPIS: [u32; 3] = [0x7000_0010, 0x7000_0011, 0x7000_0012];

/// The puppet answers within this time, before a request is repeated.
const TICK: Duration = Duration::from_millis(100);

/// End 0 wants Child SAs of so many resources, and so does the puppet. Returns the first request for one.
fn connected(child_sas: u16) -> (Pair, Puppet, Received) {
    let (mut pair, mut puppet) = with_peer_that_says(child_sas, Some(notify(INFO)));
    let asked = puppet.next(&mut pair);
    assert_eq!(asked.header.exchange, CREATE);
    (pair, puppet, asked)
}

fn with_peer_that_says(child_sas: u16, said: Option<Payload>) -> (Pair, Puppet) {
    // Ciphers to choose from, so that it shows which are offered again.
    let esp = EspProposal { encryption: EspAead::ALL.to_vec(), ..patient_config().esp_proposals[0].clone() };
    let config = PeerConfig { child_sas, esp_proposals: vec![esp], ..patient_config() };
    let (pair, puppet) = Puppet::answering_auth(3, config, |request| {
        assert_eq!(info(request), (child_sas > 1).then(Vec::new), "the first one is for everything");
        let mut proposal =
            Proposal { spi: FIRST_SPI.to_be_bytes().to_vec(), ..proposals(request)[0].clone() };
        keep_first_cipher(&mut proposal);
        let mut answer = vec![Payload::SecurityAssociation(vec![proposal])];
        answer.extend(any_selectors());
        answer.extend(said);
        answer
    });
    assert_eq!(pair.state(0), PeerState::Connected);
    (pair, puppet)
}

fn keep_first_cipher(proposal: &mut Proposal) {
    let first = proposal.transforms[0].clone();
    proposal.transforms.retain(|transform| transform.kind != first.kind || *transform == first);
}

/// What a message says of resources.
fn info(payloads: &[Payload]) -> Option<Vec<u8>> {
    payloads.iter().find_map(|payload| match payload {
        Payload::Notify(notify) if notify.kind == INFO => {
            assert!(notify.protocol == ProtocolId::NONE && notify.spi.is_empty(), "{notify:?}");
            Some(notify.data.clone())
        }
        _ => None,
    })
}

fn accept(pair: &mut Pair, puppet: &mut Puppet, asked: &Received, spi: u32) {
    let mut answer = Contribution::new(9).answer(&asked.payloads, &spi.to_be_bytes());
    answer.push(notify(INFO));
    puppet.respond(pair, asked, answer);
}

/// A request of the puppet for a Child SA of a resource, like the one that `asked` is for.
fn request(asked: &Received, spi: u32) -> Vec<Payload> {
    let mut request = Contribution::new(11).request(proposals(&asked.payloads), &spi.to_be_bytes());
    request.push(Payload::Notify(Notify::new(INFO, *b"cpu7")));
    request
}

/// The puppet's SPIs that end 0 sends to by itself for each resource, as its status and its data plane say.
fn outbound(pair: &Pair) -> Vec<(u32, u32)> {
    let of_plane = pair.nodes[0].plane.of_resources.iter().map(|(resource, sa)| (*resource, sa.spi));
    let status = pair.status(0);
    let of_status =
        status.resource_children.iter().map(|child| (child.resource.unwrap(), child.outbound_spi));
    let of_plane: Vec<_> = of_plane.collect();
    assert_eq!(of_plane, of_status.collect::<Vec<_>>());
    assert_eq!(status.state, PeerState::Connected);
    assert_eq!(pair.nodes[0].plane.outbound.as_ref().unwrap().spi, FIRST_SPI, "for everything");
    of_plane
}

/// Nothing is asked for within hours.
#[track_caller]
fn assert_silent(pair: &mut Pair, puppet: &mut Puppet) {
    pair.run_for(Duration::from_mins(30));
    assert!(puppet.try_next(pair).is_none(), "end 0 asks for something");
}

#[test]
fn they_are_asked_for_one_by_one_and_are_like_the_first_one() {
    let (mut pair, mut puppet, mut asked) = connected(3);
    for (resource, spi) in SPIS.into_iter().enumerate() {
        let number = u32::try_from(resource).unwrap().to_be_bytes();
        assert_eq!(info(&asked.payloads), Some(number.to_vec()));
        let offered = proposals(&asked.payloads);
        let ciphers = offered[0].transforms.iter().filter(|one| one.kind == offered[0].transforms[0].kind);
        assert_eq!((offered.len(), ciphers.count()), (1, 1), "the cipher of the first one: {offered:?}");
        accept(&mut pair, &mut puppet, &asked, spi);
        asked = puppet.next(&mut pair);
    }
    assert_eq!(outbound(&pair), [(0, SPIS[0]), (1, SPIS[1]), (2, SPIS[2])]);
    assert_eq!((asked.header.exchange, asked.payloads.len()), (ExchangeType::INFORMATIONAL, 0));
    puppet.respond(&mut pair, &asked, vec![]);
    assert_silent(&mut pair, &mut puppet);
}

#[test]
fn a_peer_that_does_not_want_them_is_never_asked() {
    for said in [None, Some(notify(NotifyType::INITIAL_CONTACT))] {
        let (mut pair, mut puppet) = with_peer_that_says(4, said);
        assert_silent(&mut pair, &mut puppet);
        assert_eq!(outbound(&pair), []);
    }
    let (mut pair, mut puppet) = with_peer_that_says(1, Some(notify(INFO)));
    assert_silent(&mut pair, &mut puppet);
}

#[test]
fn after_a_refusal_no_other_is_asked_for() {
    for (error, told) in [
        (NotifyType::TS_MAX_QUEUE, None),
        (NotifyType::NO_ADDITIONAL_SAS, Some("NO_ADDITIONAL_SAS")),
        (NotifyType::NO_PROPOSAL_CHOSEN, Some("NO_PROPOSAL_CHOSEN")),
        (NotifyType(8000), Some("notification 8000")),
    ] {
        let (mut pair, mut puppet, asked) = connected(4);
        accept(&mut pair, &mut puppet, &asked, SPIS[0]);
        let asked = puppet.next(&mut pair);
        puppet.respond(&mut pair, &asked, vec![notify(error)]);
        assert_silent(&mut pair, &mut puppet);
        assert_eq!(outbound(&pair), [(0, SPIS[0])], "what there is stays");
        let expected =
            told.map(|name| format!("peer refused a Child SA of a single resource: it says {name}"));
        assert_eq!(pair.status(0).last_error, expected);
    }
}

#[test]
fn a_peer_that_is_busy_for_ever_is_asked_a_few_times() {
    let (mut pair, mut puppet, asked) = connected(4);
    puppet.respond(&mut pair, &asked, vec![notify(NotifyType::TEMPORARY_FAILURE)]);
    let mut requests = 1;
    for _ in 0..20 * 60 * 10 {
        pair.run_for(TICK);
        if let Some(asked) = puppet.try_next(&mut pair) {
            puppet.respond(&mut pair, &asked, vec![notify(NotifyType::TEMPORARY_FAILURE)]);
            requests += 1;
        }
    }
    assert_eq!(requests, 7);
    assert_silent(&mut pair, &mut puppet);
}

#[test]
fn one_that_the_peer_takes_for_something_else_is_deleted() {
    let (mut pair, mut puppet, asked) = connected(4);
    let answer = Contribution::new(9).answer(&asked.payloads, &SPIS[0].to_be_bytes());
    puppet.respond(&mut pair, &asked, answer);
    let delete = puppet.next(&mut pair);
    assert_eq!(delete.payloads, [delete_esp(&[esp_spi(&asked.payloads)])]);
    puppet.respond(&mut pair, &delete, vec![delete_esp(&[SPIS[0]])]);
    assert_silent(&mut pair, &mut puppet);
    assert_eq!(outbound(&pair), []);
}

#[test]
fn one_that_the_peer_deletes_is_not_asked_for_again() {
    let (mut pair, mut puppet, asked) = connected(2);
    accept(&mut pair, &mut puppet, &asked, SPIS[0]);
    let other = puppet.next(&mut pair);
    accept(&mut pair, &mut puppet, &other, SPIS[1]);
    let probe = puppet.next(&mut pair);
    puppet.respond(&mut pair, &probe, vec![]);
    let deleted = puppet.delete_children(&mut pair, &[SPIS[0]]);
    assert_eq!(deleted, [delete_esp(&[esp_spi(&asked.payloads)])]);
    assert_eq!(outbound(&pair), [(1, SPIS[1])], "its traffic goes with all the other");
    assert_silent(&mut pair, &mut puppet);
}

#[test]
fn the_peer_gets_as_many_as_are_wanted_here() {
    let (mut pair, mut puppet, asked) = connected(2);
    // Ours is under way, so that one place is left.
    let first = puppet.ask(&mut pair, CREATE, request(&asked, SPIS[0]));
    assert_eq!(info(&first), Some(1_u32.to_be_bytes().to_vec()));
    let busy = puppet.ask(&mut pair, CREATE, request(&asked, SPIS[1]));
    assert_eq!(only_notification(&busy), NotifyType::TEMPORARY_FAILURE);
    puppet.respond(&mut pair, &asked, vec![notify(NotifyType::TS_MAX_QUEUE)]);
    let second = puppet.ask(&mut pair, CREATE, request(&asked, SPIS[1]));
    assert_eq!(info(&second), Some(0_u32.to_be_bytes().to_vec()));
    for spi in 0x7100_0000..0x7100_0020 {
        let refused = puppet.ask(&mut pair, CREATE, request(&asked, spi));
        assert_eq!(only_notification(&refused), NotifyType::TS_MAX_QUEUE);
    }
    assert_eq!(outbound(&pair), [(0, SPIS[1]), (1, SPIS[0])]);
    assert_eq!(pair.nodes[0].plane.inbound.len(), 3);
}

#[test]
fn one_of_the_peer_must_be_like_the_first_one() {
    let (mut pair, mut puppet, asked) = connected(4);
    let mut other_cipher = request(&asked, SPIS[0]);
    let Payload::SecurityAssociation(offer) = &mut other_cipher[0] else { panic!("{other_cipher:?}") };
    // AES-GCM-16 with 128 bits, where the first one is ChaCha20-Poly1305.
    let aes = EspProposal::single(EspAead::Aes128Gcm16, Some(ike::DhGroup::X25519), true);
    let (mut aes_pair, mut aes_puppet) =
        Puppet::connected_with(4, PeerConfig { esp_proposals: vec![aes], ..patient_config() });
    aes_pair.rekey(0);
    let like = aes_puppet.next(&mut aes_pair);
    offer[0].transforms[0] = proposals(&like.payloads)[0].transforms[0].clone();
    let refused = puppet.ask(&mut pair, CREATE, other_cipher);
    assert_eq!(only_notification(&refused), NotifyType::NO_PROPOSAL_CHOSEN);

    // For other addresses it is no sibling of the first one, and there is no room for it.
    let mut elsewhere = request(&asked, SPIS[0]);
    let range = AddressRange::prefix("10.9.0.0".parse().unwrap(), 16).unwrap();
    for payload in &mut elsewhere {
        if let Payload::SelectorsInitiator(selectors) = payload {
            *selectors = vec![TrafficSelector::Range(Selector { addresses: range, ..Selector::ANY_IPV4 })];
        }
    }
    let refused = puppet.ask(&mut pair, CREATE, elsewhere);
    assert_eq!(only_notification(&refused), NotifyType::NO_ADDITIONAL_SAS);
    assert_eq!(outbound(&pair), []);
}

#[test]
fn one_that_cannot_be_rekeyed_ends_alone_and_is_replaced() {
    let config = PeerConfig {
        child_sas: 2,
        child_lifetime: Duration::from_mins(10),
        rekey_jitter: Duration::ZERO,
        rekey_margin: Duration::from_mins(5),
        ..patient_config()
    };
    let (mut pair, mut puppet) = Puppet::answering_auth(3, config, |request| {
        let proposal = Proposal { spi: FIRST_SPI.to_be_bytes().to_vec(), ..proposals(request)[0].clone() };
        let mut answer = vec![Payload::SecurityAssociation(vec![proposal]), notify(INFO)];
        answer.extend(any_selectors());
        answer
    });
    let mut spis = SPIS[0]..;
    let (mut deleted, mut everything) = (Vec::new(), FIRST_SPI);
    // The puppet lets everything be rekeyed, and new ones come, but no rekey of one of a resource.
    for _ in 0..20 * 60 * 10 {
        while let Some(asked) = puppet.try_next(&mut pair) {
            let old = asked.payloads.iter().find_map(|payload| match payload {
                Payload::Notify(one) if one.kind == NotifyType::REKEY_SA => one.esp_spi(),
                _ => None,
            });
            let is_of_resource = old.is_some() && info(&asked.payloads).is_some_and(|data| !data.is_empty());
            if asked.header.exchange != CREATE {
                deleted.extend(asked.payloads.clone());
                puppet.respond(&mut pair, &asked, vec![]);
            } else if is_of_resource {
                puppet.respond(&mut pair, &asked, vec![notify(NotifyType::NO_PROPOSAL_CHOSEN)]);
            } else {
                let spi = spis.next().unwrap();
                everything = if old.is_some() { spi } else { everything };
                accept(&mut pair, &mut puppet, &asked, spi);
            }
        }
        pair.run_for(TICK);
    }
    let status = pair.status(0);
    assert_eq!((status.state, status.child.unwrap().outbound_spi), (PeerState::Connected, everything));
    let first: Vec<_> = SPIS[..2].to_vec();
    let now: Vec<_> = status.resource_children.iter().map(|child| child.outbound_spi).collect();
    assert_eq!(now.len(), 2, "others have come in their place");
    assert!(now.iter().all(|spi| !first.contains(spi)) && deleted.len() >= 2, "{now:x?} {deleted:?}");
    assert_eq!(
        pair.nodes[0].states.len(),
        2,
        "the connection was up all the time: {:?}",
        pair.nodes[0].states
    );
}
