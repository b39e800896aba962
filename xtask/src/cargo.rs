//! Calling cargo.

use crate::{environment, interrupt};
use anyhow::{Context as _, Result, ensure};
use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};

/// The cargo that runs this program, in the workspace's folder, without standard input.
pub(crate) fn cargo(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(environment::workspace()).stdin(Stdio::null());
    command
}

/// Starts `command` in a process group of its own, which an interruption ends as a whole.
pub(crate) fn spawn(command: &mut Command) -> Result<Child> {
    interrupt::spawn_group(command).with_context(|| format!("cannot run {}", command.get_program().display()))
}

/// Runs `command` with its output passed through; a non-zero exit status is an error that names `what` failed.
pub(crate) fn run(command: &mut Command, what: &str) -> Result<()> {
    let status = spawn(command)?.wait();
    interrupt::group_ended();
    let status = status?;
    ensure!(status.success(), "{what} failed ({status})");
    Ok(())
}
