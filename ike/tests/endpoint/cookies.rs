//! Cookies of a responder under load (RFC 7296 §2.6).

use std::net::SocketAddr;
use std::time::Duration;

use ike::wire::{Message, Notify, NotifyType, Payload};
use ike::{ConnectionMode, DhGroup, EndpointConfig, IkeProposal, PeerConfig, PeerId};

use crate::sim::{ADDRESSES, PEER, Pair, cheap_config};

fn socket(index: usize) -> SocketAddr {
    SocketAddr::new(ADDRESSES[index], 500)
}

fn always() -> EndpointConfig {
    EndpointConfig { cookie_threshold: 0, ..EndpointConfig::default() }
}

/// An end 1 that answers under this configuration, and a request of end 0.
fn asked(config: &EndpointConfig) -> (Pair, Message) {
    let mut pair = Pair::with(1, config);
    pair.cut();
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..cheap_config(1) });
    pair.set_peer(0, cheap_config(0));
    let request = Message::parse(&pair.trace.pop().unwrap().1).unwrap();
    (pair, request)
}

/// What end 1 answers to a request from a source.
fn answer(pair: &mut Pair, source: SocketAddr, request: &Message) -> Option<Message> {
    pair.trace.clear();
    let request = request.encode();
    pair.receive(1, socket(1), source, &request);
    assert!(pair.trace.len() <= 1);
    let (_, answer) = pair.trace.pop()?;
    let message = Message::parse(&answer).unwrap();
    if cookie(&message).is_some() {
        assert!(answer.len() < request.len(), "an answer to anybody is shorter than the request");
    }
    Some(message)
}

fn cookie(answer: &Message) -> Option<Payload> {
    match answer.payloads.as_slice() {
        [Payload::Notify(notify)] if notify.kind == NotifyType::COOKIE => {
            Some(Payload::Notify(notify.clone()))
        }
        _ => None,
    }
}

fn with_cookie(request: &Message, cookie: Payload) -> Message {
    let payloads = std::iter::once(cookie).chain(request.payloads.iter().cloned()).collect();
    Message { payloads, ..request.clone() }
}

#[test]
fn ends_that_always_demand_cookies_connect() {
    for seed in 0..20 {
        let mut pair = Pair::with(seed, &always());
        pair.set_peer(0, cheap_config(0));
        pair.set_peer(1, cheap_config(1));
        pair.run_for(Duration::from_mins(1));
        pair.assert_settled();
        assert!(pair.nodes.iter().all(|node| node.states.len() <= 2));
    }
}

#[test]
fn a_request_without_the_right_cookie_leaves_no_state() {
    let (mut pair, request) = asked(&always());
    let demanded = cookie(&answer(&mut pair, socket(0), &request).unwrap()).unwrap();
    let count = |pair: &Pair| pair.nodes[1].endpoint.ike_sa_count();
    assert_eq!(count(&pair), 0);
    assert!(pair.nodes[1].endpoint.poll_work().is_none(), "nothing is computed");
    let wrong = Payload::Notify(Notify::new(NotifyType::COOKIE, *b"biscuit"));
    let again = answer(&mut pair, socket(0), &with_cookie(&request, wrong)).unwrap();
    assert_eq!(cookie(&again).as_ref(), Some(&demanded));
    // From another port, with another SPI or with another nonce it is not worth anything.
    let proven = with_cookie(&request, demanded);
    let elsewhere = SocketAddr::new(ADDRESSES[0], 501);
    assert!(cookie(&answer(&mut pair, elsewhere, &proven).unwrap()).is_some());
    let mut other = proven.clone();
    other.header.spi_i ^= 1;
    assert!(cookie(&answer(&mut pair, socket(0), &other).unwrap()).is_some());
    let mut other = proven.clone();
    for payload in &mut other.payloads {
        if let Payload::Nonce(nonce) = payload {
            nonce[0] ^= 1;
        }
    }
    assert!(cookie(&answer(&mut pair, socket(0), &other).unwrap()).is_some());
    assert_eq!(count(&pair), 0);
    let accepted = answer(&mut pair, socket(0), &proven).unwrap();
    assert_ne!(accepted.header.spi_r, 0);
    assert_eq!(count(&pair), 1);
}

#[test]
fn a_cookie_is_good_for_a_minute_and_not_for_ever() {
    let (mut pair, request) = asked(&always());
    pair.act(0, |endpoint, now| endpoint.disconnect(now, PEER));
    let demanded = cookie(&answer(&mut pair, socket(0), &request).unwrap()).unwrap();
    let proven = with_cookie(&request, demanded);
    pair.run_for(Duration::from_secs(70));
    assert_ne!(answer(&mut pair, socket(0), &proven).unwrap().header.spi_r, 0);
    pair.run_for(Duration::from_mins(1));
    assert!(cookie(&answer(&mut pair, socket(0), &proven).unwrap()).is_some());
}

#[test]
fn half_open_sas_are_limited_over_all_sources() {
    let no_cookies = EndpointConfig { cookie_threshold: 100, ..EndpointConfig::default() };
    let (mut pair, mut request) = asked(&EndpointConfig { max_half_open: 3, ..no_cookies });
    pair.act(0, |endpoint, now| endpoint.disconnect(now, PEER));
    for spi_i in 1..=5 {
        request.header.spi_i = spi_i;
        assert_eq!(answer(&mut pair, socket(0), &request).is_some(), spi_i <= 3);
    }
    assert_eq!(pair.nodes[1].endpoint.ike_sa_count(), 3);
    pair.run_for(Duration::from_mins(1));
    assert!(answer(&mut pair, socket(0), &request).is_some(), "they are forgotten");
}

#[test]
fn a_request_without_a_nonce_or_shorter_than_the_answer_gets_none() {
    let (mut pair, mut request) = asked(&always());
    request.payloads = vec![Payload::Nonce(vec![7; 16])];
    assert!(answer(&mut pair, socket(0), &request).is_none());
    request.payloads = vec![Payload::Notify(Notify::new(NotifyType::COOKIE, [1; 64]))];
    assert!(answer(&mut pair, socket(0), &request).is_none());
}

#[test]
fn cookies_are_demanded_from_the_threshold_on() {
    let threshold = 5;
    let config = EndpointConfig { cookie_threshold: threshold, ..EndpointConfig::default() };
    let (mut pair, mut request) = asked(&config);
    // As many peers as it takes, so that no single source is conspicuous.
    for number in 1..=20_u8 {
        let remote = [10, 77, 0, number].into();
        let peer = PeerConfig { remote, mode: ConnectionMode::Responder, ..cheap_config(1) };
        let id = PeerId(100 + u32::from(number));
        pair.act(1, |endpoint, now| endpoint.set_peer(now, id, peer));
        request.header.spi_i = u64::from(number);
        let source = SocketAddr::new(remote, 500);
        let is_demanded = cookie(&answer(&mut pair, source, &request).unwrap()).is_some();
        assert_eq!(is_demanded, usize::from(number) > threshold, "{number}");
    }
    assert_eq!(pair.nodes[1].endpoint.ike_sa_count(), threshold);
    // When those have gone, none is demanded any more.
    pair.run_for(Duration::from_mins(1));
    request.header.spi_i = 1000;
    assert!(cookie(&answer(&mut pair, socket(0), &request).unwrap()).is_none());
}

#[test]
fn forged_requests_do_not_keep_the_true_peer_out() {
    let (mut pair, mut forged) = asked(&EndpointConfig::default());
    for spi_i in 1..=1000 {
        forged.header.spi_i = spi_i;
        answer(&mut pair, socket(0), &forged);
    }
    let limit = EndpointConfig::default().max_half_open_per_source;
    assert_eq!(pair.nodes[1].endpoint.ike_sa_count(), limit / 2);
    pair.conditions = crate::sim::Conditions::PERFECT;
    pair.run_for(Duration::from_secs(2));
    pair.assert_converged();
}

#[test]
fn a_source_that_proves_itself_is_limited_all_the_same() {
    let (mut pair, mut request) = asked(&EndpointConfig::default());
    for spi_i in 1..=100 {
        request.header.spi_i = spi_i;
        let answered = answer(&mut pair, socket(0), &request);
        if let Some(cookie) = answered.as_ref().and_then(cookie) {
            answer(&mut pair, socket(0), &with_cookie(&request, cookie));
        }
    }
    let limit = EndpointConfig::default().max_half_open_per_source;
    assert_eq!(pair.nodes[1].endpoint.ike_sa_count(), limit);
}

#[test]
fn a_cookie_and_another_group_are_demanded_of_one_attempt() {
    let mut pair = Pair::with(1, &always());
    let groups = |index, groups: &[DhGroup]| PeerConfig {
        ike_proposals: vec![IkeProposal { groups: groups.to_vec(), ..IkeProposal::default_profile() }],
        ..cheap_config(index)
    };
    let responder = groups(1, &[DhGroup::Ecp256]);
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..responder });
    pair.set_peer(0, groups(0, &[DhGroup::X25519, DhGroup::Ecp256]));
    pair.run_for(Duration::from_secs(1));
    pair.assert_settled();
    assert!(pair.status(0).ike.unwrap().proposal.ends_with("ecp256"));
    let messages: Vec<_> = pair.trace.iter().filter_map(|(_, sent)| Message::parse(sent).ok()).collect();
    // Request, cookie, request with cookie, other group, request with cookie and other group, answer.
    assert_eq!(messages.len(), 6);
    let requests: Vec<_> = messages.iter().filter(|message| !message.header.response).collect();
    let nonces = |message: &Message| {
        message.payloads.iter().find_map(|payload| match payload {
            Payload::Nonce(nonce) => Some(nonce.clone()),
            _ => None,
        })
    };
    assert!(requests.iter().all(|request| nonces(request) == nonces(requests[0])), "one nonce");
    assert_eq!(requests[2].payloads[0], requests[1].payloads[0], "the cookie stays with the other group");
    assert!(requests.iter().all(|request| request.header.spi_i == requests[0].header.spi_i));
}

#[test]
fn another_group_is_demanded_before_a_cookie() {
    // A responder that comes under load between the two requests.
    let (mut pair, request) = asked(&EndpointConfig { cookie_threshold: 1, ..EndpointConfig::default() });
    let ecp = IkeProposal { groups: vec![DhGroup::Ecp256], ..IkeProposal::default_profile() };
    let mode = ConnectionMode::Responder;
    pair.set_peer(1, PeerConfig { ike_proposals: vec![ecp], mode, ..cheap_config(1) });
    let both =
        IkeProposal { groups: vec![DhGroup::X25519, DhGroup::Ecp256], ..IkeProposal::default_profile() };
    pair.set_peer(0, PeerConfig { ike_proposals: vec![both], ..cheap_config(0) });
    let (_, first) = pair.trace.last().cloned().unwrap();
    pair.trace.clear();
    pair.receive(1, socket(1), socket(0), &first);
    let (_, other_group) = pair.trace.pop().unwrap();
    // Another peer's half-open SA.
    let remote = [10, 77, 0, 1].into();
    let peer = PeerConfig { remote, mode, ..cheap_config(1) };
    pair.act(1, |endpoint, now| endpoint.set_peer(now, PeerId(7), peer));
    assert!(cookie(&answer(&mut pair, SocketAddr::new(remote, 500), &request).unwrap()).is_none());
    pair.conditions = crate::sim::Conditions::PERFECT;
    pair.receive(0, socket(0), socket(1), &other_group);
    pair.run_for(Duration::from_secs(1));
    pair.assert_converged();
    let demanded = pair.trace.iter().filter_map(|(_, sent)| Message::parse(sent).ok());
    assert_eq!(demanded.filter(|message| cookie(message).is_some()).count(), 1);
}
