//! Builds the XDP programs for the BPF target and hands the object file to the crate.
//!
//! The BPF target needs the nightly compiler, its own flags (`gateway-ebpf/.cargo/config.toml`) and `bpf-linker`, so this
//! calls cargo in that folder with the environment of the outer build removed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Prefixes of variables that say where and how to fetch, not what to build.
const KEPT: [&str; 8] = [
    "CARGO_HOME",
    "CARGO_HTTP_",
    "CARGO_NET_",
    "CARGO_REGISTR",
    "CARGO_SOURCE_",
    "CARGO_TERM_",
    "RUSTUP_DIST_SERVER",
    "RUSTUP_HOME",
];

/// Everything that the object file is made from.
const INPUTS: [&str; 5] = [
    "gateway-common/src",
    "gateway-ebpf/.cargo",
    "gateway-ebpf/Cargo.toml",
    "gateway-ebpf/rust-toolchain.toml",
    "gateway-ebpf/src",
];

fn main() {
    let manifest_dir =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let workspace = manifest_dir.parent().expect("the crate lies in the workspace");
    let ebpf = workspace.join("gateway-ebpf");
    for input in INPUTS {
        println!("cargo::rerun-if-changed={}", workspace.join(input).display());
    }
    let target_dir = out_dir.join("ebpf");
    build(&ebpf, &target_dir);
    let object = target_dir.join("bpfel-unknown-none/release/vgw");
    fs::copy(&object, out_dir.join("gateway.o"))
        .unwrap_or_else(|error| panic!("cannot copy {}: {error}", object.display()));
}

fn build(ebpf: &Path, target_dir: &Path) {
    let mut command = Command::new("cargo");
    command.args(["build", "--release", "--locked", "--target-dir"]).arg(target_dir).current_dir(ebpf);
    // What the outer cargo set for the host's compiler must not reach the inner one; what the user set for the network must.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        let is_cargos = name.starts_with("CARGO_") || name.starts_with("RUST");
        if is_cargos && !KEPT.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(&*name);
        }
    }
    let status = command.status().unwrap_or_else(|error| panic!("cannot run cargo: {error}"));
    assert!(
        status.success(),
        "building the XDP programs failed; they need the compiler that gateway-ebpf/rust-toolchain.toml names, with rust-src, and bpf-linker on PATH: \
         `cargo xtask setup` installs both"
    );
}
