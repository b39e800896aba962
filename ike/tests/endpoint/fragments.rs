//! Messages in fragments (RFC 7383).

use std::collections::BTreeSet;
use std::time::Duration;

use ike::wire::{
    ExchangeType, Header, Message, Notify, NotifyType, Payload, SealedFragment, SealedMessage, Selector,
};
use ike::{ConnectionMode, EndpointConfig, Identity, PeerConfig, PeerState};
use rand::RngExt;

use crate::rogue::{Rogue, socket};
use crate::sim::{Conditions, Pair, cheap_config, ike_message};

/// A configuration for end `index` whose IKE_AUTH message takes several fragments.
fn large_config(index: usize) -> PeerConfig {
    let local_id = Identity::Fqdn(["a", "b"][index].repeat(4000));
    PeerConfig { local_id, ..cheap_config(index) }
}

/// Two ends with large messages, where end 0 initiates.
fn large(seed: u64) -> Pair {
    let mut pair = Pair::new(seed);
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..large_config(1) });
    pair.set_peer(0, large_config(0));
    pair
}

fn is_fragment(datagram: &[u8]) -> bool {
    SealedFragment::parse(ike_message(datagram)).is_ok()
}

/// The fragments that end `index` has sent so far.
fn fragments_of(pair: &Pair, index: usize) -> Vec<Vec<u8>> {
    let sent = pair.trace.iter().filter(|(from, datagram)| *from == index && is_fragment(datagram));
    sent.map(|(_, datagram)| datagram.clone()).collect()
}

/// What end `index` sends when these datagrams of the other end arrive.
fn answers(pair: &mut Pair, index: usize, datagrams: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let before = pair.trace.len();
    for datagram in datagrams {
        pair.receive(index, socket(index), socket(1 - index), datagram);
    }
    pair.trace[before..].iter().map(|(_, datagram)| datagram.clone()).collect()
}

/// End 0 has sent its IKE_AUTH in fragments, which did not arrive.
fn waiting_for_auth(seed: u64) -> (Pair, Vec<Vec<u8>>) {
    let mut pair = large(seed);
    pair.run_until(Duration::from_secs(1), |pair| !fragments_of(pair, 0).is_empty());
    pair.cut();
    let request = fragments_of(&pair, 0);
    assert_eq!(request.len(), 4);
    (pair, request)
}

#[test]
fn large_messages_go_in_fragments_both_ways_and_others_whole() {
    let mut pair = large(1);
    pair.run_for(Duration::from_secs(1));
    pair.rekey(0);
    pair.run_for(Duration::from_mins(1));
    pair.assert_settled();
    assert!(pair.status(0).ike.unwrap().fragmentation && pair.status(1).ike.unwrap().fragmentation);
    let ip_and_udp = 28;
    for (_, datagram) in &pair.trace {
        assert!(ip_and_udp + datagram.len() <= EndpointConfig::default().fragment_size);
        let (header, _) = Header::parse(datagram).unwrap();
        assert_eq!(is_fragment(datagram), header.exchange == ExchangeType::IKE_AUTH);
    }
    for index in [0, 1] {
        let fragments = fragments_of(&pair, index);
        assert_eq!(fragments.len(), 4);
        let ivs: BTreeSet<_> = fragments.iter().map(|datagram| &datagram[36..44]).collect();
        assert_eq!(ivs.len(), 4, "each fragment has an IV of its own");
    }
}

#[test]
fn fragments_on_port_4500_are_no_larger() {
    let mut pair = Pair::new(2);
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..large_config(1) });
    pair.set_peer(0, PeerConfig { force_udp_encapsulation: true, ..large_config(0) });
    pair.run_for(Duration::from_mins(1));
    pair.assert_settled();
    let lengths: BTreeSet<_> = fragments_of(&pair, 0).iter().map(Vec::len).collect();
    assert_eq!(lengths.last(), Some(&(1280 - 28)));
    assert!(fragments_of(&pair, 0).iter().all(|datagram| datagram[..4] == [0; 4]));
}

#[test]
fn lost_doubled_and_reordered_fragments_still_connect() {
    for seed in 0..20 {
        let mut pair = large(seed);
        pair.conditions = if seed % 2 == 0 { Conditions::BAD } else { Conditions::REORDERING };
        let connected = pair.run_until(Duration::from_mins(10), Pair::is_converged);
        assert!(connected, "seed {seed}: {:#?}", pair.status(0));
        pair.conditions = Conditions::PERFECT;
        pair.run_for(Duration::from_mins(5));
        pair.assert_settled();
    }
}

#[test]
fn fragments_are_sent_again_octet_by_octet() {
    let (mut pair, request) = waiting_for_auth(3);
    pair.run_for(Duration::from_secs(10));
    let sent = fragments_of(&pair, 0);
    assert!(sent.len() >= 4 * request.len());
    for transmission in sent.chunks(request.len()) {
        assert_eq!(transmission, request);
    }
}

#[test]
fn the_first_fragment_of_a_repeated_request_brings_the_response_again_and_no_other_does() {
    let (mut pair, request) = waiting_for_auth(4);
    let response = answers(&mut pair, 1, &request);
    assert_eq!(response.len(), 4);
    assert!(response.iter().all(|datagram| is_fragment(datagram)));
    for (index, fragment) in request.iter().enumerate() {
        let again = answers(&mut pair, 1, std::slice::from_ref(fragment));
        assert_eq!(again, if index == 0 { response.clone() } else { Vec::new() });
    }
}

#[test]
fn fragments_may_come_in_any_order_and_more_than_once() {
    let (mut pair, request) = waiting_for_auth(5);
    let shuffled = [3, 0, 3, 2, 0].map(|index| request[index].clone());
    assert_eq!(answers(&mut pair, 1, &shuffled), Vec::<Vec<u8>>::new());
    let response = answers(&mut pair, 1, &request[1..2]);
    assert_eq!(response.len(), 4);
    let reversed: Vec<_> = response.into_iter().rev().collect();
    assert_eq!(pair.state(0), PeerState::Connecting);
    answers(&mut pair, 0, &reversed);
    assert_eq!(pair.state(0), PeerState::Connected);
}

#[test]
fn forged_and_truncated_fragments_change_nothing() {
    let (mut pair, request) = waiting_for_auth(6);
    for fragment in &request {
        for _ in 0..200 {
            let mut forged = fragment.clone();
            if pair.rng.random_bool(0.3) {
                forged.truncate(pair.rng.random_range(28..fragment.len()));
                let len = u32::try_from(forged.len()).unwrap();
                forged[24..28].copy_from_slice(&len.to_be_bytes());
            } else {
                // The version stays: a newer one is answered.
                let at = pair.rng.random_range(1..fragment.len());
                let at = if at == 17 { 0 } else { at };
                forged[at] ^= 1 << pair.rng.random_range(0..8);
            }
            assert_eq!(answers(&mut pair, 1, &[forged]), Vec::<Vec<u8>>::new());
        }
        if Some(fragment) != request.last() {
            assert_eq!(answers(&mut pair, 1, std::slice::from_ref(fragment)), Vec::<Vec<u8>>::new());
        }
    }
    assert_eq!(answers(&mut pair, 1, &request[3..]).len(), 4);
    assert_eq!(pair.state(1), PeerState::Connected);
}

#[test]
fn fragments_that_stay_alone_are_forgotten() {
    let (mut pair, request) = waiting_for_auth(7);
    let mut half_open = EndpointConfig::default().half_open_timeout;
    answers(&mut pair, 1, &request[..3]);
    half_open += Duration::from_secs(1);
    pair.run_for(half_open);
    assert_eq!(pair.nodes[1].endpoint.ike_sa_count(), 0);
    assert_eq!(answers(&mut pair, 1, &request), Vec::<Vec<u8>>::new());
}

/// An established SA between end 0, with this configuration, and a peer made by hand.
fn established(config: PeerConfig, fragmentation: bool) -> (Pair, Rogue) {
    let mut pair = Pair::new(8);
    pair.cut();
    pair.set_peer(0, config);
    let supported = Payload::Notify(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, []));
    let more = if fragmentation { vec![supported] } else { Vec::new() };
    let rogue = Rogue::answer_init_with(&mut pair, more);
    rogue.authenticate(&mut pair, Selector::ANY_IPV4);
    assert_eq!(pair.state(0), PeerState::Connected);
    (pair, rogue)
}

/// A liveness check of the peer made by hand, with a padding that makes it large.
fn probe(rogue: &Rogue, message_id: u32) -> Message {
    let exchange = ExchangeType::INFORMATIONAL;
    let header = Header { exchange, response: false, message_id, ..rogue.header };
    Message { header, payloads: vec![Payload::VendorId(vec![1; 1000])] }
}

/// Its datagrams, in fragments of at most `largest` octets.
fn cut_into(rogue: &Rogue, message: &Message, largest: usize) -> Vec<Vec<u8>> {
    let mut count = largest as u64 * 1000;
    let next_number = || {
        count += 1;
        count
    };
    message.seal_within(&rogue.cipher, next_number, largest)
}

#[test]
fn a_peer_without_support_gets_no_fragments_and_may_send_none() {
    let (mut pair, rogue) = established(large_config(0), false);
    assert!(!pair.status(0).ike.unwrap().fragmentation);
    assert_eq!(fragments_of(&pair, 0), Vec::<Vec<u8>>::new());
    let (_, request) = pair.trace.last().unwrap();
    assert!(SealedMessage::parse(request).is_ok() && request.len() > 4000);
    assert_eq!(answers(&mut pair, 0, &cut_into(&rogue, &probe(&rogue, 0), 300)), Vec::<Vec<u8>>::new());
    assert_eq!(answers(&mut pair, 0, &cut_into(&rogue, &probe(&rogue, 0), 3000)).len(), 1);
}

#[test]
fn a_repeated_request_may_be_cut_differently_or_not_at_all() {
    let (mut pair, rogue) = established(cheap_config(0), true);
    let message = probe(&rogue, 0);
    let response = answers(&mut pair, 0, &cut_into(&rogue, &message, 500));
    assert_eq!(response.len(), 1);
    for largest in [300, 700, 3000] {
        let other = cut_into(&rogue, &message, largest);
        assert_eq!(answers(&mut pair, 0, &other[..1]), response);
        assert_eq!(answers(&mut pair, 0, &other[1..]), Vec::<Vec<u8>>::new());
    }
    // The next request works as ever.
    assert_eq!(answers(&mut pair, 0, &cut_into(&rogue, &probe(&rogue, 1), 300)).len(), 1);
}

#[test]
fn smaller_fragments_replace_larger_ones_that_did_not_all_arrive() {
    let (mut pair, rogue) = established(cheap_config(0), true);
    let message = probe(&rogue, 0);
    let (large, small) = (cut_into(&rogue, &message, 500), cut_into(&rogue, &message, 300));
    assert_eq!(answers(&mut pair, 0, &large[1..]), Vec::<Vec<u8>>::new());
    assert_eq!(answers(&mut pair, 0, &small[1..]), Vec::<Vec<u8>>::new());
    // Those of the larger kind count no more.
    assert_eq!(answers(&mut pair, 0, &large), Vec::<Vec<u8>>::new());
    assert_eq!(answers(&mut pair, 0, &small[..1]).len(), 1);
}

#[test]
fn a_request_may_come_whole_after_some_of_its_fragments() {
    let (mut pair, rogue) = established(cheap_config(0), true);
    let message = probe(&rogue, 0);
    assert_eq!(answers(&mut pair, 0, &cut_into(&rogue, &message, 300)[..2]), Vec::<Vec<u8>>::new());
    assert_eq!(answers(&mut pair, 0, &cut_into(&rogue, &message, 3000)).len(), 1);
    assert_eq!(answers(&mut pair, 0, &cut_into(&rogue, &probe(&rogue, 1), 300)).len(), 1);
}

#[test]
fn fragments_for_an_unknown_sa_cost_nothing() {
    let (mut pair, request) = waiting_for_auth(9);
    for fragment in &request {
        let mut unknown = fragment.clone();
        unknown[8] ^= 1;
        assert_eq!(answers(&mut pair, 1, &[unknown]), Vec::<Vec<u8>>::new());
    }
    assert_eq!(pair.nodes[1].endpoint.ike_sa_count(), 1);
}
