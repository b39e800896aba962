//! Child SAs of single resources (RFC 9611), beside the one for everything.

use std::collections::BTreeSet;
use std::time::Duration;

use ike::wire::{ExchangeType, Header};
use ike::{ChildStatus, ConnectionMode, PeerConfig, PeerState};

use crate::sim::{Conditions, PEER, Pair, cheap_config, ike_message};

/// Longer than an end leaves it to the other one to ask.
const A_WHILE: Duration = Duration::from_secs(40);

/// Two ends that want so many Child SAs of resources each; the first one begins.
fn pair(seed: u64, wanted: [u16; 2]) -> Pair {
    let mut pair = Pair::new(seed);
    let responder = PeerConfig { mode: ConnectionMode::Responder, ..config(1, wanted[1]) };
    pair.set_peer(1, responder);
    pair.set_peer(0, config(0, wanted[0]));
    pair
}

fn config(index: usize, child_sas: u16) -> PeerConfig {
    PeerConfig { child_sas, ..cheap_config(index) }
}

/// Four at both ends, with a packet per ten milliseconds on each SA in both directions.
fn busy_pair(seed: u64) -> Pair {
    let mut pair = pair(seed, [4, 4]);
    pair.run_for(A_WHILE);
    assert_complete(&pair, 4);
    pair.conditions = Conditions::REORDERING;
    pair.traffic = Some(Duration::from_millis(10));
    pair.run_for(Duration::from_millis(300));
    pair
}

/// Both SPIs of a Child SA, those of the first end first.
fn spis(index: usize, child: &ChildStatus) -> (u32, u32) {
    let ChildStatus { inbound_spi, outbound_spi, .. } = *child;
    if index == 0 { (inbound_spi, outbound_spi) } else { (outbound_spi, inbound_spi) }
}

fn of_resources(pair: &Pair, index: usize) -> BTreeSet<(u32, u32)> {
    pair.status(index).resource_children.iter().map(|child| spis(index, child)).collect()
}

/// Both ends have the same Child SAs of `count` resources, and each receives what the other sends with them.
#[track_caller]
fn assert_complete(pair: &Pair, count: usize) {
    pair.assert_converged();
    assert_eq!(of_resources(pair, 0), of_resources(pair, 1));
    for (index, node) in pair.nodes.iter().enumerate() {
        let children = pair.status(index).resource_children;
        let numbers: Vec<_> = children.iter().map(|child| child.resource).collect();
        assert_eq!(numbers, (0..count as u32).map(Some).collect::<Vec<_>>());
        let outbound: Vec<_> = node.plane.of_resources.values().map(|sa| sa.spi).collect();
        assert_eq!(outbound, children.iter().map(|child| child.outbound_spi).collect::<Vec<_>>());
        for sa in node.plane.carrying() {
            assert!(pair.nodes[1 - index].plane.receives(sa), "{sa:?}");
        }
    }
}

/// As [`assert_complete`], and nothing is left over from the way there.
#[track_caller]
fn assert_clean(pair: &Pair, count: usize) {
    assert_complete(pair, count);
    for node in &pair.nodes {
        assert_eq!(node.endpoint.ike_sa_count(), 1);
        assert_eq!(node.plane.inbound.len(), 1 + count, "{:?}", node.plane.inbound);
    }
}

/// Requests for Child SAs that an end has sent, repeated ones as one.
fn requests(pair: &Pair, index: usize) -> usize {
    let request = |datagram: &[u8]| {
        let (header, _) = Header::parse(ike_message(datagram)).ok()?;
        let is_request = header.exchange == ExchangeType::CREATE_CHILD_SA && !header.response;
        is_request.then_some((header.spi_i, header.message_id))
    };
    let sent = pair.trace.iter().filter(|(from, _)| *from == index);
    sent.filter_map(|(_, datagram)| request(datagram)).collect::<BTreeSet<_>>().len()
}

#[test]
fn each_resource_gets_a_child_sa_of_its_own_beside_the_one_for_everything() {
    for seed in 0..6 {
        let mut pair = pair(seed, [4, 4]);
        // What the first Child SA loses while only one end has it is not the question.
        assert!(pair.run_until(Duration::from_secs(1), Pair::is_converged));
        pair.traffic = Some(Duration::from_millis(1));
        pair.run_for(A_WHILE);
        assert_clean(&pair, 4);
        assert_eq!(pair.esp_lost, 0, "of {} packets", pair.esp_sent);
        assert_eq!([requests(&pair, 0), requests(&pair, 1)], [4, 0], "the initiator asks");
        let status = pair.status(0);
        assert!(status.ike.unwrap().resource_children);
        let first = status.child.unwrap();
        assert_eq!(first.resource, None);
        for child in status.resource_children {
            assert_eq!(child.proposal.replace("-x25519", ""), first.proposal);
            assert_eq!(child.local_selectors, first.local_selectors);
        }
    }
}

#[test]
fn the_lower_number_of_both_ends_counts_and_nobody_asks_on() {
    for (seed, wanted, asked) in [(1, [8, 3], [4, 0]), (2, [3, 8], [3, 1]), (3, [16, 16], [16, 0])] {
        let mut pair = pair(seed, wanted);
        pair.run_for(Duration::from_mins(40));
        assert_clean(&pair, usize::from(wanted[0].min(wanted[1])));
        // The one more request is answered with TS_MAX_QUEUE.
        assert_eq!([requests(&pair, 0), requests(&pair, 1)], asked, "{wanted:?}");
        assert_eq!(pair.last_error(0) + &pair.last_error(1), "", "that is no error");
    }
}

#[test]
fn the_peer_knows_at_once_that_the_last_one_has_come_about() {
    let mut pair = pair(7, [4, 4]);
    pair.run_for(Duration::from_secs(1));
    assert_clean(&pair, 4);
    // It could not rekey what we might not know of.
    pair.rekey(1);
    pair.run_for(Duration::from_secs(2));
    assert!(pair.status(1).resource_children.iter().all(|child| child.rekeys == 1));
}

#[test]
fn an_end_may_want_more_than_there_can_be() {
    let mut pair = pair(4, [1000, u16::MAX]);
    pair.run_for(A_WHILE);
    assert_clean(&pair, usize::from(PeerConfig::MAX_CHILD_SAS));
}

#[test]
fn without_a_wish_of_both_ends_there_is_one_child_sa() {
    for (seed, wanted) in [(1, [4, 1]), (2, [1, 4]), (3, [0, 4]), (4, [1, 1])] {
        let mut pair = pair(seed, wanted);
        pair.run_for(Duration::from_mins(30));
        pair.assert_settled();
        assert_complete(&pair, 0);
        assert_eq!([requests(&pair, 0), requests(&pair, 1)], [0, 0], "{wanted:?}");
        assert!(!pair.status(0).ike.unwrap().resource_children);
    }
}

#[test]
fn both_ends_at_once_come_to_the_same_child_sas_also_on_a_bad_network() {
    for seed in 0..60 {
        let mut pair = Pair::new(seed);
        pair.conditions = if seed % 2 == 0 { Conditions::REORDERING } else { Conditions::BAD };
        pair.set_peer(0, config(0, 4));
        pair.set_peer(1, config(1, 4));
        pair.run_for(Duration::from_secs(30));
        pair.conditions = Conditions::PERFECT;
        pair.run_for(Duration::from_mins(6));
        assert_clean(&pair, 4);
    }
}

#[test]
fn a_rekey_of_all_loses_no_packet_and_leaves_each_resource_its_own() {
    for seed in 0..10 {
        let mut pair = busy_pair(seed);
        let before = [0, 1].map(|index| of_resources(&pair, index));
        pair.rekey(seed as usize % 2);
        if seed >= 5 {
            pair.rekey(1 - seed as usize % 2);
        }
        pair.run_for(Duration::from_secs(12));
        assert_eq!(pair.esp_lost, 0, "of {} packets", pair.esp_sent);
        pair.traffic = None;
        pair.conditions = Conditions::PERFECT;
        pair.run_for(Duration::from_mins(1));
        assert_clean(&pair, 4);
        for (index, before) in before.iter().enumerate() {
            assert!(before.is_disjoint(&of_resources(&pair, index)), "each was rekeyed");
            assert!(pair.status(index).resource_children.iter().all(|child| child.rekeys >= 1));
        }
    }
}

#[test]
fn one_of_them_is_rekeyed_by_either_of_its_spis() {
    for (seed, inbound) in [(1, true), (2, false)] {
        let mut pair = busy_pair(seed);
        let third = pair.status(0).resource_children[2].clone();
        let spi = if inbound { third.inbound_spi } else { third.outbound_spi };
        pair.act(0, |endpoint, now| endpoint.rekey_child_sa(now, PEER, spi));
        pair.run_for(Duration::from_secs(20));
        assert_complete(&pair, 4);
        let rekeys: Vec<_> = pair.status(1).resource_children.iter().map(|child| child.rekeys).collect();
        let renewed = pair.status(0).resource_children;
        assert_eq!((rekeys.iter().sum::<u64>(), renewed[2].rekeys), (1, 1));
        assert_eq!(pair.status(0).child.unwrap().rekeys, 0);
        assert_eq!(pair.esp_lost, 0, "of {} packets", pair.esp_sent);
    }
}

#[test]
fn a_rekey_of_the_ike_sa_leaves_them_as_they_are() {
    for seed in 0..4 {
        let mut pair = busy_pair(seed);
        let before = [0, 1].map(|index| of_resources(&pair, index));
        pair.rekey_ike(seed as usize % 2);
        pair.run_for(Duration::from_secs(5));
        assert_complete(&pair, 4);
        assert_eq!(pair.status(0).ike.unwrap().rekeys, 1);
        assert_eq!([0, 1].map(|index| of_resources(&pair, index)), before);
        assert_eq!(pair.esp_lost, 0, "of {} packets", pair.esp_sent);
    }
}

#[test]
fn lifetimes_bring_rekeys_of_each_by_themselves() {
    let short = |index| PeerConfig {
        child_lifetime: Duration::from_secs(30),
        rekey_jitter: Duration::from_secs(7),
        rekey_margin: Duration::from_secs(20),
        ..config(index, 3)
    };
    for seed in 0..5 {
        let mut pair = Pair::new(seed);
        pair.set_peer(0, short(0));
        pair.set_peer(1, short(1));
        pair.run_for(Duration::from_secs(15));
        pair.conditions = Conditions::REORDERING;
        pair.traffic = Some(Duration::from_millis(50));
        pair.run_for(Duration::from_mins(5));
        assert_eq!(pair.esp_lost, 0, "of {} packets", pair.esp_sent);
        assert_complete(&pair, 3);
        assert!(pair.status(0).resource_children.iter().all(|child| child.rekeys >= 8));
    }
}

#[test]
fn a_restarted_end_gets_them_anew_and_nothing_of_the_old_ones_stays() {
    for seed in 0..4 {
        let mut pair = pair(seed, [4, 4]);
        pair.run_for(A_WHILE);
        let before = of_resources(&pair, 0);
        let at = seed as usize % 2;
        pair.restart(at, 1000 + seed, config(at, 4));
        pair.run_for(Duration::from_mins(5));
        assert_clean(&pair, 4);
        assert!(before.is_disjoint(&of_resources(&pair, 0)));
    }
}

#[test]
fn disconnecting_removes_all_of_them() {
    let mut pair = busy_pair(1);
    pair.traffic = None;
    pair.act(0, |endpoint, now| endpoint.disconnect(now, PEER));
    pair.run_for(Duration::from_mins(2));
    for node in &pair.nodes {
        assert_eq!(node.plane.carrying().count() + node.plane.inbound.len(), 0);
    }
    assert_eq!(pair.state(1), PeerState::NotConnected);
}

#[test]
fn a_changed_number_takes_effect_at_once() {
    let mut pair = pair(5, [4, 4]);
    pair.run_for(A_WHILE);
    pair.set_peer(0, config(0, 2));
    pair.run_for(A_WHILE);
    assert_clean(&pair, 2);
}
