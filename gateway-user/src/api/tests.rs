//! Server and client over a real unix socket, with a scripted agent behind them.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::client::{Client, ClientError};
use super::command::{Change, Command, Commander, Refusal};
use super::server::ApiSocket;
use super::types::{ApplyReport, EventRecord, KeyDocument, LocalNetworkChange};
use crate::model::SharedKey;
use crate::netcfg::MAX_BYTES;
use crate::store::KeyText;

/// Answers the commands that the tests send, and keeps their names and arguments.
async fn scripted_agent(mut commands: mpsc::Receiver<Command>, seen: mpsc::UnboundedSender<String>) {
    while let Some(command) = commands.recv().await {
        let text = match command {
            Command::Change(Change::SetKey(site, key, reply)) => {
                reply.send(Ok(())).unwrap();
                format!("set-key {site} {}", key.expose())
            }
            Command::GetKey(site, reply) => {
                reply.send(Ok(SharedKey::new("a \"key\" \\").unwrap())).unwrap();
                format!("get-key {site}")
            }
            Command::Change(Change::ResetKey(site, reply)) => {
                reply.send(Err(Refusal::Failed("disk full".to_owned()))).unwrap();
                format!("reset-key {site}")
            }
            Command::Change(Change::Connect(site, reply)) => {
                reply.send(Err(Refusal::Conflict("something is missing".to_owned()))).unwrap();
                format!("connect {site}")
            }
            Command::Change(Change::Disconnect(site, reply)) => {
                reply.send(Ok(())).unwrap();
                format!("disconnect {site}")
            }
            Command::Events(reply) => {
                reply.send(Ok(vec![event()])).unwrap();
                "events".to_owned()
            }
            Command::ExportNetcfg(reply) => {
                reply.send(Ok("<xml/>".to_owned())).unwrap();
                "export".to_owned()
            }
            Command::Change(Change::ApplyNetcfg(xml, reply)) => {
                let details = vec!["line 1: bad".to_owned(), "line 2: worse".to_owned()];
                reply.send(Err(Refusal::Invalid { message: "2 errors".to_owned(), details })).unwrap();
                format!("apply {xml}")
            }
            Command::Change(Change::SetLocalNetwork(name, change, reply)) => {
                let report = ApplyReport { changed: vec![name.clone()], ..ApplyReport::default() };
                reply.send(Ok(report)).unwrap();
                format!("set {name} {}", change.gateway_address)
            }
            other => panic!("no script for {other:?}"),
        };
        seen.send(text).unwrap();
    }
}

fn event() -> EventRecord {
    EventRecord {
        sequence: 7,
        time: "2026-01-01T00:00:00.000Z".to_owned(),
        number: 202,
        site: Some("VNet2".to_owned()),
        message: "connection VNet1-VNet2 is Connected".to_owned(),
    }
}

struct Bench {
    directory: tempfile::TempDir,
    client: Client,
    seen: mpsc::UnboundedReceiver<String>,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Bench {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = super::socket_path(directory.path(), "VNet1");
        let socket = ApiSocket::bind(&path).unwrap();
        let (sender, receiver) = mpsc::channel(1);
        let (seen_sender, seen) = mpsc::unbounded_channel();
        tokio::spawn(scripted_agent(receiver, seen_sender));
        let server = tokio::spawn(socket.serve(Commander { vnet: "VNet1".to_owned(), channel: sender }));
        Self { directory, client: Client::new(path), seen, server }
    }

    fn socket(&self) -> &Path {
        self.client.socket()
    }

    fn seen(&mut self) -> String {
        self.seen.try_recv().expect("the agent was asked")
    }

    /// Sends a raw request and returns the whole raw answer.
    async fn raw(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.socket()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

fn refusal(error: ClientError) -> (String, Vec<String>) {
    match error {
        ClientError::Refused(body) => (body.error, body.details),
        other => panic!("a refusal expected, not {other:?}"),
    }
}

#[tokio::test]
async fn socket_is_private_and_goes_with_the_server() {
    let bench = Bench::start();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(bench.socket()), 0o600);
    assert_eq!(mode(&bench.directory.path().join("VNet1")), 0o700);
    bench.server.abort();
    assert!(bench.server.await.unwrap_err().is_cancelled());
    assert!(!bench.client.socket().exists());
    let error = bench.client.get_text("/v1/netcfg").await.unwrap_err();
    assert!(matches!(error, ClientError::NoAgent(_)), "{error:?}");
}

#[tokio::test]
async fn socket_of_a_killed_agent_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = super::socket_path(directory.path(), "VNet1");
    std::fs::create_dir(directory.path().join("VNet1")).unwrap();
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let _socket = ApiSocket::bind(&path).unwrap();
    assert!(UnixStream::connect(&path).await.is_ok());
}

#[tokio::test]
async fn long_socket_paths_are_refused_with_the_way_out() {
    let directory = tempfile::tempdir().unwrap();
    let path = super::socket_path(&directory.path().join("x".repeat(120)), "VNet1");
    let error = ApiSocket::bind(&path).unwrap_err().to_string();
    assert!(error.contains("too long for a unix socket") && error.contains("--run-dir"), "{error}");
}

#[tokio::test]
async fn keys_travel_both_ways() {
    let mut bench = Bench::start();
    let path = "/v1/vnets/VNet1/connections/VNet2/key";
    let key = KeyText(SharedKey::new("correct \"horse\"").unwrap());
    bench.client.put_only(path, &KeyDocument { key }).await.unwrap();
    assert_eq!(bench.seen(), "set-key VNet2 correct \"horse\"");
    let document: KeyDocument = bench.client.get(path).await.unwrap();
    assert_eq!(document.key.0.expose(), "a \"key\" \\");
    assert_eq!(bench.seen(), "get-key VNet2");
}

#[tokio::test]
async fn a_wrong_key_document_is_refused_without_an_echo() {
    let mut bench = Bench::start();
    let long = format!(r#"{{"key":"hunter2"{}}}"#, " ".repeat(4096));
    for body in [
        long.as_str(),
        r#"{"key":"hunter2\n"}"#,
        r#"{"key":["hunter2"]}"#,
        r#"{"hunter2":1}"#,
        "hunter2",
        r#"{"key":""}"#,
    ] {
        let request = format!(
            "PUT /v1/vnets/VNet1/connections/VNet2/key HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = bench.raw(&request).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
        assert!(answer.contains("1 to 128 printable ASCII") && !answer.contains("hunter2"), "{answer}");
    }
    assert!(bench.seen.try_recv().is_err(), "the agent was not asked");
}

#[tokio::test]
async fn refusals_become_statuses_and_keep_their_words() {
    let mut bench = Bench::start();
    let error = bench.client.post_only("/v1/vnets/VNet1/connections/VNet2/connect").await.unwrap_err();
    assert_eq!(refusal(error).0, "something is missing");
    let error =
        bench.client.post::<KeyDocument>("/v1/vnets/VNet1/connections/VNet2/key/reset").await.unwrap_err();
    assert_eq!(refusal(error).0, "disk full");
    let error = bench.client.put_xml::<ApplyReport>("/v1/netcfg", "<a/>".to_owned()).await.unwrap_err();
    assert_eq!(error.to_string(), "2 errors\n  line 1: bad\n  line 2: worse");
    assert_eq!(
        [bench.seen(), bench.seen(), bench.seen()],
        ["connect VNet2", "reset-key VNet2", "apply <a/>"]
    );

    let error = bench.client.get_text("/v1/vnets/VNet9/events").await.unwrap_err();
    assert_eq!(refusal(error).0, "this agent runs the gateway of VNet VNet1, not of VNet9");
    let error = bench.client.get_text("/v2").await.unwrap_err();
    assert!(refusal(error).0.contains("/v1"));
    for (line, status) in [
        ("POST /v1/vnets/VNet1/connections/VNet2/connect", "409"),
        ("POST /v1/vnets/VNet1/connections/VNet2/key/reset", "500"),
        ("GET /v1/vnets/VNet9/events", "404"),
        ("DELETE /v1/netcfg", "405"),
    ] {
        let answer = bench.raw(&format!("{line} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{line}: {answer}");
    }
}

#[tokio::test]
async fn the_largest_network_configuration_arrives_and_a_larger_one_does_not() {
    let mut bench = Bench::start();
    let xml = |len| "x".repeat(len);
    let error = bench.client.put_xml::<ApplyReport>("/v1/netcfg", xml(MAX_BYTES)).await.unwrap_err();
    assert_eq!(refusal(error).0, "2 errors", "the agent's answer");
    assert_eq!(bench.seen().len(), "apply ".len() + MAX_BYTES);
    assert!(bench.client.put_xml::<ApplyReport>("/v1/netcfg", xml(MAX_BYTES + 1)).await.is_err());
    assert!(bench.seen.try_recv().is_err(), "the agent was not asked");
}

#[tokio::test]
async fn names_with_odd_characters_arrive_whole() {
    let mut bench = Bench::start();
    let path = format!("/v1/vnets/VNet1/connections/{}/disconnect", super::client::segment("a b/c"));
    bench.client.post_only(&path).await.unwrap();
    assert_eq!(bench.seen(), "disconnect a b/c");
}

#[tokio::test]
async fn everything_else_has_a_route() {
    let mut bench = Bench::start();
    let events: Vec<EventRecord> = bench.client.get("/v1/vnets/VNet1/events").await.unwrap();
    assert_eq!(events, [event()]);
    assert_eq!(bench.client.get_text("/v1/netcfg").await.unwrap(), "<xml/>");
    let change = LocalNetworkChange { gateway_address: "192.0.2.9".parse().unwrap() };
    let report: ApplyReport = bench.client.put("/v1/local-networks/VNet2", &change).await.unwrap();
    assert_eq!(report.changed, ["VNet2"]);
    assert_eq!([bench.seen(), bench.seen(), bench.seen()], ["events", "export", "set VNet2 192.0.2.9"]);
}

#[tokio::test]
async fn an_agent_that_is_starting_is_not_waited_for_without_end() {
    let directory = tempfile::tempdir().unwrap();
    let path = super::socket_path(directory.path(), "VNet1");
    // Bound, but nobody serves it yet.
    let _socket = ApiSocket::bind(&path).unwrap();
    let client = Client::new(path).with_time_limit(std::time::Duration::from_millis(10));
    let error = client.get_text("/v1/netcfg").await.unwrap_err();
    assert!(matches!(error, ClientError::NoAnswer(_)), "{error:?}");
}

#[tokio::test]
async fn an_agent_that_ends_is_a_clear_answer() {
    let directory = tempfile::tempdir().unwrap();
    let path = super::socket_path(directory.path(), "VNet1");
    let (sender, receiver) = mpsc::channel(1);
    drop(receiver);
    let socket = ApiSocket::bind(&path).unwrap();
    let server = tokio::spawn(socket.serve(Commander { vnet: "VNet1".to_owned(), channel: sender }));
    let error = Client::new(path).get_text("/v1/netcfg").await.unwrap_err();
    assert_eq!(refusal(error).0, "the agent of VNet VNet1 is stopping");
    server.abort();
}
