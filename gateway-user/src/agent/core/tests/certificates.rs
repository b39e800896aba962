//! Connections with certificates.

use super::super::super::test_support::write_certificates;
use super::*;
use crate::api::command::Configure;
use crate::api::types::ParametersDocument;

async fn configure(bench: &mut Bench, parameters: ParametersDocument) {
    let request = Box::new(Configure { parameters, replace: false });
    bench.change(|reply| Change::Configure("VNet2".to_owned(), request, reply)).await.unwrap();
}

async fn missing(bench: &mut Bench) -> String {
    bench.connection("VNet2").await.last_error.unwrap_or_default()
}

/// VNet1, whose connection to VNet2 uses certificates.
async fn bench(directory: &Path) -> Bench {
    let mut bench = Bench::start(directory, "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    let with = ParametersDocument { auth: Some("certificate".to_owned()), ..ParametersDocument::default() };
    configure(&mut bench, with).await;
    bench
}

fn named(remote_id: &str) -> ParametersDocument {
    ParametersDocument { remote_id: Some(remote_id.to_owned()), ..ParametersDocument::default() }
}

#[tokio::test]
async fn what_certificates_need_is_told_piece_by_piece() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let expected = "no certificate: start the agent with --certificate FILE --private-key FILE";
    assert_eq!(missing(&mut bench).await, expected);
    let told = (213, format!("connection VNet1-VNet2 cannot be made: {expected}"));
    assert_eq!(bench.events().iter().filter(|event| **event == told).count(), 1, "{:?}", bench.events());
    let files = write_certificates(dir.path(), "gw1.example");
    let no_authority = Certificates { trust: None, ..files.load().unwrap() };
    bench.core.handle_certificates(bench.now, Ok(no_authority));
    assert_eq!(missing(&mut bench).await, "no certificate authority: start the agent with --ca FILE");
    bench.core.handle_certificates(bench.now, files.load());
    assert!(missing(&mut bench).await.contains("`vgw connection configure VNet1 VNet2 --remote-id ID`"));
    configure(
        &mut bench,
        ParametersDocument { local_id: Some("gw9.example".to_owned()), ..named("gw2.example") },
    )
    .await;
    assert!(missing(&mut bench).await.contains("does not prove its identity gw9.example"));
    assert!(bench.sent().is_empty());

    configure(
        &mut bench,
        ParametersDocument { local_id: Some("gw1.example".to_owned()), ..named("gw2.example") },
    )
    .await;
    assert_eq!(bench.connection("VNet2").await.last_error, None, "no shared key is needed");
    assert_eq!(bench.sent()[0].remote, "192.0.2.2:500".parse().unwrap());
}

#[tokio::test]
async fn files_that_cannot_be_used_leave_those_before_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let files = write_certificates(dir.path(), "gw1.example");
    let names = ParametersDocument { local_id: Some("gw1.example".to_owned()), ..named("gw2.example") };
    configure(&mut bench, names).await;
    bench.core.handle_certificates(bench.now, files.load());
    assert!(!bench.sent().is_empty());
    std::fs::write(&files.own.as_ref().unwrap().0, "damaged").unwrap();
    bench.core.handle_certificates(bench.now, files.load());
    assert!(bench.sent().is_empty(), "nothing changes");
    assert_eq!(bench.connection("VNet2").await.last_error, None);
    let numbers: Vec<_> = bench.events().into_iter().map(|(number, _)| number).collect();
    assert!(numbers.contains(&120) && numbers.contains(&121), "{numbers:?}");
    let told = bench.events().into_iter().find(|(number, _)| *number == 121).unwrap().1;
    assert!(told.contains("stay") && told.contains("gateway.pem"), "{told}");
}

#[tokio::test]
async fn a_certificate_of_another_name_is_told_when_it_takes_a_connection_down() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let names = ParametersDocument { local_id: Some("gw1.example".to_owned()), ..named("gw2.example") };
    configure(&mut bench, names).await;
    bench.core.handle_certificates(bench.now, write_certificates(dir.path(), "gw1.example").load());
    let other = write_certificates(dir.path(), "gw9.example");
    bench.core.handle_certificates(bench.now, other.load());
    let reason = "the gateway's certificate does not prove its identity gw1.example";
    let told = |events: &[(u16, String)]| {
        events.iter().filter(|(number, text)| *number == 213 && text.contains(reason)).count()
    };
    assert_eq!(told(&bench.events()), 1, "{:?}", bench.events());
    bench.core.handle_certificates(bench.now, other.load());
    assert_eq!(told(&bench.events()), 1, "told once");
}

#[tokio::test]
async fn certificates_do_not_concern_connections_with_shared_keys() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = Bench::start(dir.path(), "VNet1", &netcfg_xml(&["192.0.2.2"])).await;
    bench.set_key("VNet2", "correct horse").await.unwrap();
    bench.sent();
    bench.core.handle_certificates(bench.now, write_certificates(dir.path(), "gw1.example").load());
    assert!(bench.sent().is_empty());
    assert_eq!(bench.connection("VNet2").await.parameters.local_id.value, "192.0.2.1");
}
