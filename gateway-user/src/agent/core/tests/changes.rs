//! Changes while the disk is slow or fails.

use super::*;

/// Sends a change and returns where its answer comes.
fn begin<T>(
    bench: &mut Bench,
    make: impl FnOnce(Reply<T>) -> Change,
) -> oneshot::Receiver<Result<T, Refusal>> {
    let (reply, answer) = oneshot::channel();
    bench.core.handle_command(bench.now, Command::Change(make(reply)));
    answer
}

fn set_key(site: &str, key: &str) -> impl FnOnce(Reply<()>) -> Change {
    let (site, key) = (site.to_owned(), SharedKey::new(key).unwrap());
    move |reply| Change::SetKey(site, key, reply)
}

async fn bench(directory: &Path) -> Bench {
    Bench::start(directory, "VNet1", &netcfg_xml(&["192.0.2.2", "192.0.2.3"])).await
}

#[tokio::test]
async fn a_change_takes_effect_and_is_answered_when_it_is_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let mut answer = begin(&mut bench, set_key("VNet2", "key2"));
    let write = bench.core.next_write().expect("the key is to be written");
    assert!(bench.core.next_write().is_none(), "one at a time");
    // The core goes on meanwhile, and answers questions.
    bench.core.handle_timeout(bench.now);
    assert!(bench.status().await.connections[0].last_error.is_some(), "not in force yet");
    assert!(answer.try_recv().is_err(), "not answered yet");
    assert!(bench.core.is_changing());

    bench.core.handle_written(bench.now, write.run());
    answer.try_recv().unwrap().unwrap();
    assert_eq!(bench.status().await.connections[0].last_error, None);
    assert!(!bench.core.is_changing());
}

#[tokio::test]
async fn changes_that_wait_are_made_in_order_and_none_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let mut first = begin(&mut bench, set_key("VNet2", "key2"));
    let mut second = begin(&mut bench, set_key("VNet3", "key3"));
    let mut third = begin(&mut bench, |reply| Change::Disconnect("VNet2".to_owned(), reply));
    bench.write_all().await;
    for answer in [&mut first, &mut second, &mut third] {
        answer.try_recv().unwrap().unwrap();
    }
    let store = Store::open(dir.path(), "VNet1").unwrap();
    let keys = store.load_keys().unwrap();
    let stored = ["VNet2", "VNet3"].map(|site| keys.get(site).unwrap().expose().to_owned());
    assert_eq!(stored, ["key2", "key3"]);
    assert!(store.load_held().unwrap().contains("VNet2"));
}

#[tokio::test]
async fn a_failure_is_told_and_the_next_change_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let mut first = begin(&mut bench, set_key("VNet2", "key2"));
    let mut second = begin(&mut bench, |reply| Change::Disconnect("VNet3".to_owned(), reply));
    let in_the_way = dir.path().join("VNet1/keys.new");
    std::fs::create_dir(&in_the_way).unwrap();
    bench.write_all().await;
    let refusal = first.try_recv().unwrap().unwrap_err();
    assert!(matches!(&refusal, Refusal::Failed(message) if message.contains("keys.json")), "{refusal:?}");
    second.try_recv().unwrap().unwrap();
    assert!(bench.core.keys.get("VNet2").is_none() && bench.core.held.contains("VNet3"));
}

#[tokio::test]
async fn a_crowd_of_changes_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let mut answers = Vec::new();
    for _ in 0..=65 {
        answers.push(begin(&mut bench, set_key("VNet2", "key2")));
    }
    let refusal = answers[65].try_recv().unwrap().unwrap_err();
    assert!(matches!(refusal, Refusal::Conflict(_)), "{refusal:?}");
    bench.write_all().await;
    assert!(answers[..65].iter_mut().all(|answer| answer.try_recv().is_ok_and(|result| result.is_ok())));
}

#[tokio::test]
async fn what_is_written_while_the_gateway_stops_is_remembered_and_brings_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let mut answer = begin(&mut bench, set_key("VNet2", "key2"));
    bench.core.begin_stop(bench.now);
    bench.write_all().await;
    answer.try_recv().unwrap().unwrap();
    assert!(bench.core.endpoint.status(PeerId(1)).is_none(), "IKE is told nothing");
    assert!(Store::open(dir.path(), "VNet1").unwrap().load_keys().unwrap().get("VNet2").is_some());
}

#[tokio::test]
async fn the_core_goes_on_while_the_datapath_changes_routes() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    begin(&mut bench, set_key("VNet2", "key2"));
    bench.write_all().await;
    bench.sent();
    let fewer = netcfg_xml(&["192.0.2.22"]);
    let mut first = begin(&mut bench, |reply| Change::ApplyNetcfg(fewer, reply));
    let mut second = begin(&mut bench, set_key("VNet2", "another"));
    let write = bench.core.next_write().expect("the configuration is to be written");
    bench.core.handle_written(bench.now, write.run());
    assert_eq!(bench.calls().last().unwrap(), "remove_tunnel 2", "the datapath is busy with it");

    // Nobody is answered, but IKE and questions are.
    assert!(first.try_recv().is_err() && second.try_recv().is_err() && bench.core.is_changing());
    assert_eq!(bench.core.status(bench.now).unwrap().connections.len(), 1, "what goes is gone at once");
    bench.now += Duration::from_secs(1);
    bench.core.handle_timeout(bench.now);
    let repeated = bench.sent();
    assert!(!repeated.is_empty(), "IKE repeats what was not answered");
    assert!(repeated.iter().all(|sent| sent.remote.ip() == "192.0.2.2".parse::<std::net::IpAddr>().unwrap()));

    bench.write_all().await;
    assert_eq!(first.try_recv().unwrap().unwrap().removed, ["VNet3"]);
    second.try_recv().unwrap().unwrap();
    assert_eq!(bench.core.keys.get("VNet2").unwrap().expose(), "another");
}

#[tokio::test]
async fn a_gateway_that_is_taken_down_follows_no_configuration_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let more = netcfg_xml(&["192.0.2.2", "192.0.2.4"]).replace("10.3.0.0/16", "10.33.0.0/16");
    let mut answer = begin(&mut bench, |reply| Change::ApplyNetcfg(more, reply));
    let write = bench.core.next_write().expect("the configuration is to be written");
    bench.core.handle_written(bench.now, write.run());
    bench.calls();
    bench.core.begin_stop(bench.now);
    bench.write_all().await;
    let refusal = answer.try_recv().unwrap().unwrap_err();
    assert!(matches!(refusal, Refusal::Conflict(_)), "{refusal:?}");
    assert_eq!(bench.calls(), Vec::<String>::new());
    assert!(!bench.core.is_changing());
}
