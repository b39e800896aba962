//! The command-line client.

use crate::{Process, run};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Client of the agent that listens on a socket.
#[derive(Clone, Debug)]
pub struct Vgw {
    socket: PathBuf,
}

impl Vgw {
    pub(crate) fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// The agent's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Runs `vgw <arguments>` and returns what it printed.
    pub fn text(&self, arguments: &[&str]) -> Result<String> {
        run(self.command()?.args(arguments))
    }

    /// Runs `vgw <arguments> --output json` and parses what it printed.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = run(self.command()?.args(arguments).args(["--output", "json"]))?;
        serde_json::from_str(&text).with_context(|| format!("`vgw {}` printed {text}", arguments.join(" ")))
    }

    /// Starts `vgw <arguments>`, which goes on by itself; what it prints is appended to the file `log`.
    pub fn start(&self, arguments: &[&str], log: &Path) -> Result<Process> {
        let mut command = self.command()?;
        command.args(arguments);
        Process::spawn(command, log)
    }

    /// Status of the gateway and its connections.
    pub fn status(&self) -> Result<Value> {
        self.json(&["status"])
    }

    /// The entry of connection `site` in the status.
    pub fn connection(&self, site: &str) -> Result<Value> {
        let status = self.status()?;
        let entries =
            status["connections"].as_array().with_context(|| format!("no connections in {status}"))?;
        let entry = entries.iter().find(|entry| entry["site"] == site);
        entry.cloned().with_context(|| format!("no connection to {site} in {status}"))
    }

    /// Sets the pre-shared key of the connection from `vnet` to `site`; the key travels on standard input.
    pub fn set_key(&self, vnet: &str, site: &str, key: &str) -> Result<()> {
        let mut command = self.command()?;
        command.args(["connection", "set-key", vnet, site]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        child.stdin.take().context("standard input is piped")?.write_all(key.as_bytes())?;
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!(
                "`vgw connection set-key {vnet} {site}` failed: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }

    fn command(&self) -> Result<Command> {
        let mut command = Command::new(vgw_binary()?);
        command.arg("--socket").arg(&self.socket);
        Ok(command)
    }
}

/// The `vgw` program: the environment variable `VGW_BIN`, else the release build beside the running program.
pub fn vgw_binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("VGW_BIN") {
        return Ok(path.into());
    }
    let program = std::env::current_exe()?;
    // <target>/<profile>/xtask or <target>/<profile>/deps/<test>
    let mut profile = program.parent().context("the running program is in a directory")?;
    if profile.ends_with("deps") {
        profile = profile.parent().context("`deps` is in a directory")?;
    }
    let binary = profile.with_file_name("release").join("vgw");
    ensure!(binary.exists(), "{} is missing: `cargo xtask build` makes it", binary.display());
    Ok(binary)
}
