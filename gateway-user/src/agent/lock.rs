//! One agent per VNet: in one network namespace, on one run directory, on one state.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, UnixAddr, sockopt};

use crate::store::{StoreError, make_private_dir};

/// What an agent holds until it drops this; the kernel frees it when the process dies.
///
/// - `<run-dir>/<vnet>/agent.lock`: nobody else answers on the socket beside it.
/// - `<state-dir>/<vnet>/state.lock`: nobody else writes the keys and the configuration beside it.
/// - The abstract unix socket `vnet-gateway/<vnet>`: nobody else runs this VNet in the network namespace, whatever its
///   directories. Abstract sockets belong to a network namespace, and leave nothing behind.
///
/// The files themselves stay: removing one would let two agents lock two files of one name.
#[derive(Debug)]
pub(super) struct AgentLock {
    _run: Flock<File>,
    _namespace: OwnedFd,
    _state: Flock<File>,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another agent holds it.
    #[error("VNet {vnet} already has an agent {place}, process {pid}")]
    Held {
        /// The VNet.
        vnet: String,
        /// The other agent's process ID, or `unknown`.
        pid: String,
        /// Where the other agent is.
        place: String,
    },
    /// A file or socket cannot be opened, locked or written.
    #[error("cannot lock {what}: {source}")]
    Io {
        /// The file or socket.
        what: String,
        /// The reason.
        source: io::Error,
    },
    /// A directory cannot be made.
    #[error(transparent)]
    Directory(#[from] StoreError),
}

impl AgentLock {
    /// Takes everything without waiting, and writes this process's ID into the files. `vnet` is a valid name.
    pub(super) fn take(run_dir: &Path, state_dir: &Path, vnet: &str) -> Result<Self, LockError> {
        let run = lock_file(&run_dir.join(vnet), "agent.lock", vnet)?;
        let namespace = lock_namespace(vnet)?;
        let state = lock_file(&state_dir.join(vnet), "state.lock", vnet)?;
        Ok(Self { _run: run, _namespace: namespace, _state: state })
    }
}

fn lock_file(directory: &Path, name: &str, vnet: &str) -> Result<Flock<File>, LockError> {
    make_private_dir(directory)?;
    let path = directory.join(name);
    let what = path.display().to_string();
    let io_error = |source| LockError::Io { what: what.clone(), source };
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
        Err((mut file, Errno::EWOULDBLOCK)) => {
            let mut content = String::new();
            // An unreadable process ID leaves the message less helpful, not wrong.
            let _ = file.read_to_string(&mut content);
            return Err(held(vnet, content.trim().parse().ok(), format!("here (lock {what})")));
        }
        Err((_, errno)) => return Err(io_error(errno.into())),
    };
    file.set_len(0).and_then(|()| file.rewind()).map_err(io_error)?;
    writeln!(file, "{}", std::process::id()).map_err(io_error)?;
    Ok(file)
}

/// Binds the abstract socket. It listens only so that the next agent can ask whose it is.
fn lock_namespace(vnet: &str) -> Result<OwnedFd, LockError> {
    let name = format!("vnet-gateway/{vnet}");
    let io_error =
        |errno: Errno| LockError::Io { what: format!("abstract socket {name}"), source: errno.into() };
    let address = UnixAddr::new_abstract(name.as_bytes()).map_err(io_error)?;
    let socket = unix_socket().map_err(io_error)?;
    match socket::bind(socket.as_raw_fd(), &address) {
        Ok(()) => {
            socket::listen(&socket, Backlog::MAXCONN).map_err(io_error)?;
            Ok(socket)
        }
        Err(Errno::EADDRINUSE) => Err(held(vnet, owner(&address), "in this network namespace".to_owned())),
        Err(errno) => Err(io_error(errno)),
    }
}

/// The process that listens at `address`; `None` if it cannot be told.
fn owner(address: &UnixAddr) -> Option<u32> {
    let socket = unix_socket().ok()?;
    socket::connect(socket.as_raw_fd(), address).ok()?;
    let credentials = socket::getsockopt(&socket, sockopt::PeerCredentials).ok()?;
    u32::try_from(credentials.pid()).ok()
}

fn unix_socket() -> nix::Result<OwnedFd> {
    // Without waiting: nobody accepts at the other end, and its queue may be full.
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)
}

fn held(vnet: &str, pid: Option<u32>, place: String) -> LockError {
    // A process of another PID namespace has the ID 0 here.
    let pid = pid.filter(|pid| *pid > 0).map_or_else(|| "unknown".to_owned(), |pid| pid.to_string());
    LockError::Held { vnet: vnet.to_owned(), pid, place }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The refusal of a second agent of `vnet` with its directories below `second`, beside a first one below `first`.
    fn refusal(vnet: &str, first: [&Path; 2], second: [&Path; 2]) -> String {
        let first = AgentLock::take(first[0], first[1], vnet).unwrap();
        let error = AgentLock::take(second[0], second[1], vnet).unwrap_err();
        assert!(matches!(error, LockError::Held { .. }), "{error:?}");
        let message = error.to_string();
        assert!(message.contains(&format!("VNet {vnet} already has an agent")), "{message}");
        assert!(message.contains(&format!("process {}", std::process::id())), "{message}");
        let other = AgentLock::take(second[0], second[1], &format!("{vnet}.other"));
        assert!(other.is_ok(), "another VNet has its own lock");
        drop(first);
        assert!(AgentLock::take(second[0], second[1], vnet).is_ok(), "free again");
        message
    }

    /// A name that no other test has: they run at the same time, in one network namespace.
    fn unique(name: &str) -> String {
        format!("{name}-{}", std::process::id())
    }

    #[test]
    fn one_run_directory_has_one_agent() {
        let vnet = unique("LockRun");
        let dir = tempfile::tempdir().unwrap();
        let (run, state, other) =
            (dir.path().join("run"), dir.path().join("state"), dir.path().join("other"));
        let message = refusal(&vnet, [&run, &state], [&run, &other]);
        assert!(message.contains(&format!("run/{vnet}/agent.lock")), "{message}");
    }

    #[test]
    fn one_network_namespace_has_one_agent_whatever_its_directories() {
        let [one, two] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        // Run and state directory may be the same.
        let message = refusal(&unique("LockNamespace"), [one.path(), one.path()], [two.path(), two.path()]);
        assert!(message.contains("in this network namespace"), "{message}");
    }

    #[test]
    fn one_state_has_one_agent_in_all_network_namespaces() {
        let dir = tempfile::tempdir().unwrap();
        let vnet = unique("LockState");
        // As from another network namespace: only the state is the same.
        let _first = lock_file(&dir.path().join("state").join(&vnet), "state.lock", &vnet).unwrap();
        let take = |state: &str| AgentLock::take(&dir.path().join("run"), &dir.path().join(state), &vnet);
        let message = take("state").unwrap_err().to_string();
        assert!(message.contains(&format!("{vnet}/state.lock")), "{message}");
        assert!(take("other").is_ok());
    }
}
