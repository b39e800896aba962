//! Benchmarks: what a packet costs, and IKE handshakes.

mod handshakes;
mod machine;
mod micro;
mod report;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Measure what one packet costs, or what a subcommand names.
#[derive(Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Fewer packets: a look, not a figure to quote.
    #[arg(long)]
    quick: bool,
    /// Write the results here as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Measure handshakes per second and memory per tunnel as responder, beside strongSwan's charon.
    Handshakes(handshakes::Arguments),
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    match &arguments.command {
        Some(Command::Handshakes(arguments)) => handshakes::run(arguments),
        None => packets(&arguments),
    }
}

fn packets(arguments: &Arguments) -> Result<()> {
    let effort = if arguments.quick { micro::Effort::QUICK } else { micro::Effort::FULL };
    let report = report::Report { machine: machine::describe(), micro: micro::run(effort)? };
    println!("{report}");
    report::write_json(arguments.json.as_deref(), &report)
}
