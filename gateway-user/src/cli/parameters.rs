//! The parameters of a connection: from the command line to the API, and as a table.

use super::args::Parameters;
use super::table::{Table, seconds};
use crate::api::types::{InForce, ParametersDocument, ParametersInForce, Source};

impl From<Parameters> for ParametersDocument {
    fn from(parameters: Parameters) -> Self {
        let unless_empty = |list: Vec<String>| (!list.is_empty()).then_some(list);
        Self {
            mode: parameters.mode,
            auth: parameters.auth,
            local_id: parameters.local_id,
            remote_id: parameters.remote_id,
            ike_proposals: unless_empty(parameters.ike_proposal),
            esp_proposals: unless_empty(parameters.esp_proposal),
            traffic_selectors: parameters.traffic_selectors,
            ike_lifetime: parameters.ike_lifetime,
            child_lifetime: parameters.child_lifetime,
            dpd: parameters.dpd,
            child_sas: parameters.child_sas,
            replay_window: parameters.replay_window,
            dscp: parameters.dscp,
            df: parameters.df,
            weight: parameters.weight,
            guarantee: parameters.guarantee,
            ceiling: parameters.ceiling,
        }
    }
}

/// A line per parameter: its value and where it comes from.
pub(super) fn table(parameters: &ParametersInForce) -> String {
    let mut table = Table::new(["PARAMETER", "VALUE", "FROM"]);
    let mut row = |name: &str, value: InForce<String>| {
        table.row([name.to_owned(), value.value, source(value.source).to_owned()]);
    };
    let ParametersInForce {
        mode,
        auth,
        local_id,
        remote_id,
        ike_proposals,
        esp_proposals,
        traffic_selectors,
        ike_lifetime,
        child_lifetime,
        dpd,
        child_sas,
        replay_window,
        dscp,
        df,
        weight,
        guarantee,
        ceiling,
    } = parameters;
    row("mode", mode.clone());
    row("authentication", auth.clone());
    row("local identity", local_id.clone());
    row("remote identity", remote_id.clone());
    row("IKE proposals", ike_proposals.show(|list| list.join(", ")));
    row("ESP proposals", esp_proposals.show(|list| list.join(", ")));
    row("traffic selectors", traffic_selectors.clone());
    row("IKE lifetime", ike_lifetime.show(|number| seconds(*number)));
    row("Child lifetime", child_lifetime.show(|number| seconds(*number)));
    row("DPD", dpd.show(|number| seconds(*number)));
    row("Child SAs", child_sas.show(ToString::to_string));
    row("replay window", replay_window.show(ToString::to_string));
    row("outer DSCP", dscp.clone());
    row("outer DF", df.clone());
    row("weight", weight.show(ToString::to_string));
    row("guarantee", guarantee.clone());
    row("ceiling", ceiling.clone());
    table.render()
}

fn source(source: Source) -> &'static str {
    match source {
        Source::Connection => "connection",
        Source::Option => "option",
        Source::Profile => "profile",
    }
}
