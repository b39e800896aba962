//! Installing the VPN gateways that the benchmark compares with.
//!
//! Programs that are built go into a cache directory of the user's, so that neither a fresh clone builds them again nor a program
//! of the same name on the path is replaced. None of them is needed for building or testing; one that cannot be had is
//! reported by the benchmark as not installed.

use crate::environment::has_program;
use crate::progress::Step;
use crate::setup;
use anyhow::{Context as _, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};
use testbed::run;

/// Names the directory for the benchmark.
pub(crate) const DIRECTORY: &str = "VGW_PEERS_DIR";

/// Peers that are Debian packages, each with its package.
const PROGRAMS: [(&str, &str); 4] = [
    ("wireguard-go", "wireguard-go"),
    ("wg", "wireguard-tools"),
    ("openvpn", "openvpn"),
    // With what building DPDK's example needs.
    ("make", "make"),
];

/// Peers that are crates: the crate, its version and its program.
const CRATES: [(&str, &str, &str); 2] =
    [("boringtun-cli", "0.7.1", "boringtun-cli"), ("gotatun-cli", "0.10.2", "gotatun")];

/// Files that building DPDK's example needs, each with its package.
const DPDK: [(&str, &str); 4] = [
    ("/usr/include/dpdk/rte_ethdev.h", "libdpdk-dev"),
    ("/usr/bin/dpdk-testpmd", "dpdk-dev"),
    ("/usr/share/dpdk/examples/ipsec-secgw/Makefile", "dpdk-doc"),
    ("/usr/bin/pkg-config", "pkg-config"),
];

/// The gateway among DPDK's examples.
const SECGW: &str = "ipsec-secgw";
/// What it asks of its ports and software ports cannot do, and what stands there instead.
const CHECKSUM_OFFLOAD: [&str; 2] = [".offloads = RTE_ETH_RX_OFFLOAD_CHECKSUM,", ".offloads = 0,"];

/// Where the programs are kept.
pub(crate) fn directory() -> Result<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    Ok(cache.context("neither XDG_CACHE_HOME nor HOME is set")?.join("vnet-gateway/peers"))
}

/// Installs the peers that are missing. One that cannot be installed is told and keeps none of the others from it.
///
/// # Errors
/// There is no place for them.
pub(crate) fn install() -> Result<()> {
    let directory = directory()?;
    fs::create_dir_all(directory.join("bin"))
        .with_context(|| format!("cannot make {}", directory.display()))?;
    let mut outcomes = vec![("Debian packages", packages()), (SECGW, secgw(&directory))];
    for (package, version, program) in CRATES {
        outcomes.push((package, crate_program(&directory, package, version, program)));
    }
    for (what, outcome) in outcomes {
        if let Err(error) = outcome {
            eprintln!("warning: {what}: {error:#}");
        }
    }
    Ok(())
}

fn packages() -> Result<()> {
    let programs = PROGRAMS.iter().filter(|(program, _)| !has_program(program)).map(|(_, package)| *package);
    let files = DPDK.iter().filter(|(file, _)| !Path::new(file).exists()).map(|(_, package)| *package);
    let packages: Vec<&str> = programs.chain(files).collect();
    if packages.is_empty() { Ok(()) } else { setup::debian_packages(&packages) }
}

fn crate_program(directory: &Path, package: &str, version: &str, program: &str) -> Result<()> {
    let path = directory.join("bin").join(program);
    let says = run(Command::new(&path).arg("--version")).unwrap_or_default();
    if says.split_whitespace().any(|word| word == version) {
        return Ok(());
    }
    let step = Step::begin(&format!("Installing {package} {version} for the benchmark (takes minutes)"));
    setup::cargo_install(package, version, Some(directory))?;
    step.end("installed");
    Ok(())
}

/// Builds the example from the sources in Debian's package.
fn secgw(directory: &Path) -> Result<()> {
    let version = run(Command::new("pkg-config").args(["--modversion", "libdpdk"]))?;
    let program = directory.join("bin").join(SECGW);
    let stamp = directory.join(format!("{SECGW}.version"));
    if program.exists() && fs::read_to_string(&stamp).is_ok_and(|built| built == version) {
        return Ok(());
    }
    let step = Step::begin(&format!("Building DPDK's {SECGW} for the benchmark"));
    let sources = directory.join(format!("dpdk-{}", version.trim()));
    if sources.exists() {
        fs::remove_dir_all(&sources)?;
    }
    run(Command::new("cp").args(["-r", "/usr/share/dpdk/examples"]).arg(&sources))?;
    let example = sources.join(SECGW);
    without_checksum_offload(&example.join(format!("{SECGW}.c")))?;
    run(Command::new("make").arg("--silent").arg("--directory").arg(&example))?;
    fs::copy(example.join("build").join(SECGW), &program)?;
    fs::remove_dir_all(&sources)?;
    fs::write(&stamp, version)?;
    step.end("built");
    Ok(())
}

fn without_checksum_offload(file: &Path) -> Result<()> {
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let [asked, instead] = CHECKSUM_OFFLOAD;
    ensure!(text.matches(asked).count() == 1, "{} is not the source that is known", file.display());
    Ok(fs::write(file, text.replace(asked, instead))?)
}
