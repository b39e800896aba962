//! Work that takes its time: what waits for it, what does not, and what happens meanwhile.

use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ike::{
    ConnectionMode, Endpoint, EndpointConfig, Event, PeerConfig, PeerId, PeerState, Psk, Transmit, Work,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::sim::{ADDRESSES, PEER, PSK, Pair, cheap_config};

const WORK: Duration = Duration::from_millis(200);

fn slow(pair: &mut Pair) {
    pair.work_takes = Some(WORK..WORK + Duration::from_millis(1));
}

fn socket(index: usize) -> SocketAddr {
    SocketAddr::new(ADDRESSES[index], 500)
}

fn transmits(endpoint: &mut Endpoint) -> Vec<Transmit> {
    std::iter::from_fn(|| endpoint.poll_transmit()).collect()
}

/// A gateway and peers at other addresses, each an endpoint of its own.
fn hub(peers: u16) -> (Endpoint, Vec<(SocketAddr, Endpoint)>) {
    let now = Instant::now();
    let hub_address: IpAddr = "10.0.0.1".parse().unwrap();
    let rng = |seed| Box::new(StdRng::seed_from_u64(seed));
    let mut hub = Endpoint::new(EndpointConfig::default(), rng(1));
    let mut spokes = Vec::new();
    for number in 1..=peers {
        let [high, low] = number.to_be_bytes();
        let address = IpAddr::from([10, 1, high, low]);
        let config = |local, remote| PeerConfig { local, remote, ..cheap_config(0) };
        let local_id = |local: IpAddr, config: PeerConfig| PeerConfig { local_id: local.into(), ..config };
        let responder = PeerConfig { mode: ConnectionMode::Responder, ..config(hub_address, address) };
        hub.set_peer(now, PeerId(u32::from(number)), local_id(hub_address, responder));
        let mut spoke = Endpoint::new(EndpointConfig::default(), rng(100 + u64::from(number)));
        spoke.set_peer(now, PEER, local_id(address, config(address, hub_address)));
        spokes.push((SocketAddr::new(address, 500), spoke));
    }
    (hub, spokes)
}

/// Exchanges messages of a hub and one spoke until there are none, and counts them.
fn converse(now: Instant, hub: &mut Endpoint, spoke: &mut (SocketAddr, Endpoint)) -> usize {
    let hub_socket: SocketAddr = "10.0.0.1:500".parse().unwrap();
    let mut messages = 0;
    loop {
        spoke.1.run_work(now);
        let requests = transmits(&mut spoke.1);
        for request in &requests {
            hub.handle_datagram(now, hub_socket, spoke.0, &request.payload);
        }
        hub.run_work(now);
        let responses = transmits(hub);
        for response in &responses {
            spoke.1.handle_datagram(now, spoke.0, hub_socket, &response.payload);
        }
        if requests.is_empty() && responses.is_empty() {
            return messages;
        }
        messages += requests.len() + responses.len();
    }
}

#[test]
fn a_peer_connects_while_the_work_of_another_is_held_back() {
    let now = Instant::now();
    let (mut hub, mut spokes) = hub(2);
    let first = &mut spokes[0];
    first.1.run_work(now);
    let request = transmits(&mut first.1).remove(0);
    hub.handle_datagram(now, request.remote, first.0, &request.payload);
    let held: Work = hub.poll_work().expect("a request to answer");
    assert_eq!(converse(now, &mut hub, &mut spokes[1]), 4);
    assert_eq!(hub.status(PeerId(2)).unwrap().state, PeerState::Connected);
    assert_eq!(hub.status(PeerId(1)).unwrap().state, PeerState::NotConnected);
    hub.handle_done(now, held.run());
    let response = transmits(&mut hub).remove(0);
    let (address, spoke) = &mut spokes[0];
    spoke.handle_datagram(now, *address, request.remote, &response.payload);
    assert_eq!(converse(now, &mut hub, &mut spokes[0]), 2);
    assert_eq!(hub.status(PeerId(1)).unwrap().state, PeerState::Connected);
}

#[test]
fn a_standing_connection_goes_before_those_that_come_up() {
    let now = Instant::now();
    let (mut hub, mut spokes) = hub(5);
    converse(now, &mut hub, &mut spokes[0]);
    for (address, spoke) in &mut spokes[1..] {
        spoke.run_work(now);
        let request = transmits(spoke).remove(0);
        hub.handle_datagram(now, request.remote, *address, &request.payload);
    }
    hub.rekey_child(now, PeerId(1));
    hub.handle_timeout(now);
    let done = hub.poll_work().expect("five pieces").run();
    hub.handle_done(now, done);
    let first = transmits(&mut hub);
    assert_eq!(first[0].remote, spokes[0].0, "the rekey goes first");
}

#[test]
fn a_request_that_comes_again_while_it_is_answered_is_not_answered_twice() {
    let now = Instant::now();
    let (mut hub, mut spokes) = hub(1);
    let (address, spoke) = &mut spokes[0];
    spoke.run_work(now);
    let request = transmits(spoke).remove(0);
    for _ in 0..3 {
        hub.handle_datagram(now, request.remote, *address, &request.payload);
    }
    let work = hub.poll_work().expect("one request to answer");
    assert!(hub.poll_work().is_none());
    assert_eq!(hub.ike_sa_count(), 1, "it counts from the start");
    hub.handle_done(now, work.run());
    let response = transmits(&mut hub);
    assert_eq!(response.len(), 1);
    // Once it is answered, the very same answer comes again.
    hub.handle_datagram(now, request.remote, *address, &request.payload);
    hub.run_work(now);
    assert_eq!(transmits(&mut hub), response);
}

#[test]
fn datagrams_wait_for_the_sa_they_are_for_up_to_a_limit() {
    let mut pair = Pair::connected(1);
    pair.trace.clear();
    let now = pair.now;
    let local = [socket(0), socket(1)];
    // A liveness check by each end, held back at end 1.
    pair.cut();
    pair.rekey(0);
    let (_, request) = pair.trace.pop().unwrap();
    let endpoint = &mut pair.nodes[1].endpoint;
    endpoint.handle_datagram(now, local[1], local[0], &request);
    let held = endpoint.poll_work().unwrap();
    for _ in 0..1000 {
        endpoint.handle_datagram(now, local[1], local[0], &request);
    }
    assert!(endpoint.poll_work().is_none(), "the SA is away");
    endpoint.handle_done(now, held.run());
    let answer = transmits(endpoint).remove(0);
    endpoint.run_work(now);
    let repeated = transmits(endpoint);
    assert!((1..=128).contains(&repeated.len()), "{}", repeated.len());
    assert!(repeated.iter().all(|transmit| *transmit == answer));
}

#[test]
fn a_peer_is_removed_while_its_sa_is_away() {
    for keep in [true, false] {
        let mut pair = Pair::connected(2);
        slow(&mut pair);
        pair.rekey(0);
        let before = pair.status(0).child.unwrap();
        if keep {
            pair.act(0, |endpoint, now| endpoint.disconnect(now, PEER));
        } else {
            pair.act(0, |endpoint, now| endpoint.remove_peer(now, PEER));
        }
        let node = &pair.nodes[0];
        assert!(node.plane.inbound.is_empty() && node.plane.outbound.is_none(), "at once: {before:?}");
        let installed = node.plane.installed;
        pair.run_for(Duration::from_mins(2));
        assert_eq!(pair.nodes[0].plane.installed, installed, "nothing new comes of what was under way");
        assert_eq!(pair.state(1), PeerState::NotConnected);
        assert_eq!(pair.last_error(1), "peer deleted the IKE SA");
        assert!(pair.nodes.iter().all(|node| node.endpoint.ike_sa_count() == 0));
    }
}

#[test]
fn what_a_rekey_brings_after_the_connection_was_taken_down_is_not_installed() {
    // Work and ways take 200 and 10 ms: each end is taken down while it works on the other's message.
    for (index, at) in [(1, 300), (0, 500)] {
        let mut pair = Pair::connected(6);
        slow(&mut pair);
        pair.rekey(0);
        pair.run_for(Duration::from_millis(at));
        pair.act(index, |endpoint, now| endpoint.disconnect(now, PEER));
        let installed = pair.nodes[index].plane.installed;
        pair.run_for(Duration::from_mins(2));
        let plane = &pair.nodes[index].plane;
        assert!(plane.inbound.is_empty() && plane.outbound.is_none(), "end {index}");
        assert_eq!(plane.installed, installed, "end {index}");
        assert_ne!(pair.state(1 - index), PeerState::Connected);
        assert_eq!(pair.nodes[index].endpoint.ike_sa_count(), 0);
    }
}

#[test]
fn a_thousand_peers_connect_and_all_are_asked_whether_they_live() {
    let mut now = Instant::now();
    let (mut hub, mut spokes) = hub(1000);
    for spoke in &mut spokes {
        now += Duration::from_millis(1);
        converse(now, &mut hub, spoke);
    }
    let connected = |hub: &Endpoint| {
        let status = |number| hub.status(PeerId(number)).unwrap();
        (1..=1000).filter(|number| status(*number).state == PeerState::Connected).count()
    };
    assert_eq!((connected(&hub), hub.ike_sa_count()), (1000, 1000));
    // All checks come up within a second, as the connections did.
    now += Duration::from_secs(45);
    hub.handle_timeout(now);
    hub.run_work(now);
    assert_eq!(transmits(&mut hub).len(), 1000);
    assert!(hub.poll_timeout().is_some_and(|at| at > now));
}

#[test]
fn an_attempt_that_is_given_up_before_its_request_is_made_sends_nothing() {
    let mut pair = Pair::new(3);
    slow(&mut pair);
    pair.set_peer(0, cheap_config(0));
    pair.act(0, |endpoint, now| endpoint.disconnect(now, PEER));
    pair.run_for(Duration::from_mins(2));
    assert!(pair.trace.is_empty());
    assert_eq!(pair.nodes[0].endpoint.ike_sa_count(), 0);
    assert_eq!(pair.state(0), PeerState::NotConnected);
}

#[test]
fn a_key_that_changes_while_an_answer_is_computed_counts() {
    let mut pair = Pair::new(4);
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..cheap_config(1) });
    pair.set_peer(0, cheap_config(0));
    slow(&mut pair);
    pair.run_for(Duration::from_millis(100));
    pair.set_peer(
        1,
        PeerConfig { mode: ConnectionMode::Responder, auth: Psk::new("another").into(), ..cheap_config(1) },
    );
    pair.run_for(Duration::from_mins(3));
    assert_ne!(pair.state(1), PeerState::Connected);
    assert_eq!(pair.last_error(1), "authentication of peer failed: pre-shared keys differ?");
    pair.set_peer(
        1,
        PeerConfig { mode: ConnectionMode::Responder, auth: Psk::new(PSK).into(), ..cheap_config(1) },
    );
    pair.run_for(Duration::from_mins(3));
    pair.assert_settled();
}

#[test]
fn inbound_sas_are_announced_before_the_datagrams_that_let_the_peer_use_them() {
    let now = Instant::now();
    let (mut hub, mut spokes) = hub(1);
    let (address, spoke) = &mut spokes[0];
    let mut installed = 0;
    for _ in 0..2 {
        spoke.run_work(now);
        for request in transmits(spoke) {
            hub.handle_datagram(now, request.remote, *address, &request.payload);
        }
        let work = hub.poll_work().expect("a request to answer");
        let done = work.run();
        assert!(hub.poll_transmit().is_none(), "nothing leaves before the outcome is known");
        hub.handle_done(now, done);
        installed += std::iter::from_fn(|| hub.poll_event())
            .filter(|event| matches!(event, Event::InstallInbound { .. }))
            .count();
        for response in transmits(&mut hub) {
            spoke.handle_datagram(now, *address, response.local, &response.payload);
        }
    }
    assert_eq!(installed, 1);
}
