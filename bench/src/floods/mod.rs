//! What is left of legitimate traffic while somebody floods the gateway from the wide-area network, and what the flood costs.
//!
//! Two gateways in the laboratory carry traffic from host to host. At the last cable before the receiving gateway somebody sends
//! packets that must all be refused, at a set rate and as fast as the cable takes them.

#![expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]

mod measure;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use testbed::{Attacker, FloodKind, GatewayOptions, Lab, sweep_stale};

use crate::report::write_json;
use crate::run::{default_file, now};
use crate::{machine, publish};
use measure::Target;
pub(crate) use report::Report;

/// Engines in turn.
const ENGINES: [&str; 2] = ["kernel", "xsk"];
/// Packets per second of the floods that leave the machine time for other things.
const RATE: u32 = 20_000;

/// Arguments of `bench floods`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// A second for each measurement, and one rate: a look, not a figure to quote.
    #[arg(long)]
    quick: bool,
    /// Time of each measurement: of a TCP stream, and of paced datagrams.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Packets per second of the slower floods. The others go as fast as the cable takes them.
    #[arg(long, value_name = "N", default_value_t = RATE, value_parser = clap::value_parser!(u32).range(1..))]
    rate: u32,
    /// Write the results here as JSON, in place of a file named after the time in `target/bench`.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Put the results into `docs/BENCHMARKS.md` and `docs/bench`.
    #[arg(long, conflicts_with = "quick")]
    publish: bool,
}

/// Measures, prints a table, keeps JSON.
///
/// # Errors
/// Privileges or `vgw` are missing, no tunnel comes up, or one does not survive a flood.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let duration = Duration::from_secs(if arguments.quick { 1 } else { arguments.seconds });
    let rates = if arguments.quick { vec![None] } else { vec![Some(arguments.rate), None] };
    let mut report = Report { machine: machine::describe(), date: now()?, runs: Vec::new() };
    sweep_stale()?;
    for engine in ENGINES {
        let lab = Lab::builder().build()?;
        let options = GatewayOptions { engine: Some(engine.to_owned()), ..GatewayOptions::default() };
        let agents = lab.establish(&options)?;
        lab.wait_reachable(1, 2)?;
        let target = Target { lab: &lab, agent: &agents[1], engine };
        let mut attacker = Attacker::new(&lab, 1, 2)?;
        for rate in &rates {
            for kind in FloodKind::ALL {
                let run = target.measure(&mut attacker, kind, *rate, duration)?;
                eprintln!("{run}");
                report.runs.push(run);
            }
        }
        lab.wait_reachable(1, 2)?;
        ensure!(target.is_connected()?, "the connection did not survive the floods");
    }
    println!("{report}");
    let path = match &arguments.json {
        Some(path) => path.clone(),
        None => default_file(&format!("floods-{}", report.date))?,
    };
    write_json(Some(&path), &report)?;
    println!("The figures are kept in {}.", path.display());
    if arguments.publish { publish::publish_floods(&path) } else { Ok(()) }
}
