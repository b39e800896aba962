//! Child SAs for single receive queues (RFC 9611).

use super::connect::{pair_of, settle};
use super::*;
use crate::api::command::{Configure, Rekey};
use crate::api::types::{ParametersDocument, Source};
use crate::datapath::{Direction, SaCounters};

/// Two connected gateways that were started with `--child-sas` so.
async fn pair(directory: &Path, child_sas: [u16; 2]) -> [Bench; 2] {
    let mut benches = pair_of(directory, ["correct horse"; 2], child_sas).await;
    settle(&mut benches);
    benches
}

fn number(spi: &str) -> u32 {
    u32::from_str_radix(spi, 16).unwrap()
}

async fn configure(bench: &mut Bench, child_sas: u16) -> Result<(), Refusal> {
    let parameters = ParametersDocument { child_sas: Some(child_sas), ..ParametersDocument::default() };
    let configure = Configure { parameters, replace: false };
    bench.change(|reply| Change::Configure("VNet2".to_owned(), Box::new(configure), reply)).await
}

#[tokio::test]
async fn each_queue_has_sas_of_its_own_and_the_status_shows_them() {
    let dir = tempfile::tempdir().unwrap();
    let [mut one, mut two] = pair(dir.path(), [4, 4]).await;
    // Whether the peer has the last answer shows by its next message, or is taken for granted after a while.
    two.now += Duration::from_secs(6);
    two.core.handle_timeout(two.now);
    assert!(two.sent().is_empty());
    let (here, there) = (one.connection("VNet2").await, two.connection("VNet1").await);
    assert_eq!((here.queue_sas_agreed, here.queue_sas.len(), there.queue_sas.len()), (Some(true), 4, 4));
    let calls = one.calls();
    for (queue, sa) in here.queue_sas.iter().enumerate() {
        assert_eq!(sa.queue, queue as u32);
        assert!(calls.contains(&format!("install_inbound 1 {} for {queue}", sa.inbound_spi)), "{calls:?}");
        assert!(calls.contains(&format!("install_outbound 1 {} for {queue}", sa.outbound_spi)), "{calls:?}");
        assert!(there.queue_sas.iter().any(|other| other.inbound_spi == sa.outbound_spi));
    }
    let of_tunnel = format!("install_outbound 1 {}", here.outbound_spi.expect("connected"));
    assert!(calls.contains(&of_tunnel), "the one for everything is there too: {calls:?}");

    let third = &here.queue_sas[2];
    let counters = &mut one.core.dataplane.sa_counters;
    counters.insert((Direction::Inbound, number(&third.inbound_spi)), SaCounters { packets: 1, bytes: 2 });
    counters.insert((Direction::Outbound, number(&third.outbound_spi)), SaCounters { packets: 3, bytes: 4 });
    let shown = &one.connection("VNet2").await.queue_sas[2];
    assert_eq!((shown.packets_in, shown.bytes_in, shown.packets_out, shown.bytes_out), (1, 2, 3, 4));
}

#[tokio::test]
async fn the_lifetime_of_one_sa_rekeys_that_one_and_the_command_all() {
    let dir = tempfile::tempdir().unwrap();
    let mut benches = pair(dir.path(), [3, 3]).await;
    let before = benches[0].connection("VNet2").await.queue_sas;
    let spi = Some(number(&before[1].outbound_spi));
    let tunnel = Some(TunnelId(1));
    let soft = DatapathEvent { kind: EventKind::SoftLifetime, tunnel, spi, source: None };
    let now = benches[0].now;
    benches[0].core.handle_datapath_event(now, soft);
    settle(&mut benches);
    let status = benches[0].connection("VNet2").await;
    let rekeys: Vec<_> = status.queue_sas.iter().map(|sa| sa.rekeys).collect();
    assert_eq!((rekeys, status.rekeys), (vec![0, 1, 0], 0));
    assert_ne!(status.queue_sas[1].outbound_spi, before[1].outbound_spi);
    let calls = benches[0].calls();
    assert!(calls.contains(&format!("remove_outbound 1 {}", before[1].outbound_spi)), "{calls:?}");

    benches[0].ask(|reply| Command::Rekey("VNet2".to_owned(), Rekey::Child, reply)).await.unwrap();
    settle(&mut benches);
    let status = benches[0].connection("VNet2").await;
    let rekeys: Vec<_> = status.queue_sas.iter().map(|sa| sa.rekeys).collect();
    assert_eq!((rekeys, status.rekeys), (vec![1, 2, 1], 1));
}

#[tokio::test]
async fn with_an_end_that_wants_none_there_is_one_child_sa() {
    let dir = tempfile::tempdir().unwrap();
    let [mut one, mut two] = pair(dir.path(), [4, 1]).await;
    let (here, there) = (one.connection("VNet2").await, two.connection("VNet1").await);
    assert_eq!((here.state, there.state), (ConnectionState::Connected, ConnectionState::Connected));
    assert_eq!((here.queue_sas_agreed, here.queue_sas.len()), (Some(false), 0));
    assert_eq!(here.parameters.child_sas.value, 4);
    assert_eq!((there.parameters.child_sas.value, there.parameters.child_sas.source), (1, Source::Profile));
}

#[tokio::test]
async fn a_connection_may_have_fewer_than_the_agent_has_room_for_and_not_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut benches = pair(dir.path(), [4, 4]).await;
    let error = configure(&mut benches[0], 5).await.unwrap_err();
    assert!(
        matches!(&error, Refusal::Invalid { message, .. } if message.contains("--child-sas 4")),
        "{error:?}"
    );
    configure(&mut benches[0], 2).await.unwrap();
    settle(&mut benches);
    let status = benches[0].connection("VNet2").await;
    assert_eq!(
        (status.state, status.parameters.child_sas.value, status.queue_sas.len()),
        (ConnectionState::Connected, 2, 2)
    );
    assert_eq!(status.parameters.child_sas.source, Source::Connection);

    // What was stored when the agent had more room is no obstacle.
    configure(&mut benches[0], 4).await.unwrap();
    drop(benches);
    let [mut one, _two] = pair(dir.path(), [2, 4]).await;
    assert_eq!(one.connection("VNet2").await.parameters.child_sas.value, 2);
}
