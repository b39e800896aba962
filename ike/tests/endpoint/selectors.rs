//! Traffic selectors of a connection.

use std::time::Duration;

use ike::{AddressRange, ConnectionMode, PeerConfig, PeerState, Psk};

use crate::sim::{Pair, cheap_config};

fn ranges(prefixes: &[&str]) -> Vec<AddressRange> {
    let range = |prefix: &&str| {
        let (address, len) = prefix.split_once('/').unwrap();
        AddressRange::prefix(address.parse().unwrap(), len.parse().unwrap()).unwrap()
    };
    prefixes.iter().map(range).collect()
}

fn config(index: usize, local: &[&str], remote: &[&str]) -> PeerConfig {
    PeerConfig { local_selectors: ranges(local), remote_selectors: ranges(remote), ..cheap_config(index) }
}

/// End 0 initiates, end 1 answers.
fn pair(initiator: PeerConfig, responder: PeerConfig) -> Pair {
    let mut pair = Pair::new(1);
    pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..responder });
    pair.set_peer(0, initiator);
    pair.run_for(Duration::from_secs(1));
    pair
}

/// Our side and the peer's, as an end sees it.
fn agreed(pair: &Pair, index: usize) -> [Vec<AddressRange>; 2] {
    let child = pair.status(index).child.unwrap();
    [child.local_selectors, child.remote_selectors]
}

#[test]
fn selectors_are_narrowed_by_the_responder_and_the_same_after_a_rekey_by_either_end() {
    let (here, there) = (["10.1.0.0/16", "2001:db8:1::/48"], ["10.2.0.0/16"]);
    let mut pair = pair(config(0, &here, &["0.0.0.0/0"]), config(1, &there, &["10.0.0.0/8", "::/0"]));
    for index in [0, 1] {
        pair.assert_converged();
        assert_eq!(agreed(&pair, 0), [ranges(&here), ranges(&there)]);
        assert_eq!(agreed(&pair, 1), [ranges(&there), ranges(&here)]);
        pair.rekey(index);
        pair.run_for(Duration::from_secs(10));
    }
    assert_eq!(pair.status(0).child.unwrap().rekeys, 2);
    assert_eq!(
        pair.last_error(0),
        "peer narrowed the traffic selectors to 10.1.0.0/16, 2001:db8:1::/48 === 10.2.0.0/16"
    );
    assert_eq!(
        pair.last_error(1),
        "peer narrowed the traffic selectors to 10.2.0.0/16 === 10.1.0.0/16, 2001:db8:1::/48"
    );
}

#[test]
fn without_selectors_everything_of_both_families_is_agreed_on_or_what_the_peer_wants_of_it() {
    let both = [AddressRange::ANY_IPV4, AddressRange::ANY_IPV6];
    for none in [config(0, &[], &[]), everything(0)] {
        let pair = pair(none, everything(1));
        assert_eq!(agreed(&pair, 0), [both, both]);
        assert_eq!(pair.status(0).last_error, None);
    }
    for (wanted, family) in [("0.0.0.0/0", both[0]), ("::/0", both[1])] {
        let pair = pair(everything(0), config(1, &[wanted], &[wanted]));
        assert_eq!(pair.state(0), PeerState::Connected);
        assert_eq!(agreed(&pair, 0), [[family], [family]]);
    }
}

/// What [`PeerConfig::new`] says of selectors.
fn everything(index: usize) -> PeerConfig {
    let cheap = cheap_config(index);
    let new = PeerConfig::new(cheap.local, cheap.remote, Psk::new("key"));
    PeerConfig { local_selectors: new.local_selectors, remote_selectors: new.remote_selectors, ..cheap }
}

#[test]
fn equal_selectors_are_agreed_on_without_a_word() {
    let (here, there) = (["10.1.0.0/24", "10.1.1.0/24"], ["10.2.0.0/16"]);
    let pair = pair(config(0, &here, &there), config(1, &there, &["10.1.0.0/23"]));
    pair.assert_converged();
    assert_eq!([pair.status(0).last_error, pair.status(1).last_error], [None, None]);
}

#[test]
fn selectors_without_anything_in_common_are_explained() {
    let mut pair =
        pair(config(0, &["10.1.0.0/16"], &["10.2.0.0/16"]), config(1, &["10.3.0.0/16"], &["10.1.0.0/16"]));
    assert_ne!(pair.state(0), PeerState::Connected);
    assert_eq!(
        pair.last_error(0),
        "peer refused our traffic selectors; we offered 10.1.0.0/16 === 10.2.0.0/16"
    );
    assert_eq!(pair.last_error(1), "no common traffic selectors for every protocol and port");
    pair.run_for(Duration::from_mins(1));
    assert_ne!(pair.state(0), PeerState::Connected);
}

#[test]
fn a_change_of_selectors_connects_anew() {
    let mut pair = Pair::mutual(3);
    pair.run_for(Duration::from_mins(1));
    let before = pair.status(0).ike.unwrap();
    for index in [0, 1] {
        pair.set_peer(index, config(index, &["10.0.0.0/8"], &["10.0.0.0/8"]));
    }
    pair.run_for(Duration::from_mins(1));
    pair.assert_settled();
    assert_ne!(pair.status(0).ike.unwrap().spi_i, before.spi_i);
    assert_eq!(agreed(&pair, 1)[0], ranges(&["10.0.0.0/8"]));
}
