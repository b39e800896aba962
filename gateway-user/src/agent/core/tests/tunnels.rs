//! A datapath that refuses tunnels.

use super::*;

const PREFIX: &str = "192.0.2.";

/// A configuration with connections to VNet2, VNet3, … of the gateways 192.0.2.`suffixes`.
fn xml(suffixes: &[&str]) -> String {
    let addresses: Vec<_> = suffixes.iter().map(|suffix| format!("{PREFIX}{suffix}")).collect();
    netcfg_xml(&addresses.iter().map(String::as_str).collect::<Vec<_>>())
}

/// VNet1 connected to VNet2 and VNet3, both with keys.
async fn bench() -> (tempfile::TempDir, Bench) {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &xml(&["2", "3"])).await;
    bench.set_key("VNet2", "key2").await.unwrap();
    bench.set_key("VNet3", "key3").await.unwrap();
    bench.sent();
    bench.calls();
    (dir, bench)
}

fn refusals(bench: &Bench) -> Vec<String> {
    let refused = |(number, message)| (number == 220).then_some(message);
    bench.events().into_iter().filter_map(refused).collect()
}

#[tokio::test]
async fn a_refused_tunnel_keeps_its_error_and_holds_up_no_other() {
    let (_dir, mut bench) = bench().await;
    bench.core.dataplane.broken_tunnels.insert(1);
    let changed = xml(&["2", "33"]).replace("10.2.0.0/16", "10.22.0.0/16").replace("10.2.", "10.22.");
    let error = bench.apply(&changed).await.unwrap_err().to_string();
    assert!(error.contains("VNet1-VNet2") && error.contains("no route to tunnel 1"), "{error}");
    assert!(!error.contains("VNet1-VNet3"), "{error}");
    assert_eq!(bench.connection("VNet3").await.peer, Some("192.0.2.33".parse().unwrap()));
    let broken = bench.connection("VNet2").await.last_error.unwrap();
    assert!(broken.contains("cannot make the tunnel: no route to tunnel 1"), "{broken}");

    // Applied again, it is tried again and not taken for unchanged.
    bench.calls();
    assert!(bench.apply(&changed).await.is_err());
    assert!(bench.calls().contains(&"set_tunnel 1 [10.22.0.0/16]".to_owned()));
    bench.core.dataplane.broken_tunnels.clear();
    let report = bench.apply(&changed).await.unwrap();
    assert_eq!((report.changed, report.unchanged), (vec!["VNet2".to_owned()], vec!["VNet3".to_owned()]));
    assert_eq!(bench.connection("VNet2").await.last_error, None);
    assert_eq!(refusals(&bench).len(), 1, "told once: {:?}", refusals(&bench));
    assert!(bench.core.follow_at.is_none(), "nothing is left to do");
}

#[tokio::test]
async fn a_refused_tunnel_is_tried_again_by_itself() {
    let (_dir, mut bench) = bench().await;
    bench.core.dataplane.broken_tunnels.insert(3);
    assert!(bench.apply(&xml(&["2", "3", "4"])).await.is_err());
    bench.set_key("VNet4", "key4").await.unwrap();
    assert!(bench.core.endpoint.status(PeerId(3)).is_none(), "no tunnel, no IKE");
    let connect = |reply| Change::Connect("VNet4".to_owned(), reply);
    let error = bench.change(connect).await.unwrap_err();
    assert!(matches!(&error, Refusal::Failed(message) if message.contains("tunnel 3")), "{error:?}");
    assert!(bench.core.next_timeout().is_some_and(|at| at <= bench.now + DATAPATH_RETRY));
    bench.sent();

    bench.retry().await;
    assert!(bench.connection("VNet4").await.last_error.is_some(), "refused again");
    bench.core.dataplane.broken_tunnels.clear();
    bench.retry().await;
    assert_eq!(bench.connection("VNet4").await.state, ConnectionState::Connecting);
    let destinations: Vec<_> = bench.sent().iter().map(|sent| sent.remote.ip()).collect();
    assert!(destinations.contains(&"192.0.2.4".parse().unwrap()), "{destinations:?}");
    bench.calls();
    bench.retry().await;
    assert!(bench.calls().is_empty(), "once is enough");
}

#[tokio::test]
async fn the_number_of_a_tunnel_is_free_when_it_is_removed() {
    let (_dir, mut bench) = bench().await;
    bench.core.dataplane.broken_tunnels.insert(2);
    let error = bench.apply(&xml(&["2"])).await.unwrap_err().to_string();
    assert!(error.contains("cannot remove the tunnel of VNet1-VNet3"), "{error}");
    assert_eq!(bench.status().await.connections.len(), 1);

    // VNet3 comes back while its old tunnel is there: under another number, and without the prefix that is still in use.
    bench.calls();
    let error = bench.apply(&xml(&["2", "3"])).await.unwrap_err().to_string();
    assert!(error.contains("10.3.0.0/16 is still in the tunnel of VNet1-VNet3"), "{error}");
    assert_eq!(bench.calls(), ["remove_tunnel 2"]);
    bench.core.dataplane.broken_tunnels.clear();
    bench.retry().await;
    assert_eq!(bench.calls(), ["remove_tunnel 2", "set_tunnel 3 [10.3.0.0/16]"]);
    assert_eq!(bench.connection("VNet3").await.last_error, None);
    bench.apply(&xml(&["2", "3", "4"])).await.unwrap();
    assert_eq!(bench.calls(), ["set_tunnel 2 [10.4.0.0/16]"]);
}

#[tokio::test]
async fn a_prefix_does_not_move_before_it_is_given_up() {
    let (_dir, mut bench) = bench().await;
    bench.core.dataplane.broken_tunnels.insert(2);
    let moved = xml(&["2", "3", "4"])
        .replace("10.4.0.0/16", "moved")
        .replace("10.3.0.0/16", "10.4.0.0/16")
        .replace("moved", "10.3.0.0/16");
    let error = bench.apply(&moved).await.unwrap_err().to_string();
    assert!(error.contains("10.3.0.0/16 is still in the tunnel of VNet1-VNet3"), "{error}");
    assert!(bench.calls().iter().all(|call| !call.starts_with("set_tunnel 3")));
    bench.core.dataplane.broken_tunnels.clear();
    bench.retry().await;
    assert_eq!(bench.calls(), ["set_tunnel 2 [10.4.0.0/16]", "set_tunnel 3 [10.3.0.0/16]"]);
}

#[tokio::test]
async fn a_gateway_without_its_tunnels_does_not_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::prepare(dir.path(), "VNet1", &xml(&["2", "3"]));
    bench.core.dataplane.broken_tunnels.extend([1, 2]);
    let error = bench.core.start(bench.now).await.unwrap_err().to_string();
    assert!(error.contains("VNet1-VNet2") && error.contains("VNet1-VNet3"), "{error}");
    assert!(!bench.calls().contains(&"settle".to_owned()), "what an earlier agent closed stays closed");
}
