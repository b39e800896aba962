//! The bandwidth that all tunnels share, and what each gets of it.

use super::*;
use crate::api::command::Configure;
use crate::api::types::{BandwidthDirection, BandwidthDocument, ParametersDocument, Source};
use crate::datapath::{BandwidthLimit, TunnelShare};

/// VNet1 connected to VNet2 and VNet3, with this option `--bandwidth`.
async fn bench(directory: &Path, bandwidth: &str) -> Bench {
    let mut settings = settings("VNet1");
    settings.bandwidth.rate = Some(bandwidth.parse().unwrap());
    let mut bench = Bench::prepare_with(directory, settings, &netcfg_xml(&["192.0.2.2", "192.0.2.3"]));
    bench.core.start(bench.now).await.unwrap();
    bench
}

fn limits(weight: u16, guarantee: &str, ceiling: &str) -> ParametersDocument {
    ParametersDocument {
        weight: Some(weight),
        guarantee: Some(guarantee.to_owned()),
        ceiling: Some(ceiling.to_owned()),
        ..ParametersDocument::default()
    }
}

async fn configure(bench: &mut Bench, site: &str, parameters: ParametersDocument) -> Result<(), Refusal> {
    let request = Box::new(Configure { parameters, replace: false });
    bench.change(|reply| Change::Configure(site.to_owned(), request, reply)).await
}

async fn set(bench: &mut Bench, rate: &str, direction: Option<BandwidthDirection>) -> Result<(), Refusal> {
    let document = BandwidthDocument { rate: rate.to_owned(), direction };
    bench.change(|reply| Change::SetBandwidth(document, reply)).await
}

fn complaint(outcome: Result<(), Refusal>) -> String {
    let Err(Refusal::Invalid { message, .. }) = outcome else { panic!("refused expected, not {outcome:?}") };
    message
}

#[tokio::test]
async fn a_tunnel_gets_what_was_set_for_its_connection() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = bench(dir.path(), "100mbit").await;
    assert_eq!(first.core.dataplane.shares[&1], TunnelShare::default());
    first.set_key("VNet2", "key2").await.unwrap();
    first.sent();
    configure(&mut first, "VNet2", limits(3, "20mbit", "50mbit")).await.unwrap();
    let share = TunnelShare { weight: 3, guarantee: Some(20_000_000), ceiling: Some(50_000_000) };
    assert_eq!(first.core.dataplane.shares[&1], share);
    assert!(first.sent().is_empty(), "nothing is negotiated anew");
    let parameters = first.connection("VNet2").await.parameters;
    assert_eq!((parameters.weight.value, parameters.guarantee.value.as_str()), (3, "20mbit"));
    assert_eq!(
        (parameters.ceiling.value.as_str(), parameters.ceiling.source),
        ("50mbit", Source::Connection)
    );

    let ceiling = ParametersDocument { ceiling: Some("none".to_owned()), ..ParametersDocument::default() };
    configure(&mut first, "VNet2", ceiling).await.unwrap();
    drop(first);
    let again = bench(dir.path(), "100mbit").await;
    assert_eq!(again.core.dataplane.shares[&1], TunnelShare { ceiling: None, ..share });
}

#[tokio::test]
async fn guarantees_that_cannot_be_kept_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path(), "100mbit").await;
    configure(&mut bench, "VNet2", limits(1, "60mbit", "none")).await.unwrap();
    let message = complaint(configure(&mut bench, "VNet3", limits(1, "50mbit", "none")).await);
    assert_eq!(
        message,
        "guarantee: \"50mbit\" is not accepted: with the guarantees of other connections, 60mbit, it exceeds the gateway's \
         bandwidth, 100mbit"
    );
    assert_eq!(bench.core.dataplane.shares[&2], TunnelShare::default());
    configure(&mut bench, "VNet3", limits(1, "40mbit", "40mbit")).await.unwrap();
    // One that is changed does not count twice.
    configure(&mut bench, "VNet2", limits(1, "59mbit", "none")).await.unwrap();
    let ceiling = ParametersDocument { ceiling: Some("58mbit".to_owned()), ..ParametersDocument::default() };
    let message = complaint(configure(&mut bench, "VNet2", ceiling).await);
    assert_eq!(message, "ceiling: \"58mbit\" is not accepted: expected no less than the guarantee, 59mbit");
    let message = complaint(set(&mut bench, "98mbit", None).await);
    assert_eq!(
        message,
        "bandwidth: \"98mbit\" is not accepted: the guarantees of the connections together are 99mbit"
    );
    let message = complaint(set(&mut bench, "fast", None).await);
    assert!(message.starts_with("bandwidth: \"fast\" is not accepted: "), "{message}");
    assert_eq!(bench.core.bandwidth().rate, Some("100mbit".parse().unwrap()));
}

#[tokio::test]
async fn the_bandwidth_is_changed_at_once_and_for_later_starts() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = bench(dir.path(), "100mbit").await;
    set(&mut first, "50mbit", Some(BandwidthDirection::Separate)).await.unwrap();
    let limit = BandwidthLimit { rate: Some(50_000_000), is_separate: true };
    assert_eq!(first.core.dataplane.limit, limit);
    let gateway = first.ask(Command::Gateway).await.unwrap();
    assert_eq!(
        (gateway.bandwidth_bits, gateway.bandwidth_direction),
        (Some(50_000_000), BandwidthDirection::Separate)
    );
    assert_eq!(first.events().last().unwrap().0, 140);
    // The direction stays as it is, unless it is named.
    set(&mut first, "none", None).await.unwrap();
    assert_eq!(first.core.dataplane.limit, BandwidthLimit { rate: None, ..limit });
    drop(first);
    let mut again = bench(dir.path(), "100mbit").await;
    assert_eq!(again.core.bandwidth().rate, None, "what was set stands above the option");
    set(&mut again, "default", None).await.unwrap();
    let option = BandwidthLimit { rate: Some(100_000_000), is_separate: false };
    assert_eq!(again.core.dataplane.limit, option);
    drop(again);
    assert_eq!(Store::open(dir.path(), "VNet1").unwrap().load_bandwidth().unwrap(), None);
}

#[tokio::test]
async fn with_a_smaller_bandwidth_at_the_start_no_guarantee_is_in_force() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = bench(dir.path(), "100mbit").await;
    configure(&mut first, "VNet2", limits(2, "60mbit", "none")).await.unwrap();
    drop(first);
    let mut again = bench(dir.path(), "50mbit").await;
    let weight_only = TunnelShare { weight: 2, ..TunnelShare::default() };
    assert_eq!(again.core.dataplane.shares[&1], weight_only);
    let warning = again.events().into_iter().find(|(number, _)| *number == 141).unwrap().1;
    assert!(warning.contains("60mbit") && warning.contains("50mbit"), "{warning}");
    set(&mut again, "80mbit", None).await.unwrap();
    assert_eq!(again.core.dataplane.shares[&1], TunnelShare { guarantee: Some(60_000_000), ..weight_only });
}
