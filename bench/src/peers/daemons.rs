//! A daemon at each end.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::sys::signal::Signal;
use testbed::Process;

use crate::end_to_end::{End, GatewayProcess, Running, Topology};

/// How long a killed daemon may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);
/// Lines of each log that a failure quotes.
const LOG_LINES: usize = 15;

/// Two daemons of one kind. Dropping them ends them.
pub(super) struct Daemons {
    program: &'static str,
    processes: Vec<Process>,
    inner_mtu: u32,
    /// What the daemons leave behind elsewhere than in the topology's directory.
    leftovers: Vec<PathBuf>,
}

impl Daemons {
    /// Starts none yet.
    pub(super) fn new(program: &'static str, inner_mtu: u32) -> Self {
        Self { program, processes: Vec::new(), inner_mtu, leftovers: Vec::new() }
    }

    /// Starts the next one, that of end A first.
    ///
    /// # Errors
    /// It cannot be started.
    pub(super) fn spawn(&mut self, topology: &Topology, command: Command) -> Result<()> {
        let log = topology.directory().join(format!("{}-{}.log", self.program, self.processes.len()));
        self.processes.push(Process::spawn(command, &log)?);
        Ok(())
    }

    /// Removes `path` when the daemons have ended.
    pub(super) fn leaves(&mut self, path: PathBuf) {
        self.leftovers.push(path);
    }

    /// Whether all of them run.
    ///
    /// # Errors
    /// One has ended; the error quotes the logs.
    pub(super) fn check(&mut self) -> Result<()> {
        for index in 0..self.processes.len() {
            if let Some(status) = self.processes[index].exited()? {
                anyhow::bail!("{} ended ({status}): {}", self.program, self.log_tail());
            }
        }
        Ok(())
    }
}

impl Running for Daemons {
    fn processes(&self) -> Vec<GatewayProcess> {
        let names = ["a", "b"].map(|end| format!("{end}: {}", self.program));
        let process = |(name, process): (String, &Process)| GatewayProcess { name, id: process.id() };
        names.into_iter().zip(&self.processes).map(process).collect()
    }

    fn inner_mtu(&self) -> u32 {
        self.inner_mtu
    }

    fn stop_far_gateway(&mut self, _: &Topology) -> Result<bool> {
        // Without the chance to tell the other end.
        let far = self.processes.get_mut(End::B as usize).context("it does not run")?;
        far.end(Signal::SIGKILL, KILL_TIMEOUT)?;
        Ok(true)
    }

    fn log_tail(&self) -> String {
        let tail = |process: &Process| {
            let log = process.log();
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
        };
        self.processes.iter().map(tail).collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Daemons {
    fn drop(&mut self) {
        self.processes.clear();
        for path in &self.leftovers {
            // A daemon that ended in order has removed it.
            let _ = fs::remove_file(path);
        }
    }
}
