//! Benchmarks.

use crate::{build, cargo, peers, setup};
use anyhow::Result;
use clap::Args;
use testbed::vgw_binary;

/// Arguments of `cargo xtask bench`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Install no peers to compare with; those that are there are used.
    #[arg(long)]
    no_setup: bool,
    /// Passed on to the benchmark program; `--help` among them lists what it takes.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Runs the benchmark program with the release build of `vgw`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    setup::require()?;
    if !arguments.no_setup && needs_peers(&arguments.arguments) {
        peers::install()?;
    }
    build::vgw()?;
    let mut command = cargo::cargo(["run", "--release", "--package", "bench", "--"]);
    command
        .args(&arguments.arguments)
        .env("VGW_BIN", vgw_binary()?)
        .env(peers::DIRECTORY, peers::directory()?);
    cargo::run(&mut command, "the benchmark")
}

/// Whether the benchmark program will compare with peers that only it needs. Its subcommands do not.
fn needs_peers(arguments: &[String]) -> bool {
    let is_subcommand = arguments.first().is_some_and(|first| !first.starts_with('-'));
    let mut words = arguments.iter().flat_map(|argument| argument.split('='));
    let asks_for_help = arguments.iter().any(|argument| argument == "--help" || argument == "-h");
    let is_other_part =
        words.any(|word| word == "--only") && words.next().is_some_and(|part| part != "end-to-end");
    !is_subcommand && !asks_for_help && !is_other_part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_installed_for_what_compares_with_them() {
        let needs = |line: &str| needs_peers(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert!(needs("") && needs("--quick") && needs("--only end-to-end --json file"));
        assert!(!needs("--only=micro") && !needs("--only handshakes --quick"));
        assert!(!needs("handshakes --rounds 1") && !needs("--quick --only micro") && !needs("--help"));
        assert!(!needs("--only handshakes") && !needs("--only=micro"));
    }
}
