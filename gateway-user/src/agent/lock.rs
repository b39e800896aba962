//! One agent per VNet and run directory.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::store::{StoreError, make_private_dir};

/// The lock on `<run-dir>/<vnet>/agent.lock`, held until dropped; the kernel frees it when the process dies.
///
/// The file itself stays: removing it would let two agents lock two files of one name.
#[derive(Debug)]
pub(super) struct AgentLock {
    _file: Flock<File>,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent holds it.
    #[error("VNet {vnet} already has an agent here, process {pid} (lock {path})", path = path.display())]
    Held {
        /// The VNet.
        vnet: String,
        /// The other agent's process ID, or `unknown`.
        pid: String,
        /// The lock file.
        path: PathBuf,
    },
    /// The file cannot be opened, locked or written.
    #[error("cannot lock {path}: {source}", path = path.display())]
    Io {
        /// The lock file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The directory cannot be made.
    #[error(transparent)]
    Directory(#[from] StoreError),
}

impl AgentLock {
    /// Takes the lock without waiting and writes this process's ID into the file.
    pub(super) fn take(run_dir: &Path, vnet: &str) -> Result<Self, LockError> {
        let directory = run_dir.join(vnet);
        make_private_dir(&directory)?;
        let path = directory.join("agent.lock");
        let io_error = |source| LockError::Io { path: path.clone(), source };
        // Not truncated on opening: the content is the other agent's until the lock is ours.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io_error)?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((file, Errno::EWOULDBLOCK)) => return Err(held(file, vnet, path)),
            Err((_, errno)) => return Err(io_error(errno.into())),
        };
        file.set_len(0).and_then(|()| file.rewind()).map_err(io_error)?;
        writeln!(file, "{}", std::process::id()).map_err(io_error)?;
        Ok(Self { _file: file })
    }
}

fn held(mut file: File, vnet: &str, path: PathBuf) -> LockError {
    let mut content = String::new();
    // An unreadable process ID leaves the message less helpful, not wrong.
    let _ = file.read_to_string(&mut content);
    let pid = content.trim();
    let pid = if pid.is_empty() { "unknown" } else { pid };
    LockError::Held { vnet: vnet.to_owned(), pid: pid.to_owned(), path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn second_agent_is_refused_with_the_name_and_pid_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let first = AgentLock::take(dir.path(), "VNet1").unwrap();
        let error = AgentLock::take(dir.path(), "VNet1").unwrap_err();
        assert!(matches!(error, LockError::Held { .. }));
        let message = error.to_string();
        assert!(message.contains("VNet1") && message.contains(&std::process::id().to_string()), "{message}");

        let other = AgentLock::take(dir.path(), "VNet2");
        assert!(other.is_ok(), "another VNet has its own lock");
        drop(first);
        assert!(AgentLock::take(dir.path(), "VNet1").is_ok(), "free again");
    }
}
