//! WireGuard in user space.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use testbed::{poll_until, run};

use super::daemons::Daemons;
use super::tools::{command, find, require_tun, version};
use crate::end_to_end::{End, Kind, NotInstalled, Running, System, Topology};

/// MTU that wg-quick(8) gives a tunnel over links of 1500 bytes.
const TUNNEL_MTU: u32 = 1420;
const PORT: u16 = 51820;
/// How long a daemon may take until it takes its configuration.
const START_TIMEOUT: Duration = Duration::from_secs(15);
/// Where the daemons have their control sockets (wg(8)), whatever namespace they are in.
const SOCKETS: &str = "/var/run/wireguard";

/// A pair of gateways with one implementation.
pub(super) struct WireGuard {
    name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
}

impl WireGuard {
    /// Cloudflare's in Rust.
    pub(super) fn boringtun() -> Self {
        let arguments = &["--foreground", "--disable-drop-privileges"];
        Self { name: "boringtun", program: "boringtun-cli", arguments }
    }

    /// Mullvad's in Rust.
    pub(super) fn gotatun() -> Self {
        let arguments = &["--foreground", "--disable-drop-privileges"];
        Self { name: "gotatun", program: "gotatun", arguments }
    }

    /// The original in Go.
    pub(super) fn wireguard_go() -> Self {
        Self { name: "wireguard-go", program: "wireguard-go", arguments: &["--foreground"] }
    }
}

impl System for WireGuard {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> Kind {
        Kind::Peer
    }

    fn description(&self) -> String {
        let version = version(self.program, "--version");
        format!(
            "WireGuard by {} {version} over a TUN device, ChaCha20-Poly1305, threads on any processor",
            self.program
        )
    }

    fn available(&self) -> Result<(), NotInstalled> {
        require_tun()?;
        find("wg")?;
        find(self.program).map(|_| ())
    }

    fn start(&self, topology: &Topology) -> Result<Box<dyn Running>> {
        let program = find(self.program).map_err(|missing| anyhow::anyhow!("{missing}"))?;
        let keys = [Key::generate(topology, End::A)?, Key::generate(topology, End::B)?];
        let mut daemons = Daemons::new(self.program, TUNNEL_MTU);
        for end in [End::A, End::B] {
            let interface = interface(end);
            daemons.leaves(Path::new(SOCKETS).join(format!("{interface}.sock")));
            let mut command = command(topology.gateway(end), &program, None)?;
            // Without this, wireguard-go refuses where it thinks that the kernel could do better.
            command.env("WG_I_PREFER_BUGGY_USERSPACE_TO_POLISHED_KMOD", "1");
            command.args(self.arguments).arg(&interface);
            daemons.spawn(topology, command)?;
        }
        for end in [End::A, End::B] {
            let [own, far] = if end == End::A { [&keys[0], &keys[1]] } else { [&keys[1], &keys[0]] };
            poll_until(START_TIMEOUT, &format!("{} takes its configuration", self.program), || {
                daemons.check()?;
                configure(topology, end, own, far).map(Some)
            })?;
        }
        Ok(Box::new(daemons))
    }
}

fn configure(topology: &Topology, end: End, own: &Key, far: &Key) -> Result<()> {
    let (gateway, interface) = (topology.gateway(end), interface(end));
    let (port, network) = (PORT.to_string(), end.other().network());
    let endpoint = format!("{}:{PORT}", end.other().wan_address());
    let mut command = gateway.command("wg")?;
    command.args(["set", &interface, "listen-port", &port, "private-key"]).arg(&own.file);
    command.args(["peer", &far.public, "endpoint", &endpoint, "allowed-ips", &network]);
    run(&mut command)?;
    gateway.ip(&format!("link set {interface} mtu {TUNNEL_MTU} up"))?;
    gateway.ip(&format!("route replace {network} dev {interface}"))?;
    gateway.sysctl("net/ipv4/ip_forward", "1")
}

/// Name of the TUN device. The control socket carries it too, so that it must be unique on the whole machine.
fn interface(end: End) -> String {
    let letter = if end == End::A { 'a' } else { 'b' };
    format!("wg{letter}{}", std::process::id())
}

/// A gateway's key pair.
struct Key {
    /// File with the private key.
    file: PathBuf,
    public: String,
}

impl Key {
    fn generate(topology: &Topology, end: End) -> Result<Self> {
        let file = topology.directory().join(format!("{}.key", interface(end)));
        let private = run(Command::new("wg").arg("genkey"))?;
        let mut output = File::options().create_new(true).write(true).mode(0o600).open(&file)?;
        output.write_all(private.as_bytes())?;
        let mut command = Command::new("wg");
        command.arg("pubkey").stdin(File::open(&file)?).stdout(Stdio::piped());
        let output = command.output().context("cannot start wg")?;
        ensure!(output.status.success(), "wg pubkey failed ({})", output.status);
        Ok(Self { file, public: String::from_utf8(output.stdout)?.trim().to_owned() })
    }
}
