//! Questions about single packets.

use super::*;
use crate::api::trace::{TraceAction, TraceFrom, TraceReport, TraceRequest};

fn request(source: &str, destination: &str) -> TraceRequest {
    serde_json::from_value(serde_json::json!({ "source": source, "destination": destination })).unwrap()
}

async fn trace(bench: &mut Bench, request: TraceRequest) -> Result<TraceReport, Refusal> {
    bench.ask(|reply| Command::Trace(Box::new(request), reply)).await
}

#[tokio::test]
async fn a_packet_from_behind_a_connection_comes_from_its_tunnel() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    let out = trace(&mut bench, request("10.1.0.9", "10.2.0.9")).await.unwrap();
    assert_eq!((out.from, out.verdict.action), (TraceFrom::Lan, TraceAction::Kernel));
    assert_eq!(out.steps[0].detail, "Lan 10.1.0.9 10.2.0.9 VNet1-VNet2");
    assert_eq!(out.connection.as_deref(), Some("VNet1-VNet2"));
    let back = trace(&mut bench, request("10.2.0.9", "10.1.0.9")).await.unwrap();
    assert_eq!(back.from, TraceFrom::Tunnel("VNet2".to_owned()));
    assert_eq!(back.steps[0].detail, "Tunnel(TunnelId(1)) 10.2.0.9 10.1.0.9 VNet1-VNet2");
    let told = TraceRequest { from: Some(TraceFrom::Host), ..request("10.2.0.9", "10.1.0.9") };
    assert!(trace(&mut bench, told).await.unwrap().steps[0].detail.starts_with("Host"));
}

#[tokio::test]
async fn questions_that_make_no_sense_are_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    let cases = [
        (request("10.1.0.9", "fd00::1"), "source 10.1.0.9 and destination fd00::1 are of different families"),
        (
            TraceRequest { size: 39, ..request("fd00::2", "fd00::1") },
            "size 39 is shorter than an IPv6 header, 40 bytes",
        ),
        (
            TraceRequest {
                quotes: Some(["10.1.0.9", "fd00::1"].map(|address| address.parse().unwrap())),
                ..request("192.0.2.9", "10.1.0.9")
            },
            "quoted address fd00::1 is not IPv4",
        ),
        (
            TraceRequest {
                protocol: Some(6),
                quotes: Some(["10.1.0.9", "10.2.0.9"].map(|address| address.parse().unwrap())),
                ..request("192.0.2.9", "10.1.0.9")
            },
            "a packet of protocol 6 quotes none: errors over IPv4 are of protocol 1",
        ),
        (
            TraceRequest { size: 19, ..request("10.1.0.9", "10.2.0.9") },
            "size 19 is shorter than an IPv4 header",
        ),
        (
            TraceRequest {
                from: Some(TraceFrom::Tunnel("VNet9".to_owned())),
                ..request("10.1.0.9", "10.2.0.9")
            },
            "no connection to VNet9",
        ),
    ];
    for (request, expected) in cases {
        let error = trace(&mut bench, request).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
