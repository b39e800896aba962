//! Child processes that do not outlive their handle, and finding the processes of a namespace.

use crate::command::describe;
use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How long a process may take to end after SIGTERM before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// A background process with its output in a file. Dropping the handle ends the process: SIGTERM first, SIGKILL later.
#[derive(Debug)]
pub struct Process {
    child: Child,
    log: PathBuf,
    detached: bool,
}

impl Process {
    /// Starts `command` in a process group of its own (a Ctrl-C in the terminal reaches only the laboratory, which then
    /// ends its processes in order). Standard output and error are appended to the file `log`.
    pub fn spawn(mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot open {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let child = command.spawn().with_context(|| format!("cannot start {}", describe(&command)))?;
        Ok(Self { child, log: log.to_owned(), detached: false })
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Everything the process has printed so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_else(|error| format!("(no log: {error})"))
    }

    /// Exit status, once the process has ended.
    pub fn exited(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Sends `signal` and waits until the process has ended, at most `timeout`.
    pub fn end(&mut self, signal: Signal, timeout: Duration) -> Result<ExitStatus> {
        if let Some(status) = self.exited()? {
            return Ok(status);
        }
        kill(pid_of(self.id()), signal)?;
        self.wait(timeout)
    }

    /// Waits until the process ends by itself, at most `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Some(status) = self.exited()? {
                return Ok(status);
            }
            if Instant::now() >= deadline {
                bail!("process {} is still running after {timeout:?}", self.id());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Lets the process go on when the handle is dropped.
    pub fn detach(&mut self) {
        self.detached = true;
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if !self.detached && self.end(Signal::SIGTERM, GRACE).is_err() {
            // The process may have ended in between; then there is nothing left to kill or to wait for.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Processes whose network namespace is the one that `handle` stands for.
pub(crate) fn inside_namespace(handle: &Path) -> Result<Vec<u32>> {
    let wanted = std::fs::metadata(handle).with_context(|| format!("no namespace {}", handle.display()))?;
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end while the list is read.
        let Ok(namespace) = std::fs::metadata(entry.path().join("ns/net")) else { continue };
        if (namespace.dev(), namespace.ino()) == (wanted.dev(), wanted.ino()) {
            found.push(id);
        }
    }
    Ok(found)
}

/// Ends the processes `ids`, which need not be children of this one: SIGTERM, then SIGKILL for those that stay.
pub(crate) fn end_all(ids: &[u32]) {
    for (signal, patience) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, Duration::from_secs(1))] {
        for &id in ids.iter().filter(|&&id| is_running(id)) {
            // Already gone is what is wanted.
            let _ = kill(pid_of(id), signal);
        }
        let deadline = Instant::now() + patience;
        while ids.iter().any(|&id| is_running(id)) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Whether the process exists and is no zombie.
pub(crate) fn is_running(id: u32) -> bool {
    let Ok(stat) = std::fs::read_to_string(format!("/proc/{id}/stat")) else { return false };
    // The state follows the command name, which stands in parentheses and may contain anything.
    stat.rsplit(')').next().is_some_and(|rest| !rest.trim_start().starts_with(['Z', 'X']))
}

fn pid_of(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).expect("process ids are positive 32-bit integers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sleeper(log: &Path) -> Process {
        let mut command = Command::new("sleep");
        command.arg("60");
        Process::spawn(command, log).unwrap()
    }

    #[test]
    fn dropping_the_handle_ends_the_process() {
        let log = std::env::temp_dir().join(format!("vgw-process-{}", std::process::id()));
        let process = sleeper(&log);
        let id = process.id();
        assert!(is_running(id));
        drop(process);
        assert!(!is_running(id));

        let mut ended = sleeper(&log);
        end_all(&[ended.id()]);
        assert!(ended.exited().unwrap().is_some());
        std::fs::remove_file(&log).unwrap();
    }

    #[test]
    fn the_processes_of_a_namespace_include_oneself() {
        let found = inside_namespace(Path::new("/proc/self/ns/net")).unwrap();
        assert!(found.contains(&std::process::id()));
    }
}
