//! What the datapath is told to do with the packets of a connection.

use super::connect::{pair_of, settle};
use super::*;
use crate::api::command::{Configure, Rekey};
use crate::api::types::{ParametersDocument, Source};
use crate::datapath::PacketPolicy;
use crate::model::{OuterDf, OuterDscp};

async fn configure(bench: &mut Bench, parameters: ParametersDocument) -> Result<(), Refusal> {
    let configure = Configure { parameters, replace: true };
    bench.change(|reply| Change::Configure("VNet2".to_owned(), Box::new(configure), reply)).await
}

#[tokio::test]
async fn the_policy_is_that_of_the_connection_for_old_and_new_sas() {
    let dir = tempfile::tempdir().unwrap();
    let mut benches = pair_of(dir.path(), ["correct horse"; 2], [1; 2]).await;
    settle(&mut benches);
    let [one, two] = &mut benches;
    let windows = |bench: &Bench| -> Vec<u32> {
        bench.core.dataplane.installed.iter().map(|sa| sa.policy.replay_window).collect()
    };
    assert_eq!((windows(one), windows(two)), (vec![8160; 2], vec![8160; 2]));
    let sent = one.sent().len();
    let wanted = ParametersDocument {
        replay_window: Some(256),
        dscp: Some("set:46".to_owned()),
        df: Some("clear".to_owned()),
        ..ParametersDocument::default()
    };
    configure(one, wanted).await.unwrap();
    let wanted = PacketPolicy { replay_window: 256, dscp: OuterDscp::Set(46), df: OuterDf::Clear };
    assert_eq!(one.core.dataplane.policies[&TunnelId(1)], wanted, "the SAs that are there");
    let shown = one.connection("VNet2").await;
    assert_eq!(
        (shown.parameters.replay_window.value, shown.parameters.replay_window.source),
        (256, Source::Connection)
    );
    assert_eq!(
        (shown.state, one.sent().len()),
        (ConnectionState::Connected, sent),
        "nothing is negotiated anew"
    );

    one.ask(|reply| Command::Rekey("VNet2".to_owned(), Rekey::Child, reply)).await.unwrap();
    settle(&mut benches);
    let [one, two] = &mut benches;
    assert_eq!(windows(one), [8160, 8160, 256, 256], "and those to come");
    assert_eq!(windows(two), [8160; 4], "a matter of each end");
    assert_eq!(one.core.dataplane.installed[3].policy, wanted);

    configure(one, ParametersDocument::default()).await.unwrap();
    assert_eq!(one.core.dataplane.policies[&TunnelId(1)].replay_window, 8160);
    let wrong = ParametersDocument { dscp: Some("set:64".to_owned()), ..ParametersDocument::default() };
    let refusal = configure(one, wrong).await.unwrap_err();
    let Refusal::Invalid { details, .. } = &refusal else { panic!("{refusal:?}") };
    let rule = "expected copy, or set:N with a DSCP from 0 to 63";
    assert_eq!(details[..], [format!("dscp: \"set:64\" is not accepted: {rule}")]);
    for wrong in [0, 63, 8161] {
        let wrong = ParametersDocument { replay_window: Some(wrong), ..ParametersDocument::default() };
        let refusal = configure(one, wrong).await.unwrap_err();
        let Refusal::Invalid { details, .. } = &refusal else { panic!("{refusal:?}") };
        assert!(
            details[0].starts_with("replay_window: ") && details[0].ends_with("from 64 to 8160"),
            "{details:?}"
        );
    }
    assert_eq!(one.core.dataplane.policies[&TunnelId(1)].replay_window, 8160);
}
