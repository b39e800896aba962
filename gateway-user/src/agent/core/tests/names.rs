//! Peers with names, on answers that the tests give.

use std::net::IpAddr;
use std::time::Duration;

use super::super::names::{INTERVAL, RETRY};
use super::*;
use crate::agent::resolver::{Answer, Question};
use crate::datapath::WanAddresses;
use crate::model::HostName;

/// VNet1, at addresses of both families, with VNet2 and VNet3 as peers, and the keys of both.
async fn bench(directory: &Path, addresses: &[&str]) -> Bench {
    let wan_addresses =
        WanAddresses { v4: Some([192, 0, 2, 1].into()), v6: Some("2001:db8::1".parse().unwrap()) };
    bench_with(directory, addresses, wan_addresses).await
}

async fn bench_with(directory: &Path, addresses: &[&str], wan_addresses: WanAddresses) -> Bench {
    let settings = Settings { wan_addresses, ..settings("VNet1") };
    let mut bench = Bench::prepare_with(directory, settings, &netcfg_xml(addresses));
    bench.core.start(bench.now).await.unwrap();
    for number in 0..addresses.len() {
        bench.set_key(&format!("VNet{}", number + 2), "correct horse").await.unwrap();
    }
    bench
}

fn question(site: &str, name: &str) -> Question {
    Question { site: site.to_owned(), name: HostName::new(name).unwrap() }
}

impl Bench {
    /// The one name that is to be looked up.
    fn question(&mut self) -> Question {
        let question = self.core.next_question().expect("a name to look up");
        assert_eq!(self.core.next_question(), None);
        question
    }

    fn answer(&mut self, question: &Question, outcome: Result<&[&str], &str>) {
        let addresses = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let outcome = outcome.map(addresses).map_err(ToOwned::to_owned);
        self.core.handle_resolved(self.now, Answer { question: question.clone(), outcome });
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.core.handle_timeout(self.now);
    }

    /// Where datagrams went since the last time, each address once.
    fn destinations(&mut self) -> Vec<IpAddr> {
        let mut addresses: Vec<IpAddr> = self.sent().iter().map(|transmit| transmit.remote.ip()).collect();
        addresses.dedup();
        addresses
    }

    fn numbers(&self, wanted: u16) -> Vec<String> {
        self.events()
            .into_iter()
            .filter(|(number, _)| *number == wanted)
            .map(|(_, message)| message)
            .collect()
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_name_is_looked_up_and_the_connection_made_to_where_it_leads() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path(), &["GW2.example"]).await;
    assert!(bench.destinations().is_empty());
    let question = bench.question();
    assert_eq!(question, self::question("VNet2", "gw2.example"));
    let status = bench.connection("VNet2").await;
    assert_eq!((status.peer, status.peer_name.as_deref()), (None, Some("gw2.example")));
    assert_eq!(status.last_error.as_deref(), Some("the address of gw2.example is being looked up"));

    bench.answer(&question, Ok(&["2001:db8::2", "192.0.2.2"]));
    assert_eq!(bench.destinations(), [ip("2001:db8::2")]);
    let status = bench.connection("VNet2").await;
    assert_eq!((status.peer, status.last_error), (Some(ip("2001:db8::2")), None));
    assert_eq!(status.parameters.local_id.value, "2001:db8::1");
    assert_eq!(bench.numbers(214), ["gateway gw2.example of site VNet2 is at 2001:db8::2"]);
    assert!(
        bench.numbers(213).iter().all(|message| message.contains("shared key")),
        "a look-up is no trouble"
    );
}

#[tokio::test]
async fn a_name_that_is_not_found_is_told_once_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path(), &["gw2.example"]).await;
    let question = bench.question();
    for _ in 0..3 {
        bench.answer(&question, Err("no such host"));
        let error = bench.connection("VNet2").await.last_error;
        assert_eq!(error.as_deref(), Some("cannot resolve gw2.example: no such host"));
        assert_eq!(bench.core.next_question(), None);
        assert!(bench.core.next_timeout().is_some_and(|at| at <= bench.now + RETRY));
        bench.pass(RETRY);
        assert_eq!(bench.question(), question);
    }
    assert_eq!(
        bench.numbers(215),
        ["gateway address of site VNet2: cannot resolve gw2.example: no such host"]
    );
    bench.answer(&question, Ok(&["192.0.2.2"]));
    assert_eq!(bench.destinations(), [ip("192.0.2.2")]);
}

#[tokio::test]
async fn a_peer_that_moves_is_followed_and_one_that_stays_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path(), &["gw2.example"]).await;
    let question = bench.question();
    bench.answer(&question, Ok(&["192.0.2.2"]));
    bench.destinations();
    let connected =
        Event::StateChanged { peer: PeerId(1), state: PeerState::Connected, reason: String::new() };
    bench.core.apply_event(bench.now, connected);
    bench.pass(RETRY);
    assert_eq!(bench.question(), question);
    // Another order and another address beside it.
    bench.answer(&question, Ok(&["2001:db8::2", "192.0.2.2"]));
    assert_eq!(bench.connection("VNet2").await.peer, Some(ip("192.0.2.2")));
    // A connection that is up is not moved by a name server that is down.
    bench.pass(INTERVAL);
    assert_eq!(bench.question(), question);
    bench.answer(&question, Err("timed out"));
    assert_eq!(bench.connection("VNet2").await.peer, Some(ip("192.0.2.2")));
    assert_eq!(bench.numbers(215).len(), 1);
    bench.sent();

    bench.pass(RETRY);
    assert_eq!(bench.question(), question);
    bench.answer(&question, Ok(&["192.0.2.9"]));
    assert_eq!(bench.connection("VNet2").await.peer, Some(ip("192.0.2.9")));
    assert!(bench.destinations().contains(&ip("192.0.2.9")));
}

#[tokio::test]
async fn a_lost_connection_has_its_name_looked_up_soon() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path(), &["gw2.example"]).await;
    let question = bench.question();
    let state = |state| Event::StateChanged { peer: PeerId(1), state, reason: "silence".to_owned() };
    bench.answer(&question, Ok(&["192.0.2.2"]));
    bench.pass(RETRY);
    assert_eq!(bench.question(), question);
    bench.core.apply_event(bench.now, state(PeerState::Connected));
    bench.answer(&question, Ok(&["192.0.2.2"]));
    bench.pass(Duration::from_secs(20));
    assert_eq!(bench.core.next_question(), None);
    bench.core.apply_event(bench.now, state(PeerState::Connecting));
    bench.pass(Duration::ZERO);
    assert_eq!(bench.question(), question);
}

#[tokio::test]
async fn each_address_of_a_peer_that_does_not_answer_is_tried() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path(), &["gw2.example"]).await;
    let addresses = ["2001:db8::2", "192.0.2.2", "192.0.2.3"];
    let question = bench.question();
    let mut tried = Vec::new();
    for _ in 0..40 {
        bench.answer(&question, Ok(&addresses));
        for address in bench.destinations() {
            if tried.last() != Some(&address) {
                tried.push(address);
            }
        }
        bench.pass(RETRY);
        assert_eq!(bench.question(), question);
    }
    assert_eq!(tried[..4], ["2001:db8::2", "192.0.2.2", "192.0.2.3", "2001:db8::2"].map(ip), "{tried:?}");
    assert_eq!(bench.numbers(214).len(), 1, "the same addresses are no news");
}

#[tokio::test]
async fn addresses_that_cannot_be_the_peers_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let only_v4 = IpAddr::from([192, 0, 2, 1]).into();
    let mut bench = bench_with(dir.path(), &["gw2.example", "192.0.2.3"], only_v4).await;
    let question = bench.question();
    for (address, reason) in [
        ("2001:db8::2", "is IPv6, and this gateway has no IPv6 address"),
        ("192.0.2.1", "is this gateway's own"),
        ("192.0.2.3", "is the gateway of site VNet3"),
        ("10.2.0.9", "lies inside 10.2.0.0/16, which is not on the WAN"),
        ("10.1.0.9", "lies inside 10.1.0.0/16, which is not on the WAN"),
        ("224.0.0.1", "is a multicast address"),
        ("fe80::1", "is a link-local address, which means nothing without an interface"),
    ] {
        bench.answer(&question, Ok(&[address]));
        let error = bench.connection("VNet2").await.last_error.unwrap();
        assert_eq!(error, format!("gw2.example leads nowhere: {address} {reason}"));
        bench.pass(RETRY);
        bench.question();
    }
    bench.answer(&question, Ok(&[]));
    let error = bench.connection("VNet2").await.last_error.unwrap();
    assert_eq!(error, "gw2.example leads nowhere: it has no address");
    bench.pass(RETRY);
    bench.question();
    bench.answer(&question, Ok(&["2001:db8::2", "192.0.2.1", "::ffff:192.0.2.2"]));
    assert_eq!(bench.connection("VNet2").await.peer, Some(ip("192.0.2.2")));
}

#[tokio::test]
async fn answers_to_questions_of_the_past_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path(), &["gw2.example"]).await;
    let old = bench.question();
    bench.apply(&netcfg_xml(&["gw2b.example"])).await.unwrap();
    let new = bench.question();
    assert_eq!(new.name.as_str(), "gw2b.example");
    bench.answer(&old, Ok(&["192.0.2.2"]));
    assert!(bench.destinations().is_empty());
    bench.apply(&netcfg_xml(&["192.0.2.7"])).await.unwrap();
    bench.answer(&new, Ok(&["192.0.2.2"]));
    assert_eq!(bench.destinations(), [ip("192.0.2.7")]);
    assert_eq!(bench.connection("VNet2").await.peer_name, None);
    bench.apply(&netcfg_xml(&[])).await.unwrap();
    assert!(bench.core.next_question().is_none());
}

#[tokio::test]
async fn a_gateway_that_goes_looks_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path(), &["gw2.example"]).await;
    bench.core.begin_stop(bench.now);
    assert_eq!(bench.core.next_question(), None);
}
