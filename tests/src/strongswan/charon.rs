//! A running daemon.

use super::configuration::{Daemon, Directory, Peering};
use super::sas::IkeSa;
use crate::{NetNs, Process, Scope, output_of, poll_until, run, wait_until};
use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The daemon and the control program, where Debian puts them.
const DAEMON: &str = "/usr/sbin/charon-systemd";
const CONTROL: &str = "/usr/sbin/swanctl";

/// Files that the daemon needs, each with the Debian package that has it.
const FILES: [(&str, &str); 5] = [
    (DAEMON, "charon-systemd"),
    (CONTROL, "strongswan-swanctl"),
    ("/usr/lib/ipsec/plugins/libstrongswan-kernel-libipsec.so", "libcharon-extra-plugins"),
    ("/usr/lib/ipsec/plugins/libstrongswan-curve25519.so", "libstrongswan-extra-plugins"),
    ("/usr/lib/ipsec/plugins/libstrongswan-openssl.so", "libstrongswan-standard-plugins"),
];

/// How long the daemon may take to start, and to end in order, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long a command to the daemon may take: it waits for answers of the peer.
const CONTROL_TIMEOUT: &str = "15";

/// The Debian packages of strongSwan that are not installed.
pub fn strongswan_missing() -> Vec<&'static str> {
    FILES.iter().filter(|(file, _)| !Path::new(file).exists()).map(|(_, package)| *package).collect()
}

/// A running `charon-systemd`. Dropping it ends the daemon; SIGTERM makes it delete its SAs at its peers.
#[derive(Debug)]
pub struct Charon {
    process: Process,
    namespace: PathBuf,
    directory: Directory,
    log: PathBuf,
}

impl Charon {
    /// Starts a daemon called `name` in `namespace`, which must be the gateway of a VNet, with the connections `peerings`.
    /// It initiates nothing by itself.
    pub fn start(
        scope: &Scope,
        namespace: &NetNs,
        name: &str,
        daemon: &Daemon,
        peerings: &[Peering],
    ) -> Result<Self> {
        let missing = strongswan_missing();
        ensure!(missing.is_empty(), "strongSwan is not installed: apt-get install {}", missing.join(" "));
        namespace.sysctl("net/ipv4/ip_forward", "1")?;
        namespace.sysctl("net/ipv6/conf/all/forwarding", "1")?;
        let directory = Directory::create(scope.directory().join(name))?;
        let log = scope.directory().join(format!("{name}.log"));
        directory.write_settings(daemon, &log)?;
        let process = spawn(&namespace.path(), &directory)?;
        let charon = Self { process, namespace: namespace.path(), directory, log };
        charon.wait_ready()?;
        charon.load(peerings)?;
        Ok(charon)
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Everything the daemon (and its earlier incarnations) logged.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map_or_else(
            |error| format!("(no log: {error})"),
            |bytes| String::from_utf8_lossy(&bytes).into_owned(),
        )
    }

    /// Replaces the connections.
    pub fn load(&self, peerings: &[Peering]) -> Result<()> {
        self.directory.write_connections(peerings)?;
        self.load_again()
    }

    /// Brings a connection up; an error quotes what the daemon said.
    pub fn initiate(&self, name: &str) -> Result<()> {
        let arguments =
            ["--initiate", "--ike", name, "--child", Peering::CHILD, "--timeout", CONTROL_TIMEOUT];
        self.control(&arguments).map(drop)
    }

    /// Deletes the IKE SA of a connection, with everything under it.
    pub fn delete_ike_sa(&self, name: &str) -> Result<()> {
        self.control(&["--terminate", "--ike", name, "--timeout", CONTROL_TIMEOUT]).map(drop)
    }

    /// Deletes the Child SA with this number and leaves the IKE SA.
    pub fn delete_child_sa(&self, id: u64) -> Result<()> {
        let id = id.to_string();
        self.control(&["--terminate", "--child-id", &id, "--timeout", CONTROL_TIMEOUT]).map(drop)
    }

    /// Starts to rekey the IKE SA of a connection.
    pub fn rekey_ike_sa(&self, name: &str) -> Result<()> {
        self.control(&["--rekey", "--ike", name]).map(drop)
    }

    /// Starts to rekey the Child SAs of a connection.
    pub fn rekey_child_sa(&self, name: &str) -> Result<()> {
        self.control(&["--rekey", "--ike", name, "--child", Peering::CHILD]).map(drop)
    }

    /// Its IKE SAs, whatever their state.
    pub fn sas(&self) -> Result<Vec<IkeSa>> {
        IkeSa::parse_all(&self.control(&["--list-sas", "--raw"])?)
    }

    /// Waits until the connection `name` has exactly one IKE SA, established, with exactly one Child SA, installed. Child
    /// SAs that are deleted already do not count, and are not returned: the daemon keeps them for a few seconds, for
    /// packets that are late.
    pub fn wait_settled(&self, name: &str, timeout: Duration) -> Result<IkeSa> {
        self.wait_for_one(name, timeout, |_| true)
    }

    /// The same after rekeys of the IKE SA by both ends: IKE SAs that lost the collision do not count either. When the old
    /// IKE SA was deleted before our gateway had the answer to its own request, nobody is left to delete them, and the
    /// daemon waits for a while.
    pub fn wait_settled_after_collision(&self, name: &str, timeout: Duration) -> Result<IkeSa> {
        self.wait_for_one(name, timeout, |sa| sa.state != "REKEYED" || !sa.children.is_empty())
    }

    fn wait_for_one(&self, name: &str, timeout: Duration, counts: impl Fn(&IkeSa) -> bool) -> Result<IkeSa> {
        poll_until(timeout, "one IKE SA with one Child SA", || {
            let mut sas: Vec<IkeSa> = self.sas()?.into_iter().filter(|sa| sa.name == name).collect();
            sas.retain(&counts);
            for sa in &mut sas {
                sa.children.retain(|child| child.state != "DELETED");
            }
            let settled = |sa: &IkeSa| {
                sa.state == "ESTABLISHED" && matches!(&sa.children[..], [child] if child.state == "INSTALLED")
            };
            match &sas[..] {
                [sa] if settled(sa) => Ok(Some(sa.clone())),
                _ => bail!("the SAs are {sas:#?}"),
            }
        })
    }

    /// Waits until the log contains `text`.
    pub fn wait_logged(&self, text: &str, timeout: Duration) -> Result<()> {
        wait_until(timeout, &format!("{text:?} in the log of charon"), || Ok(self.log().contains(text)))
    }

    /// Sends `signal` and waits for the daemon's end.
    pub fn stop(&mut self, signal: Signal) -> Result<()> {
        self.process.end(signal, PATIENCE).map(drop)
    }

    /// Starts the daemon again after [`Self::stop`], with the connections that it had.
    pub fn start_again(&mut self) -> Result<()> {
        // A killed daemon leaves its socket behind.
        let socket = self.directory.socket();
        if socket.exists() {
            std::fs::remove_file(socket)?;
        }
        self.process = spawn(&self.namespace, &self.directory)?;
        self.wait_ready()?;
        self.load_again()
    }

    fn load_again(&self) -> Result<()> {
        self.control(&["--load-all", "--noprompt", "--clear"]).map(drop)
    }

    fn wait_ready(&self) -> Result<()> {
        poll_until(PATIENCE, "charon answers", || {
            let output = output_of(&mut self.control_command(&["--stats"]))?;
            let complaint = String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success(), "{}; its log: {}", complaint.trim(), self.process.log());
            Ok(Some(()))
        })
    }

    fn control(&self, arguments: &[&str]) -> Result<String> {
        run(&mut self.control_command(arguments))
            .with_context(|| format!("charon refused `{}`", arguments.join(" ")))
    }

    fn control_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(CONTROL);
        command.args(arguments).args(["--uri", &self.directory.uri()]);
        command.env("STRONGSWAN_CONF", self.directory.settings()).env("SWANCTL_DIR", self.directory.path());
        command
    }
}

fn spawn(namespace: &Path, directory: &Directory) -> Result<Process> {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", namespace.display())).arg(DAEMON);
    command.env("STRONGSWAN_CONF", directory.settings());
    Process::spawn(command, &directory.path().join("output"))
}
