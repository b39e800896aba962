//! A running `vgw agent`, configured by files alone.

use std::fs::{self, DirBuilder, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use testbed::{NetCfg, NetNs, Process, poll_until, run, vgw_binary};

/// Loading the programs and setting up thousands of tunnels takes its time.
const START_TIMEOUT: Duration = Duration::from_mins(3);
/// How long a killed agent may take to be gone.
const KILL_TIMEOUT: Duration = Duration::from_secs(5);

/// How an agent is started.
pub(crate) struct Launch<'a> {
    /// Where it runs.
    pub(crate) namespace: &'a NetNs,
    /// The VNet whose gateway it is.
    pub(crate) vnet: &'a str,
    /// Interface towards the peers.
    pub(crate) wan: &'a str,
    /// Interface towards the VNet.
    pub(crate) lan: &'a str,
    /// Directory of its own for its files; it is made.
    pub(crate) directory: &'a Path,
    /// Directory on a BPF file system for its pins.
    pub(crate) pin_root: &'a Path,
    /// The network configuration.
    pub(crate) netcfg: &'a NetCfg,
    /// The shared key of each connection.
    pub(crate) psk: &'a str,
    /// Mode of each connection, where it is not the default.
    pub(crate) mode: Option<&'a str>,
    /// Further options.
    pub(crate) options: &'a [String],
}

/// An agent that answers on its socket. Dropping it ends it.
pub(crate) struct Agent {
    process: Process,
    client: Client,
}

/// Asks an agent for its status.
pub(crate) struct Client {
    binary: PathBuf,
    socket: PathBuf,
}

impl Agent {
    /// Starts the agent and waits until it answers, which it does when all tunnels are set up.
    ///
    /// # Errors
    /// It does not come up; the error quotes its log.
    pub(crate) fn start(launch: &Launch<'_>) -> Result<Self> {
        let Launch { vnet, directory, .. } = *launch;
        fs::create_dir_all(directory)?;
        let netcfg = directory.join("netcfg.xml");
        fs::write(&netcfg, launch.netcfg.to_xml())?;
        let state = directory.join("state");
        store(&state.join(vnet), launch)?;

        let binary = vgw_binary()?;
        let run_dir = directory.join("run");
        let mut command = launch.namespace.command(&binary)?;
        command.args(["agent", "--vnet", vnet, "--wan", launch.wan, "--lan", launch.lan]);
        for (option, path) in [
            ("--netcfg", &*netcfg),
            ("--run-dir", &run_dir),
            ("--state-dir", &state),
            ("--pin-root", launch.pin_root),
        ] {
            command.arg(option).arg(path);
        }
        command.args(launch.options).env("VGW_LOG", "warn");
        let process = Process::spawn(command, &directory.join("agent.log"))?;
        let client = Client { binary, socket: run_dir.join(vnet).join("agent.sock") };
        let mut agent = Self { process, client };
        let answered = poll_until(START_TIMEOUT, "the agent answers", || {
            if let Some(status) = agent.process.exited()? {
                return Ok(Some(Err(status)));
            }
            agent.client.status().map(|_| Some(Ok(())))
        });
        match answered.with_context(|| format!("the agent's log: {}", agent.log()))? {
            Ok(()) => Ok(agent),
            Err(status) => bail!("the agent ended ({status}): {}", agent.log()),
        }
    }

    /// Asks it for its status.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The process, which ends when its handle is dropped, and the client.
    pub(crate) fn into_parts(self) -> (Process, Client) {
        (self.process, self.client)
    }

    /// Process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Everything it has logged.
    pub(crate) fn log(&self) -> String {
        self.process.log()
    }

    /// Ends the agent without a chance to tell its peers.
    ///
    /// # Errors
    /// It goes on.
    pub(crate) fn kill(&mut self) -> Result<()> {
        self.process.end(Signal::SIGKILL, KILL_TIMEOUT).map(|_| ())
    }
}

impl Client {
    /// The command line, without a command.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg("--socket").arg(&self.socket);
        command
    }

    /// Status of the gateway and its connections.
    ///
    /// # Errors
    /// The agent does not answer.
    pub(crate) fn status(&self) -> Result<Value> {
        let mut command = self.command();
        command.args(["status", "--output", "json"]);
        Ok(serde_json::from_str(&run(&mut command)?)?)
    }

    /// Connections that the agent shows as connected.
    ///
    /// # Errors
    /// The agent does not answer.
    pub(crate) fn connected(&self) -> Result<usize> {
        let status = self.status()?;
        let connections = status["connections"].as_array().context("the status has no connections")?;
        Ok(connections.iter().filter(|connection| connection["state"] == "Connected").count())
    }
}

/// Stores the shared keys and the modes where the agent looks for them.
fn store(directory: &Path, launch: &Launch<'_>) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let sites = || launch.netcfg.vnets.iter().flat_map(|vnet| &vnet.connections);
    let per_site = |value: &Value| -> serde_json::Map<String, Value> {
        sites().map(|site| (site.clone(), value.clone())).collect()
    };
    let keys = json!({ "version": 1, "keys": per_site(&json!(launch.psk)) });
    write_private(&directory.join("keys.json"), &keys)?;
    let Some(mode) = launch.mode else { return Ok(()) };
    let parameters = json!({ "version": 1, "connections": per_site(&json!({ "mode": mode })) });
    write_private(&directory.join("parameters.json"), &parameters)
}

fn write_private(path: &Path, content: &Value) -> Result<()> {
    let mut file = File::options().create_new(true).write(true).mode(0o600).open(path)?;
    Ok(file.write_all(content.to_string().as_bytes())?)
}
