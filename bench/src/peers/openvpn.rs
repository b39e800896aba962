//! OpenVPN, its data channel in user space.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, anyhow};
use testbed::run;

use super::daemons::Daemons;
use super::tools::{command, find, require_tun, version};
use crate::end_to_end::{End, Kind, NotInstalled, Running, System, Topology};

const PROGRAM: &str = "openvpn";
/// What fits into links of 1500 bytes with outer IPv4 and UDP headers and OpenVPN's own 24 bytes, and some room.
const TUNNEL_MTU: u32 = 1440;
/// openvpn(8) recommends large buffers of sockets where packets arrive in bursts.
const BUFFER: &str = "4194304";

/// A pair of gateways, one of them TLS server.
pub(super) struct OpenVpn;

impl System for OpenVpn {
    fn name(&self) -> &'static str {
        "openvpn"
    }

    fn kind(&self) -> Kind {
        Kind::Peer
    }

    fn description(&self) -> String {
        let version = version(PROGRAM, "--version");
        format!(
            "OpenVPN {version} over UDP and a TUN device, AES-256-GCM, no kernel data channel, on any processor"
        )
    }

    fn available(&self) -> Result<(), NotInstalled> {
        require_tun()?;
        find("openssl")?;
        find(PROGRAM).map(|_| ())
    }

    fn start(&self, topology: &Topology) -> Result<Box<dyn Running>> {
        let program = find(PROGRAM).map_err(|missing| anyhow!("{missing}"))?;
        let certificates =
            [Certificate::generate(topology, End::A)?, Certificate::generate(topology, End::B)?];
        let mut daemons = Daemons::new(PROGRAM, TUNNEL_MTU);
        for end in [End::A, End::B] {
            topology.gateway(end).sysctl("net/ipv4/ip_forward", "1")?;
            let [own, far] = if end == End::A { [0, 1] } else { [1, 0] }.map(|index| &certificates[index]);
            let mut command = command(topology.gateway(end), &program, None)?;
            command.arg("--cert").arg(&own.file).arg("--key").arg(&own.key);
            command.args(["--peer-fingerprint", &far.fingerprint]);
            command.args(arguments(end));
            daemons.spawn(topology, command)?;
        }
        Ok(Box::new(daemons))
    }
}

fn arguments(end: End) -> Vec<String> {
    let role = match end {
        End::A => format!("--tls-client --remote {}", End::B.wan_address()),
        End::B => "--tls-server --dh none".to_owned(),
    };
    let tunnel = match end {
        End::A => "10.9.0.1 10.9.0.2",
        End::B => "10.9.0.2 10.9.0.1",
    };
    let text = format!(
        "{role} --local {} --proto udp --port 1194 --dev tun --topology p2p --ifconfig {tunnel} --route 10.{}.0.0 255.255.0.0 \
         --data-ciphers AES-256-GCM --disable-dco --tun-mtu {TUNNEL_MTU} --mssfix 0 --fast-io --txqueuelen 1000 \
         --sndbuf {BUFFER} --rcvbuf {BUFFER} --ping 10 --verb 3",
        end.wan_address(),
        end.other().host_address().octets()[1]
    );
    text.split_whitespace().map(str::to_owned).collect()
}

/// A certificate for these minutes. Either end knows the other's fingerprint, there is no authority.
struct Certificate {
    file: PathBuf,
    key: PathBuf,
    /// SHA-256 of the certificate in hexadecimal with colons.
    fingerprint: String,
}

impl Certificate {
    fn generate(topology: &Topology, end: End) -> Result<Self> {
        let path = |kind: &str| topology.directory().join(format!("openvpn-{end:?}.{kind}"));
        let (file, key) = (path("crt"), path("key"));
        let mut command = Command::new("openssl");
        command.args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj".split(' '));
        command.arg(format!("/CN=gateway-{end:?}")).arg("-keyout").arg(&key).arg("-out").arg(&file);
        run(&mut command)?;
        let mut command = Command::new("openssl");
        command.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(&file);
        let text = run(&mut command)?;
        let fingerprint = text.trim().split_once('=').context("openssl shows no fingerprint")?.1.to_owned();
        Ok(Self { file, key, fingerprint })
    }
}
