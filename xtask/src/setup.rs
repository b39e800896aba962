//! Installing what building and testing need.

use crate::environment::has_program;
use crate::progress::Step;
use crate::{cargo, environment};
use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use std::path::Path;
use std::process::Command;
use testbed::strongswan::strongswan_missing;
use testbed::{Probe, run, try_run};

/// Arguments of `cargo xtask setup`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Install the VPN gateways that `cargo xtask bench` compares with, too.
    #[arg(long)]
    pub(crate) bench: bool,
}

/// Version of `bpf-linker` that fits the pinned `aya`.
const BPF_LINKER: &str = "0.10.3";

/// Programs that the laboratory and the tests call, each with the Debian package that has it.
const PROGRAMS: [(&str, &str); 11] = [
    ("ip", "iproute2"),
    ("ethtool", "ethtool"),
    ("iperf3", "iperf3"),
    ("tcpdump", "tcpdump"),
    ("tshark", "tshark"),
    ("ping", "iputils-ping"),
    ("traceroute", "traceroute"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("openssl", "openssl"),
    ("c++", "g++"),
];

/// Installs what is missing and fails if this machine cannot run a gateway; the error says what it lacks.
pub(crate) fn require() -> Result<()> {
    install()?;
    let missing = Probe::cached().missing();
    ensure!(missing.is_empty(), "this machine cannot run a gateway:\n  {}", missing.join("\n  "));
    Ok(())
}

/// Installs what is missing. Does not ask whether this machine can run a gateway: it may still build one.
pub(crate) fn install() -> Result<()> {
    packages()?;
    nightly()?;
    bpf_linker()
}

fn packages() -> Result<()> {
    let programs = PROGRAMS.iter().filter(|(program, _)| !has_program(program)).map(|(_, package)| *package);
    let strongswan = strongswan_missing();
    let packages: Vec<&str> = programs.chain(strongswan.iter().copied()).collect();
    if packages.is_empty() {
        return Ok(());
    }
    debian_packages(&packages)?;
    // The tests start daemons of their own; the distribution's would take the ports of IKE.
    // One that was there before is somebody's, and stays as it is.
    let is_new = strongswan.contains(&"charon-systemd");
    if is_new && Path::new("/run/systemd/system").exists() {
        try_run("systemctl disable --now strongswan.service")?;
    }
    Ok(())
}

/// Installs `packages` of Debian, if this is Debian and the user is root; the error says what to do otherwise.
pub(crate) fn debian_packages(packages: &[&str]) -> Result<()> {
    let packages_text = packages.join(" ");
    ensure!(
        has_program("apt-get"),
        "these Debian packages are missing: {packages_text}; install what they contain with this system's package manager"
    );
    ensure!(
        nix::unistd::geteuid().is_root(),
        "these Debian packages are missing; as root, run: apt-get install {packages_text}"
    );
    let step = Step::begin(&format!("Installing Debian packages: {packages_text}"));
    apt_get(&["update"])?;
    let options = ["install", "--yes", "--no-install-recommends"];
    apt_get(&[&options[..], packages].concat())?;
    step.end("installed");
    Ok(())
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("apt-get");
    command.arg("--quiet").args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    run(&mut command).map(|_| ())
}

fn nightly() -> Result<()> {
    ensure!(has_program("rustup"), "rustup is missing: install it from https://rustup.rs");
    let channel = nightly_channel()?;
    let Ok(sysroot) = try_run(&format!("rustc +{channel} --print sysroot")) else {
        let step = Step::begin(&format!("Installing the compiler of the XDP programs, {channel}"));
        rustup(&format!(
            "toolchain install {channel} --profile minimal --component rust-src --component clippy"
        ))?;
        step.end("installed");
        return Ok(());
    };
    let sysroot = Path::new(sysroot.trim());
    let components =
        [("rust-src", "lib/rustlib/src/rust/library/core/Cargo.toml"), ("clippy", "bin/cargo-clippy")];
    for (component, file) in components {
        if !sysroot.join(file).exists() {
            let step = Step::begin(&format!("Installing component {component} of {channel}"));
            rustup(&format!("component add {component} --toolchain {channel}"))?;
            step.end("installed");
        }
    }
    Ok(())
}

/// The compiler that the XDP programs name in their toolchain file.
pub(crate) fn nightly_channel() -> Result<String> {
    let path = environment::workspace().join("gateway-ebpf/rust-toolchain.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let line = text.lines().find_map(|line| line.strip_prefix("channel = "));
    let channel = line.with_context(|| format!("{} names no channel", path.display()))?;
    Ok(channel.trim_matches('"').to_owned())
}

fn rustup(arguments: &str) -> Result<()> {
    let mut command = Command::new("rustup");
    command.args(arguments.split_whitespace());
    cargo::run(&mut command, &format!("`rustup {arguments}`"))
}

fn bpf_linker() -> Result<()> {
    if bpf_linker_version().is_some_and(|version| version == BPF_LINKER) {
        return Ok(());
    }
    let step = Step::begin(&format!("Installing bpf-linker {BPF_LINKER} (takes minutes)"));
    cargo_install("bpf-linker", BPF_LINKER, None)?;
    match bpf_linker_version() {
        Some(version) if version == BPF_LINKER => step.end("installed"),
        Some(version) => bail!("another bpf-linker, version {version}, comes first on PATH; remove it"),
        None => bail!("bpf-linker is installed but not found: add cargo's `bin` directory to PATH"),
    }
    Ok(())
}

/// Installs a program from the registry, which goes into the folder `bin` of `root` or of cargo's home.
pub(crate) fn cargo_install(package: &str, version: &str, root: Option<&Path>) -> Result<()> {
    let mut install = cargo::cargo(["install", package, "--version", version, "--locked"]);
    if let Some(root) = root {
        install.arg("--root").arg(root);
    }
    // Not under the workspace's own settings, and into a directory that outlives nothing.
    install
        .current_dir(environment::workspace().parent().unwrap_or(Path::new("/")))
        .env_remove("CARGO_TARGET_DIR");
    cargo::run(&mut install, &format!("installing {package}"))
}

fn bpf_linker_version() -> Option<String> {
    let text = try_run("bpf-linker --version").context("bpf-linker").ok()?;
    text.split_whitespace().nth(1).map(str::to_owned)
}
