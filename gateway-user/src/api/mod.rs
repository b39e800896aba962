//! The agent's HTTP API: JSON over the unix socket `<run-dir>/<vnet>/agent.sock`.
//!
//! The directory has mode 0700 and the socket 0600: who may open it may do everything, so nobody else may.

pub mod capture;
pub mod client;
pub mod command;
pub mod server;
#[cfg(test)]
mod tests;
pub mod trace;
pub mod types;

use std::path::{Path, PathBuf};

/// Where the agents' sockets and locks lie unless told otherwise.
pub const DEFAULT_RUN_DIR: &str = "/run/vgw";

/// Name of an agent's socket in its directory.
pub const SOCKET_NAME: &str = "agent.sock";

/// The socket of the agent that runs the gateway of `vnet`.
pub fn socket_path(run_dir: &Path, vnet: &str) -> PathBuf {
    run_dir.join(vnet).join(SOCKET_NAME)
}
