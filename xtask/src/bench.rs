//! Benchmarks.

use crate::{build, cargo, setup};
use anyhow::Result;
use clap::Args;
use testbed::vgw_binary;

/// Arguments of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Passed on to the benchmark program; `--help` among them lists what it takes.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the benchmark program with the release build of `vgw`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::require()?;
    build::vgw()?;
    let mut command = cargo::cargo(["run", "--release", "--package", "bench", "--"]);
    command.args(&arguments.arguments).env("VGW_BIN", vgw_binary()?);
    cargo::run(&mut command, "the benchmark")
}
