//! Captures.

use gateway_common::Capture;

use super::*;
use crate::api::capture::CaptureRequest;

fn request(json: serde_json::Value) -> CaptureRequest {
    serde_json::from_value(json).unwrap()
}

#[tokio::test]
async fn a_capture_is_of_one_tunnel_or_of_all() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2", "192.0.2.3"])).await;
    let all = request(serde_json::json!({"inner": true, "outer": true}));
    let one = request(serde_json::json!({"site": "VNet3", "dropped": true, "snap_len": 2000}));
    for request in [all, one] {
        let feed = bench.ask(|reply| Command::Capture(Box::new(request), reply)).await;
        assert!(feed.unwrap().next().await.is_some(), "the file begins at once");
    }
    let specs: Vec<_> = bench
        .core
        .dataplane
        .captures
        .borrow()
        .iter()
        .map(|spec| (spec.tunnel, spec.what, spec.snap_len))
        .collect();
    assert_eq!(specs, [(None, Capture::INNER | Capture::OUTER, 65_535), (Some(2), Capture::DROPPED, 2000)]);
}

#[tokio::test]
async fn captures_that_make_no_sense_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    for (json, expected) in [
        (serde_json::json!({}), "none of inner, outer and dropped"),
        (serde_json::json!({"inner": true, "snap_len": 33}), "snap_len 33 is not from 34 to 65535"),
        (serde_json::json!({"inner": true, "site": "VNet9"}), "no connection to VNet9"),
    ] {
        let request = Box::new(request(json));
        let error = bench.ask(|reply| Command::Capture(request, reply)).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    assert!(bench.core.dataplane.captures.borrow().is_empty());
    bench.core.dataplane.refuse = Some("16 captures run already");
    let request = Box::new(request(serde_json::json!({"outer": true})));
    let error = bench.ask(|reply| Command::Capture(request, reply)).await.unwrap_err();
    assert_eq!(error, Refusal::Conflict("cannot capture: 16 captures run already".to_owned()));
}
