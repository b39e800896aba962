//! The project's own commands; `cargo xtask` lists them.

mod bench;
mod build;
mod cargo;
mod environment;
mod fuzz;
mod interrupt;
mod lab;
mod licenses;
mod peers;
mod progress;
mod setup;
mod test;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Commands of the vnet-gateway project.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install whatever building and testing need; quick when it is all there.
    Setup(setup::Arguments),
    /// Build `vgw`, the XDP programs included, in the release profile.
    Build,
    /// Connect two VNets inside network namespaces, show traffic through the tunnel, and measure it.
    Lab(lab::Arguments),
    /// Run the tests; the last line counts them.
    Test(test::Arguments),
    /// Run the benchmarks; arguments are passed on.
    Bench(bench::Arguments),
    /// Fuzz the IKE messages and the endpoint.
    Fuzz(fuzz::Arguments),
    /// Check the licence of every dependency against the list in `deny.toml`.
    Licenses,
}

fn main() -> ExitCode {
    environment::prepare();
    let command = Arguments::parse().command;
    let outcome = interrupt::install().and_then(|()| run(command));
    // An interrupted command fails in some arbitrary way; the clean-up has the last word then.
    interrupt::yield_to_cleanup();
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let done = |()| ExitCode::SUCCESS;
    match command {
        Command::Setup(arguments) => set_up(&arguments).map(done),
        Command::Build => setup::install().and_then(|()| build::vgw()).map(done),
        Command::Lab(arguments) => lab::run(&arguments).map(done),
        Command::Test(arguments) => test::run(&arguments),
        Command::Bench(arguments) => bench::run(&arguments).map(done),
        Command::Fuzz(arguments) => fuzz::run(&arguments).map(done),
        Command::Licenses => licenses::run().map(done),
    }
}

fn set_up(arguments: &setup::Arguments) -> Result<()> {
    setup::require()?;
    fuzz::install()?;
    if arguments.bench { peers::install() } else { Ok(()) }
}
