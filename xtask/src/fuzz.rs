//! Fuzzing the IKE messages and the endpoint.

use crate::environment::workspace;
use crate::progress::Step;
use crate::{cargo, setup};
use anyhow::{Context as _, Result, bail, ensure};
use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use testbed::try_run;

/// Version of `cargo-fuzz` that is installed.
const CARGO_FUZZ: &str = "0.13.1";
/// Seconds that one input may take; the slowest good ones take hundredths.
const SLOWEST_INPUT: u32 = 20;
/// Longest input in octets.
const LONGEST_INPUT: u32 = 4096;

/// Arguments of `cargo xtask fuzz`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Targets to run; all of them when none is named.
    targets: Vec<Target>,
    /// How long to run each.
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

/// A fuzz target.
#[derive(Clone, Copy, ValueEnum)]
enum Target {
    /// The decoder of messages.
    Message,
    /// The decrypted payload chain.
    Payloads,
    /// Identities and distinguished names.
    Identity,
    /// Certificates and what they are made of.
    Certificate,
    /// A request in fragments.
    Fragments,
    /// The whole responder against strangers.
    Responder,
    /// The whole endpoint against an authenticated peer.
    Session,
}

impl Target {
    fn name(self) -> String {
        let value = self.to_possible_value().expect("no target is hidden");
        value.get_name().to_owned()
    }
}

/// Runs the targets one after the other, starting from the committed corpus. New inputs stay in the target directory; one
/// that fails is kept in `fuzz/artifacts`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    install()?;
    let targets =
        if arguments.targets.is_empty() { Target::value_variants() } else { arguments.targets.as_slice() };
    let fuzzer = Fuzzer::new()?;
    let step = Step::begin("Building the fuzz targets");
    cargo::run(&mut fuzzer.command("build", &[]), "building the fuzz targets")?;
    step.end("built");
    for target in targets {
        fuzzer.run(&target.name(), arguments.seconds)?;
    }
    Ok(())
}

/// Installs what fuzzing needs beside the rest.
pub(crate) fn install() -> Result<()> {
    setup::install()?;
    if cargo_fuzz_version().is_some_and(|version| version == CARGO_FUZZ) {
        return Ok(());
    }
    let step = Step::begin(&format!("Installing cargo-fuzz {CARGO_FUZZ}"));
    setup::cargo_install("cargo-fuzz", CARGO_FUZZ, None)?;
    match cargo_fuzz_version() {
        Some(version) if version == CARGO_FUZZ => step.end("installed"),
        Some(version) => bail!("another cargo-fuzz, version {version}, comes first on PATH; remove it"),
        None => bail!("cargo-fuzz is installed but not found: add cargo's `bin` directory to PATH"),
    }
    Ok(())
}

fn cargo_fuzz_version() -> Option<String> {
    let text = try_run("cargo-fuzz --version").ok()?;
    text.split_whitespace().nth(1).map(str::to_owned)
}

struct Fuzzer {
    /// The nightly compiler: fuzzing needs flags that a stable one refuses.
    channel: String,
    sanitizer: &'static str,
    /// Where builds and new inputs go.
    directory: PathBuf,
}

impl Fuzzer {
    fn new() -> Result<Self> {
        let channel = setup::nightly_channel()?;
        let sanitizer = if has_address_sanitizer(&channel)? {
            "address"
        } else {
            println!("{channel} has no address sanitizer for this machine: fuzzing without it");
            "none"
        };
        let directory = target_directory().join("fuzz");
        Ok(Self { channel, sanitizer, directory })
    }

    fn run(&self, target: &str, seconds: u32) -> Result<()> {
        let step = Step::begin(&format!("Fuzzing {target} for {seconds} s"));
        let new_inputs = self.directory.join("corpus").join(target);
        std::fs::create_dir_all(&new_inputs)
            .with_context(|| format!("cannot create {}", new_inputs.display()))?;
        let corpus = workspace().join("fuzz/corpus").join(target);
        ensure!(corpus.is_dir(), "{} is missing", corpus.display());
        let mut command = self.command("run", &[target]);
        command.args([&new_inputs, &corpus]).arg("--").args([
            format!("-max_total_time={seconds}"),
            format!("-timeout={SLOWEST_INPUT}"),
            format!("-max_len={LONGEST_INPUT}"),
            // Long inputs from the start: a short run would not come to them.
            "-len_control=0".to_owned(),
            "-print_final_stats=1".to_owned(),
        ]);
        cargo::run(&mut command, &format!("fuzz target {target}"))?;
        step.end("no failure");
        Ok(())
    }

    fn command(&self, action: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("cargo-fuzz");
        command
            .args([action, "--fuzz-dir", "fuzz", "--sanitizer", self.sanitizer, "--target-dir"])
            .arg(&self.directory)
            .args(arguments)
            .current_dir(workspace())
            // Those of the cargo that runs this program name its own compiler.
            .env_remove("CARGO")
            .env_remove("RUSTC")
            .env("RUSTUP_TOOLCHAIN", &self.channel)
            .stdin(Stdio::null());
        command
    }
}

/// Whether the compiler brings the run-time part of the address sanitizer.
fn has_address_sanitizer(channel: &str) -> Result<bool> {
    let libraries = try_run(&format!("rustc +{channel} --print target-libdir"))?;
    let files = std::fs::read_dir(libraries.trim())?;
    Ok(files.flatten().any(|file| file.file_name().to_string_lossy().ends_with("_rt.asan.a")))
}

fn target_directory() -> PathBuf {
    let chosen = std::env::var_os("CARGO_TARGET_DIR").map(|path| workspace().join(path));
    chosen.unwrap_or_else(|| workspace().join(Path::new("target")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_a_program_and_a_corpus() {
        let fuzz = workspace().join("fuzz");
        for target in Target::value_variants() {
            let name = target.name();
            assert!(fuzz.join("fuzz_targets").join(&name).with_extension("rs").is_file(), "{name}");
            assert!(fuzz.join("corpus").join(&name).is_dir(), "{name}");
        }
        let programs = std::fs::read_dir(fuzz.join("fuzz_targets")).unwrap().count();
        assert_eq!(programs, Target::value_variants().len());
    }
}
