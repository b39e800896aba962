//! `vgw trace`: what the gateway would do with a packet.

use std::fmt::Write;

use super::args::{Global, Output, TraceArgs};
use super::output::{print, print_json};
use super::table::{Table, or_dash, seconds};
use super::target::Agent;
use crate::api::trace::{TraceAction, TraceFrom, TraceReport, TraceRequest};

/// Asks, and prints the answer.
pub(super) async fn run(global: &Global, args: TraceArgs) -> anyhow::Result<()> {
    let agent = Agent::find(global, Some(&args.vnet)).await?;
    let output = args.format.output;
    let request = TraceRequest {
        source: args.source,
        destination: args.destination,
        protocol: args.protocol.map(|protocol| protocol.0),
        port: args.port,
        from: args.from,
        size: args.size,
        ttl: args.ttl,
        dont_fragment: args.df,
        quotes: args.quotes.and_then(|quotes| quotes.try_into().ok()),
    };
    let report: TraceReport =
        agent.client.post_for(&agent.path("trace"), &request).await.map_err(|error| agent.explain(error))?;
    match output {
        Output::Table => print(&show(&request, &report)),
        Output::Json => print_json(&report),
    }
}

/// The question, a line per rule, what is known of SA and next hop, and the verdict.
fn show(request: &TraceRequest, report: &TraceReport) -> String {
    let TraceRequest { source, destination, size, .. } = request;
    let protocol = request.protocol();
    let from = match &report.from {
        TraceFrom::Lan => "the LAN".to_owned(),
        TraceFrom::Wan => "the WAN, in the clear".to_owned(),
        TraceFrom::Host => "this machine".to_owned(),
        TraceFrom::Tunnel(site) => format!("the tunnel to {site}"),
    };
    let mut text = format!("{source} to {destination}, {size} bytes, protocol {protocol}, from {from}\n\n");
    let mut table = Table::new(["", "RULE", "WHAT WAS FOUND"]);
    for step in &report.steps {
        let mark = if step.passed { "ok" } else { "--" };
        table.row([mark.to_owned(), step.rule.clone(), step.detail.clone()]);
    }
    text.push_str(&table.render());
    text.push('\n');
    if let Some(sa) = &report.sa {
        let left = sa.bytes_left.map_or_else(|| "no limit".to_owned(), |left| format!("{left} left"));
        let rekey = or_dash(sa.rekey_in_seconds.map(seconds));
        line(&mut text, format_args!("SA       {} {}, {} to {}", sa.spi, sa.algorithm, sa.local, sa.remote));
        line(
            &mut text,
            format_args!(
                "         next number {}, {} bytes carried, {left}, rekeyed in {rekey}",
                sa.next_sequence, sa.bytes
            ),
        );
    }
    if let Some(hop) = &report.next_hop {
        let (interface, address) = (or_dash(hop.interface.as_ref()), or_dash(hop.address));
        let mac = hop.mac.as_deref().unwrap_or("not known");
        line(
            &mut text,
            format_args!("Next hop {address} on {interface}, hardware address {mac}: {}", hop.result),
        );
    }
    let verdict = &report.verdict;
    let outcome = match verdict.action {
        TraceAction::Forward => format!("goes on through {}", or_dash(verdict.interface.as_ref())),
        TraceAction::Drop => format!("is dropped: {}", or_dash(verdict.reason.as_ref())),
        TraceAction::Kernel => "is left to the kernel's own routing, as it came".to_owned(),
    };
    let connection =
        report.connection.as_ref().map(|name| format!(" (connection {name})")).unwrap_or_default();
    line(&mut text, format_args!("Verdict  the packet {outcome}{connection}"));
    text
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("writing to a string");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::trace::{TraceStep, TraceVerdict};

    #[test]
    fn the_table_ends_with_the_verdict() {
        let request: TraceRequest =
            serde_json::from_str(r#"{"source": "172.16.0.1", "destination": "10.2.0.1"}"#).unwrap();
        let report = TraceReport {
            from: TraceFrom::Lan,
            steps: vec![
                TraceStep { rule: "interface".to_owned(), passed: true, detail: "faces the VNet".to_owned() },
                TraceStep {
                    rule: "source_outside_vnet".to_owned(),
                    passed: false,
                    detail: "172.16.0.1 does not lie in the VNet".to_owned(),
                },
            ],
            verdict: TraceVerdict {
                action: TraceAction::Drop,
                reason: Some("source_outside_vnet".to_owned()),
                interface: None,
            },
            connection: Some("VNet1-VNet2".to_owned()),
            sa: None,
            next_hop: None,
        };
        let text = show(&request, &report);
        let expected = "\
172.16.0.1 to 10.2.0.1, 84 bytes, protocol 1, from the LAN

    RULE                 WHAT WAS FOUND
ok  interface            faces the VNet
--  source_outside_vnet  172.16.0.1 does not lie in the VNet

Verdict  the packet is dropped: source_outside_vnet (connection VNet1-VNet2)
";
        assert_eq!(text, expected);
    }
}
