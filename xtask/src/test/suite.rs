//! Suites and the calls of `cargo test` that they are made of.

use super::tally::{LineReader, Tally};
use crate::progress::Step;
use crate::{cargo, interrupt};
use anyhow::{Context as _, Result};
use clap::ValueEnum;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use testbed::vgw_binary;

/// A group of tests.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Everything that needs no network: the tests beside the code.
    Unit,
    /// The XDP programs and their control, on virtual ports.
    Datapath,
    /// The XDP programs against a model of them, on a million odd frames.
    Hostile,
    /// Whole gateways, hosts and the internet between them.
    Lab,
    /// Our gateway and strongSwan as its peer.
    Interop,
}

/// One call of `cargo test`.
pub(crate) struct Run {
    name: &'static str,
    cargo: &'static [&'static str],
    runner: &'static [&'static str],
}

/// Tests that load the machine or measure it do so one at a time.
const ONE_AT_A_TIME: &[&str] = &["--test-threads=1"];

impl Suite {
    /// Every suite, quick ones first.
    pub(crate) const ALL: [Self; 5] = [Self::Unit, Self::Datapath, Self::Hostile, Self::Lab, Self::Interop];

    /// Whether the tests run the program `vgw`.
    pub(crate) fn needs_vgw(self) -> bool {
        !matches!(self, Self::Unit | Self::Hostile)
    }

    /// The calls of `cargo test`.
    pub(crate) fn runs(self) -> Vec<Run> {
        match self {
            Self::Unit => vec![
                Run {
                    name: "unit tests",
                    cargo: &["--workspace", "--exclude", "testbed", "--lib", "--bins", "--tests"],
                    runner: &[],
                },
                Run {
                    name: "unit tests of the test bed",
                    cargo: &["--package", "testbed", "--lib"],
                    runner: &[],
                },
            ],
            Self::Datapath => vec![Run {
                name: "datapath tests",
                cargo: &["--package", "testbed", "--release", "--test", "datapath"],
                runner: ONE_AT_A_TIME,
            }],
            Self::Hostile => vec![Run {
                name: "hostile frames",
                cargo: &["--package", "testbed", "--release", "--test", "hostile"],
                // It tells what the frames came to.
                runner: &["--nocapture"],
            }],
            Self::Lab => vec![Run {
                name: "laboratory tests",
                cargo: &["--package", "testbed", "--release", "--test", "lab"],
                runner: ONE_AT_A_TIME,
            }],
            Self::Interop => vec![Run {
                name: "tests with strongSwan",
                cargo: &["--package", "testbed", "--release", "--test", "interop"],
                runner: ONE_AT_A_TIME,
            }],
        }
    }
}

impl Run {
    /// Runs the tests whose name contains `filter`, shows their output as it comes, and counts them. A run that fails
    /// without a failed test (a build error, a crash) counts as one failure.
    pub(crate) fn execute(&self, filter: Option<&str>, environment: &[(&str, String)]) -> Result<Tally> {
        let step = Step::begin(&format!("Running the {}", self.name));
        let mut command = cargo::cargo(["test", "--no-fail-fast"]);
        command.args(self.cargo).args(filter).arg("--").args(self.runner).stdout(Stdio::piped());
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        if let Ok(vgw) = vgw_binary() {
            command.env("VGW_BIN", vgw);
        }
        let mut child = cargo::spawn(&mut command)?;
        let mut output = child.stdout.take().context("standard output is piped")?;
        let mut lines = LineReader::default();
        let mut buffer = [0; 4096];
        loop {
            let length = output.read(&mut buffer)?;
            if length == 0 {
                break;
            }
            // Not line by line: a slow test's name should be on the screen while it runs.
            let mut screen = std::io::stdout().lock();
            screen.write_all(&buffer[..length])?;
            screen.flush()?;
            lines.feed(&buffer[..length]);
        }
        let status = child.wait();
        interrupt::group_ended();
        let mut tally = lines.finish();
        if !status?.success() && tally.failed == 0 {
            tally.failed = 1;
        }
        step.end(&tally.to_string());
        Ok(tally)
    }
}
