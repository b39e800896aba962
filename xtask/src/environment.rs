//! Environment of this process and its children.

use std::path::{Path, PathBuf};
use std::{env, fs};

/// Lets children find what `cargo install` and Debian's packages install, whoever calls: the directory of cargo's
/// programs and the system directories that are on root's path only.
pub(crate) fn prepare() {
    let mut directories: Vec<PathBuf> =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    let cargo = cargo_home().map(|home| home.join("bin"));
    for directory in cargo.into_iter().chain(["/usr/sbin", "/sbin"].map(PathBuf::from)) {
        if !directories.contains(&directory) {
            directories.push(directory);
        }
    }
    if let Ok(path) = env::join_paths(directories) {
        // SAFETY: called first thing in `main`, when there is no other thread that could read the environment.
        unsafe { env::set_var("PATH", path) };
    }
}

/// The workspace's folder.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace")
}

/// Whether `program` is on the path.
pub(crate) fn has_program(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .any(|directory| fs::metadata(directory.join(program)).is_ok_and(|file| file.is_file()))
}

fn cargo_home() -> Option<PathBuf> {
    let home = || env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo"));
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}
