//! A running gateway agent.

use crate::{GatewayOptions, Process, Scope, Site, Vgw, poll_until, vgw_binary};
use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long the agent may take to load its programs and answer on its socket. The verifier works for seconds on a busy
/// machine.
const START_TIMEOUT: Duration = Duration::from_mins(1);

/// How long an orderly shutdown may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// A running `vgw agent`. Dropping it ends the agent.
#[derive(Debug)]
pub struct Agent {
    process: Process,
    launch: Launch,
    vgw: Vgw,
}

/// Everything needed to start the same agent again.
#[derive(Clone, Debug)]
struct Launch {
    namespace: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    log_filter: Option<String>,
    hosts: Option<PathBuf>,
}

impl Agent {
    /// Starts the agent of `site` and waits until it answers. If it ends instead, the error quotes its log.
    pub fn start(scope: &Scope, site: &Site, netcfg: &Path, options: &GatewayOptions) -> Result<Self> {
        let (launch, vgw) = Launch::prepare(scope, site, netcfg, options);
        let process = launch.start(&vgw)?;
        Ok(Self { process, launch, vgw })
    }

    /// Starts an agent that must refuse to run; returns what it said before it ended. An agent that goes on, or that
    /// ends without an error, is the failure here.
    pub fn start_refused(
        scope: &Scope,
        site: &Site,
        netcfg: &Path,
        options: &GatewayOptions,
    ) -> Result<String> {
        let (mut launch, _) = Launch::prepare(scope, site, netcfg, options);
        launch.log.set_extension("refused.log");
        let mut process = launch.spawn()?;
        let status = process.wait(START_TIMEOUT).with_context(|| process.log())?;
        ensure!(!status.success(), "the agent ended as if nothing were wrong: {}", process.log());
        Ok(process.log())
    }

    /// Client of this agent.
    pub fn vgw(&self) -> &Vgw {
        &self.vgw
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Everything the agent (and its earlier incarnations) logged.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Sends `signal`, waits for the agent's end, and starts it again.
    pub fn restart(&mut self, signal: Signal) -> Result<()> {
        self.stop(signal)?;
        self.start_again()
    }

    /// Starts the agent again after [`Self::stop`].
    pub fn start_again(&mut self) -> Result<()> {
        self.process = self.launch.start(&self.vgw)?;
        Ok(())
    }

    /// Sends `signal` and waits for the agent's end.
    pub fn stop(&mut self, signal: Signal) -> Result<()> {
        self.process.end(signal, STOP_TIMEOUT).map(|_| ())
    }

    /// Waits until the connection to `site` is up.
    pub fn wait_connected(&self, site: &str, timeout: Duration) -> Result<Value> {
        self.wait_connection(site, timeout, "state", &Value::from("Connected"))
    }

    /// Waits until `field` of the connection to `site` has `value`; returns the connection's status.
    pub fn wait_connection(
        &self,
        site: &str,
        timeout: Duration,
        field: &str,
        value: &Value,
    ) -> Result<Value> {
        let what = format!("connection to {site} has {field} {value}");
        poll_until(timeout, &what, || {
            let status = self.vgw.connection(site)?;
            if status[field] == *value { Ok(Some(status)) } else { bail!("the status is {status}") }
        })
    }

    /// Lets the agent go on when the handle is dropped.
    pub fn detach(&mut self) {
        self.process.detach();
    }
}

impl Launch {
    fn prepare(scope: &Scope, site: &Site, netcfg: &Path, options: &GatewayOptions) -> (Self, Vgw) {
        let directory = scope.directory();
        let run_dir = directory.join("run");
        let vnet = site.vnet();
        let path = |path: &Path| path.display().to_string();
        let mut arguments: Vec<String> = ["agent", "--vnet", &vnet, "--wan", Site::WAN, "--lan", Site::LAN]
            .map(str::to_owned)
            .into_iter()
            .chain(["--netcfg".to_owned(), path(netcfg)])
            .chain(["--run-dir".to_owned(), path(&run_dir)])
            .chain(["--state-dir".to_owned(), path(&directory.join("state").join(&vnet))])
            .chain(["--pin-root".to_owned(), path(&scope.pin_root())])
            .collect();
        arguments.extend(options.arguments());
        let log = directory.join(format!("agent-{vnet}.log"));
        let launch = Launch {
            namespace: site.gateway.path(),
            arguments,
            log,
            log_filter: options.log.clone(),
            hosts: options.hosts.clone(),
        };
        let vgw = Vgw::new(run_dir.join(&vnet).join("agent.sock"));
        (launch, vgw)
    }

    fn start(&self, vgw: &Vgw) -> Result<Process> {
        // A killed agent leaves its socket behind; what answers must be the new one.
        if vgw.socket().exists() && std::os::unix::net::UnixStream::connect(vgw.socket()).is_err() {
            std::fs::remove_file(vgw.socket())?;
        }
        let mut process = self.spawn()?;
        let answered = poll_until(START_TIMEOUT, "the agent answers", || {
            if let Some(status) = process.exited()? {
                return Ok(Some(Err(status)));
            }
            vgw.status().map(|_| Some(Ok(())))
        });
        match answered {
            Ok(Ok(())) => Ok(process),
            Ok(Err(status)) => bail!("the agent ended ({status}): {}", process.log()),
            Err(error) => Err(error).with_context(|| format!("the agent's log: {}", process.log())),
        }
    }

    fn spawn(&self) -> Result<Process> {
        let mut command = match &self.hosts {
            Some(hosts) => with_hosts(hosts),
            None => Command::new("nsenter"),
        };
        command.arg(format!("--net={}", self.namespace.display())).arg(vgw_binary()?).args(&self.arguments);
        if let Some(filter) = &self.log_filter {
            command.env("VGW_LOG", filter);
        }
        Process::spawn(command, &self.log)
    }
}

/// `nsenter` with a file of the caller's in place of `/etc/hosts`, for this process and its children alone.
fn with_hosts(hosts: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c"]);
    command.arg("mount --bind \"$0\" /etc/hosts && exec nsenter \"$@\"").arg(hosts);
    command
}
