//! Running the tests and counting them.

mod suite;
mod tally;

use crate::{build, setup};
use anyhow::Result;
use clap::Args;
use std::process::ExitCode;
use suite::Suite;
use tally::Tally;
use testbed::{Probe, sweep_stale};

/// Arguments of `cargo xtask test`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Suites to run; all of them when none is named.
    suites: Vec<Suite>,
    /// Run only tests whose name contains this.
    #[arg(long)]
    filter: Option<String>,
    /// Frames that suite `hostile` tries; a million when not told.
    #[arg(long, value_name = "N")]
    packets: Option<u64>,
    /// Seed of the frames of suite `hostile`, to see those of an earlier run again.
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

impl Arguments {
    /// What suite `hostile` reads from its environment.
    fn environment(&self) -> Vec<(&'static str, String)> {
        let values = [("VGW_HOSTILE_PACKETS", self.packets), ("VGW_HOSTILE_SEED", self.seed)];
        values.into_iter().filter_map(|(name, value)| Some((name, value?.to_string()))).collect()
    }
}

/// Runs the suites; prints `N passed, N failed, N skipped` as the last line and fails when a test or a build failed.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    setup::install()?;
    for sentence in Probe::cached().missing() {
        println!("tests will be skipped: {sentence}");
    }
    // What an earlier run that was killed left behind is not this run's fault.
    sweep_stale()?;
    let suites = if arguments.suites.is_empty() { Suite::ALL.to_vec() } else { arguments.suites.clone() };
    let mut tally = Tally::default();
    if suites.iter().any(|suite| suite.needs_vgw())
        && let Err(error) = build::vgw()
    {
        println!("{error:#}");
        tally.failed += 1;
    }
    for suite in suites {
        for run in suite.runs() {
            tally += run.execute(arguments.filter.as_deref(), &arguments.environment())?;
        }
    }
    let left = sweep_stale()?;
    if !left.is_empty() {
        println!("left behind by a test, and removed now: {}", left.join(" "));
        tally.failed += 1;
    }
    if let (Some(filter), true) = (&arguments.filter, tally == Tally::default()) {
        println!("no test has {filter:?} in its name");
        tally.failed += 1;
    }
    println!("\n{tally}");
    Ok(if tally.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
