//! Which agent a command talks to.

use std::io;
use std::path::Path;

use anyhow::{Context, bail};
use tokio::net::UnixStream;

use super::args::Global;
use crate::api::client::{Client, ClientError, segment};
use crate::api::types::Vnet;
use crate::api::{SOCKET_NAME, socket_path};
use crate::model::is_valid_name;

/// A client together with the VNet whose gateway its agent runs.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) client: Client,
    vnet: String,
}

impl Agent {
    /// The agent of `vnet`, of `--socket`, or else the only one in the run directory.
    pub(super) async fn find(global: &Global, vnet: Option<&str>) -> anyhow::Result<Self> {
        match (&global.socket, vnet) {
            (Some(socket), Some(vnet)) => Ok(Self { client: Client::new(socket), vnet: vnet.to_owned() }),
            (Some(socket), None) => {
                let client = Client::new(socket);
                let vnets: Vec<Vnet> = client.get("/v1/vnets").await.map_err(|error| explain(error, None))?;
                let own = vnets.into_iter().find(|vnet| vnet.gateway_state.is_some());
                let vnet = own.context("the agent does not say which VNet's gateway it runs")?.name;
                Ok(Self { client, vnet })
            }
            (None, Some(vnet)) => {
                if !is_valid_name(vnet) {
                    bail!("{vnet:?} is no name of a VNet");
                }
                Ok(Self { client: Client::new(socket_path(&global.run_dir, vnet)), vnet: vnet.to_owned() })
            }
            (None, None) => {
                let vnet = only_running(&global.run_dir).await?;
                Ok(Self { client: Client::new(socket_path(&global.run_dir, &vnet)), vnet })
            }
        }
    }

    /// The API path of something below the VNet.
    pub(super) fn path(&self, rest: &str) -> String {
        format!("/v1/vnets/{}/{rest}", segment(&self.vnet))
    }

    /// The API path of the connection to `site`, followed by `rest`.
    pub(super) fn connection(&self, site: &str, rest: &str) -> String {
        self.path(&format!("connections/{}{rest}", segment(site)))
    }

    /// Adds to an error what to do about it.
    pub(super) fn explain(&self, error: ClientError) -> anyhow::Error {
        explain(error, Some(&self.vnet))
    }
}

fn explain(error: ClientError, vnet: Option<&str>) -> anyhow::Error {
    match (error, vnet) {
        (error @ ClientError::NoAgent(_), Some(vnet)) => {
            anyhow::anyhow!("{error}: is `vgw agent --vnet {vnet}` running?")
        }
        (ClientError::NoAnswer(_), Some(vnet)) => {
            anyhow::anyhow!(
                "the agent of VNet {vnet} does not answer (still starting?); a change that was asked for may still be made"
            )
        }
        (error @ ClientError::NoAgent(_), None) => anyhow::anyhow!("{error}: is `vgw agent` running?"),
        (error, _) => error.into(),
    }
}

/// The VNet of the only agent that accepts connections in `run_dir`.
async fn only_running(run_dir: &Path) -> anyhow::Result<String> {
    let mut running = Vec::new();
    let entries = match std::fs::read_dir(run_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => bail!(none_running(run_dir)),
        Err(error) => return Err(error).with_context(|| format!("cannot list {}", run_dir.display())),
    };
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", run_dir.display()))?;
        let socket = entry.path().join(SOCKET_NAME);
        // A killed agent leaves its socket file behind; only a connection shows that somebody listens.
        if listens(&socket, UnixStream::connect(&socket).await)? {
            running.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    running.sort_unstable();
    match running.as_slice() {
        [vnet] => Ok(vnet.clone()),
        [] => bail!(none_running(run_dir)),
        several => bail!(
            "several agents run here (VNets {}): say which one is meant, as --vnet or as an argument",
            several.join(", ")
        ),
    }
}

/// Whether an attempt at a connection shows that somebody listens. Who may not even try cannot know.
fn listens(socket: &Path, attempt: io::Result<UnixStream>) -> Result<bool, ClientError> {
    match attempt {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(ClientError::NoPermission(socket.to_owned()))
        }
        attempt => Ok(attempt.is_ok()),
    }
}

fn none_running(run_dir: &Path) -> String {
    format!("no agent answers at {}/*/{SOCKET_NAME}: is `vgw agent --vnet X` running?", run_dir.display())
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;

    fn global(run_dir: &Path) -> Global {
        Global { run_dir: run_dir.to_owned(), socket: None }
    }

    fn listen(run_dir: &Path, vnet: &str) -> UnixListener {
        std::fs::create_dir_all(run_dir.join(vnet)).unwrap();
        UnixListener::bind(socket_path(run_dir, vnet)).unwrap()
    }

    #[tokio::test]
    async fn the_only_running_agent_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let error = Agent::find(&global(&missing), None).await.unwrap_err().to_string();
        assert!(error.contains("no agent answers") && error.contains("vgw agent --vnet"), "{error}");

        drop(listen(dir.path(), "Dead"));
        let _first = listen(dir.path(), "VNet1");
        let agent = Agent::find(&global(dir.path()), None).await.unwrap();
        assert_eq!(agent.path("status"), "/v1/vnets/VNet1/status");
        assert_eq!(agent.client.socket(), dir.path().join("VNet1/agent.sock"));

        let _second = listen(dir.path(), "VNet2");
        let error = Agent::find(&global(dir.path()), None).await.unwrap_err().to_string();
        assert!(error.contains("VNet1, VNet2"), "{error}");
        assert!(Agent::find(&global(dir.path()), Some("VNet2")).await.is_ok());
    }

    #[tokio::test]
    async fn a_stopped_agent_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let agent = Agent::find(&global(dir.path()), Some("VNet1")).await.unwrap();
        let error = agent.client.get_text(&agent.path("status")).await.unwrap_err();
        let message = agent.explain(error).to_string();
        assert_eq!(
            message,
            format!(
                "no agent answers at {}/VNet1/agent.sock: is `vgw agent --vnet VNet1` running?",
                dir.path().display()
            )
        );
    }

    #[test]
    fn no_permission_is_not_taken_for_no_agent() {
        let socket = Path::new("/run/vgw/VNet1/agent.sock");
        let attempt = |kind: io::ErrorKind| listens(socket, Err(kind.into()));
        let error = attempt(io::ErrorKind::PermissionDenied).unwrap_err().to_string();
        assert!(error.contains("no permission to use /run/vgw/VNet1/agent.sock"), "{error}");
        assert!(!attempt(io::ErrorKind::ConnectionRefused).unwrap());
    }

    #[test]
    fn an_agent_that_does_not_answer_is_named() {
        let error = explain(ClientError::NoAnswer("/a".into()), Some("VNet1")).to_string();
        let expected = "the agent of VNet VNet1 does not answer (still starting?); a change that was asked for may still be made";
        assert_eq!(error, expected);
    }

    #[tokio::test]
    async fn names_that_leave_the_run_directory_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["../etc", "..", "a/b", ""] {
            assert!(Agent::find(&global(dir.path()), Some(name)).await.is_err(), "{name}");
        }
    }
}
