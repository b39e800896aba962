//! NAT between the ends.

use std::net::SocketAddr;
use std::time::Duration;

use ike::ConnectionMode;
use ike::PeerConfig;

use crate::sim::{ADDRESSES, NAT_ADDRESS, Nat, Pair, cheap_config};

/// End 0 connects from behind a NAT.
fn pair_behind_nat(seed: u64) -> Pair {
    let mut pair = Pair::new(seed);
    pair.nat = Some(Nat::default());
    pair.set_peer(1, PeerConfig { remote: NAT_ADDRESS, mode: ConnectionMode::Responder, ..cheap_config(1) });
    pair.set_peer(0, cheap_config(0));
    pair.run_for(Duration::from_secs(1));
    pair.assert_converged();
    pair
}

#[test]
fn a_nat_brings_port_4500_and_udp_encapsulation() {
    let mut pair = pair_behind_nat(1);
    for index in [0, 1] {
        let ike = pair.status(index).ike.unwrap();
        assert!(ike.nat_detected && ike.udp_encapsulation);
        let outbound = pair.nodes[index].plane.outbound.as_ref().unwrap();
        assert!(outbound.udp_encapsulation);
        assert_eq!(outbound.local.port(), 4500);
    }
    let outbound = pair.nodes[0].plane.outbound.as_ref().unwrap();
    assert_eq!(outbound.remote.port(), 4500);
    assert_eq!(pair.nodes[1].plane.outbound.as_ref().unwrap().remote.ip(), NAT_ADDRESS);
    pair.traffic = Some(Duration::from_millis(10));
    pair.run_for(Duration::from_secs(10));
    assert!(pair.esp_sent > 1000);
    assert_eq!(pair.esp_lost, 0);
}

#[test]
fn the_end_behind_the_nat_keeps_the_mapping_alive() {
    let mut pair = pair_behind_nat(2);
    pair.trace.clear();
    pair.run_for(Duration::from_secs(205));
    let keepalives =
        |index| pair.trace.iter().filter(|(from, octets)| *from == index && octets == &[0xff]).count();
    assert_eq!(keepalives(0), 10);
    assert_eq!(keepalives(1), 0);
}

#[test]
fn a_changed_mapping_is_followed_once_the_peer_proves_itself() {
    let mut pair = pair_behind_nat(3);
    let before = pair.status(1).remote.unwrap();
    pair.nat.as_mut().unwrap().forget();
    pair.run_for(Duration::from_secs(100));
    let after = pair.status(1).remote.unwrap();
    assert_ne!(before, after);
    assert_eq!(pair.nodes[1].plane.moves, 1);
    pair.assert_settled();
    pair.traffic = Some(Duration::from_millis(10));
    pair.run_for(Duration::from_secs(1));
    assert_eq!(pair.esp_lost, 0);
    // A rekey by the end that followed goes to the new mapping.
    pair.rekey(1);
    pair.run_for(Duration::from_secs(30));
    assert_eq!(pair.esp_lost, 0);
    assert_eq!(pair.nodes[1].plane.outbound.as_ref().unwrap().remote, after);
    pair.assert_settled();
}

#[test]
fn what_is_known_of_nats_and_fragments_outlives_a_rekey_of_the_ike_sa() {
    for index in [0, 1] {
        let mut pair = pair_behind_nat(7);
        let before = [0, 1].map(|index| pair.status(index).ike.unwrap());
        pair.rekey_ike(index);
        pair.run_for(Duration::from_mins(4));
        pair.assert_settled();
        for (index, before) in before.into_iter().enumerate() {
            let after = pair.status(index).ike.unwrap();
            assert_eq!((before.rekeys, after.rekeys), (0, 1));
            assert!(after.nat_detected && after.udp_encapsulation && after.fragmentation);
        }
        pair.trace.clear();
        pair.run_for(Duration::from_secs(65));
        let keepalives = |end| pair.trace.iter().filter(|sent| **sent == (end, vec![0xff])).count();
        assert_eq!([keepalives(0), keepalives(1)], [3, 0]);
        // The end that is not behind the NAT follows it.
        pair.nat.as_mut().unwrap().forget();
        pair.run_for(Duration::from_secs(100));
        assert_eq!(pair.nodes[1].plane.moves, 1);
        pair.rekey(1);
        pair.run_for(Duration::from_secs(30));
        pair.assert_settled();
        let outbound = [0, 1].map(|index: usize| pair.nodes[index].plane.outbound.as_ref().unwrap());
        assert!(outbound.iter().all(|sa| sa.udp_encapsulation));
        assert_eq!(outbound.map(|sa| sa.behind_nat), [true, false]);
    }
}

#[test]
fn messages_from_elsewhere_that_prove_nothing_move_nothing() {
    let mut pair = pair_behind_nat(4);
    let before = pair.status(1);
    let sent_by_0: Vec<_> = pair.trace.iter().filter(|(from, _)| *from == 0).cloned().collect();
    let local = "192.0.2.2:4500".parse().unwrap();
    let stranger = "198.51.100.66:4500".parse().unwrap();
    for (_, mut datagram) in sent_by_0 {
        pair.receive(1, local, stranger, &datagram);
        *datagram.last_mut().unwrap() ^= 1;
        pair.receive(1, local, stranger, &datagram);
    }
    assert_eq!(pair.status(1), before);
    assert_eq!(pair.nodes[1].plane.moves, 0);
}

#[test]
fn only_a_peer_behind_a_nat_is_followed_and_only_by_an_end_that_is_not() {
    // Without a NAT, and where the peer, too, seems to be behind one.
    let mut both = Pair::new(7);
    both.nat = Some(Nat::default());
    let answering = PeerConfig { remote: NAT_ADDRESS, mode: ConnectionMode::Responder, ..cheap_config(1) };
    both.set_peer(1, PeerConfig { force_udp_encapsulation: true, ..answering });
    both.set_peer(0, cheap_config(0));
    both.run_for(Duration::from_secs(1));
    both.assert_converged();
    for (mut pair, port) in [(Pair::connected(6), 500), (both, 4500)] {
        let before = pair.status(0).remote;
        pair.cut();
        pair.trace.clear();
        pair.rekey(1);
        assert!(pair.run_until(Duration::from_secs(10), |pair| !pair.trace.is_empty()));
        let (_, request) = pair.trace.remove(0);
        // On the way to end 0 somebody gives it another source.
        let local = SocketAddr::new(ADDRESSES[0], port);
        pair.receive(0, local, SocketAddr::new("198.51.100.66".parse().unwrap(), port), &request);
        let answered = |pair: &Pair| pair.trace.iter().any(|(from, _)| *from == 0);
        assert!(pair.run_until(Duration::from_secs(10), answered), "it is authentic");
        assert_eq!(pair.status(0).remote, before);
        assert_eq!(pair.nodes[0].plane.moves, 0);
    }
}

#[test]
fn encapsulation_can_be_forced_without_a_nat() {
    for forcing in [[true, false], [false, true], [true, true]] {
        let mut pair = Pair::new(5);
        let config = |index: usize| PeerConfig {
            force_udp_encapsulation: forcing[index],
            mode: [ConnectionMode::Default, ConnectionMode::Responder][index],
            ..cheap_config(index)
        };
        pair.set_peer(1, config(1));
        pair.set_peer(0, config(0));
        pair.run_for(Duration::from_mins(1));
        pair.assert_settled();
        for (node, other) in [(0, 1), (1, 0)] {
            let outbound = pair.nodes[node].plane.outbound.as_ref().unwrap();
            assert!(outbound.udp_encapsulation && !outbound.behind_nat, "{forcing:?}");
            assert_eq!((outbound.local.port(), outbound.remote.port()), (4500, 4500));
            assert_eq!(outbound.remote.ip(), ADDRESSES[other]);
        }
    }
}

#[test]
fn without_a_nat_nothing_is_encapsulated() {
    let pair = Pair::connected(6);
    for node in &pair.nodes {
        assert!(!node.plane.outbound.as_ref().unwrap().udp_encapsulation);
    }
}
