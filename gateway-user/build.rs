//! Builds the XDP programs for the BPF target and hands the object file to the crate.
//!
//! The BPF target needs the nightly compiler, its own flags (`gateway-ebpf/.cargo/config.toml`) and `bpf-linker`, so this
//! calls cargo in that folder with the environment of the outer build removed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

fn main() {
    let manifest_dir =
        PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let out_dir = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let workspace = manifest_dir.parent().expect("the crate lies in the workspace");
    let ebpf = workspace.join("gateway-ebpf");
    for input in ["gateway-ebpf/src", "gateway-ebpf/Cargo.toml", "gateway-ebpf/.cargo", "gateway-common/src"]
    {
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
    command
        .args(["+nightly", "build", "--release", "--locked", "--target-dir"])
        .arg(target_dir)
        .current_dir(ebpf);
    // What the outer cargo set for the host's compiler must not reach the inner one.
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("CARGO_") && name != "CARGO_HOME"
            || name.starts_with("RUST") && name != "RUSTUP_HOME"
        {
            command.env_remove(&*name);
        }
    }
    let status = command.status().unwrap_or_else(|error| panic!("cannot run cargo: {error}"));
    assert!(
        status.success(),
        "building the XDP programs failed; they need the nightly toolchain with rust-src, and bpf-linker on PATH: \
         `cargo xtask setup` installs both"
    );
}
