//! Benchmarks: what a packet costs, what goes through from host to host beside others, and IKE handshakes.

mod agent;
mod bpf;
mod budget;
mod end_to_end;
mod floods;
mod handshakes;
mod machine;
mod micro;
mod options;
mod peers;
mod plot;
mod publish;
mod report;
mod run;
mod scale;
mod usage;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Measure what packets cost and how many go through, or what a subcommand names.
#[derive(Parser)]
#[command(name = "bench", args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: options::Options,
}

#[derive(Subcommand)]
enum Command {
    /// Measure how exactly the shared budget is kept, and how fairly it is shared.
    Budget(budget::Arguments),
    /// Measure handshakes per second and memory per tunnel as responder, beside strongSwan's charon.
    Handshakes(handshakes::Arguments),
    /// Measure what is left of legitimate traffic while somebody floods the gateway, and what the flood costs.
    Floods(floods::Arguments),
    /// Measure what many tunnels and prefixes cost: per packet, per change of a prefix, and in memory.
    Scale(scale::Arguments),
    /// Put the tables, pictures and figures of an earlier run into the documents.
    Publish(publish::Arguments),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match &arguments.command {
        Some(Command::Budget(arguments)) => budget::run(arguments),
        Some(Command::Handshakes(arguments)) => handshakes::run(arguments),
        Some(Command::Floods(arguments)) => floods::run(arguments),
        Some(Command::Scale(arguments)) => scale::run(arguments),
        Some(Command::Publish(arguments)) => publish::run(arguments),
        None => run::run(&arguments.options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
