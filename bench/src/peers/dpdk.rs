//! DPDK's example gateway, `ipsec-secgw`, on software ports.
//!
//! It polls, one core at each end. `cargo xtask setup --bench` builds it from the sources in Debian's package, with the one change
//! that software ports need: it must not ask the port to check IP checksums.

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs, thread};

use anyhow::{Result, anyhow};
use testbed::{NetNs, run};

use super::daemons::Daemons;
use super::tools::{DIRECTORY, find};
use crate::end_to_end::{End, Kind, NotInstalled, Running, System, Topology};

const PROGRAM: &str = "ipsec-secgw";
/// What fits into links of 1500 bytes with outer IPv4 header (20), ESP header and IV (16), trailer and padding (5) and ICV (16).
const TUNNEL_MTU: u32 = 1440;
/// Throw-away key and salt of AES-128-GCM (RFC 4106), in the notation of the configuration.
const KEY: &str = "2b:7e:15:16:28:ae:d2:a6:ab:f7:15:88:09:cf:4f:3c:de:ad:be:ef";
/// The driver for AES-GCM alone of the library intel-ipsec-mb, which uses the processor's vector instructions.
const CRYPTO: &str = "crypto_aesni_gcm0";
/// Memory in MiB, without huge pages.
const MEMORY: &str = "512";

/// A pair of gateways on one kind of software port.
pub(super) struct IpsecSecgw {
    name: &'static str,
    port: Port,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Port {
    /// `AF_XDP` sockets.
    Xdp,
    /// `AF_PACKET` sockets with memory-mapped rings.
    Packet,
}

impl IpsecSecgw {
    pub(super) fn af_xdp() -> Self {
        Self { name: "dpdk-xdp", port: Port::Xdp }
    }

    pub(super) fn af_packet() -> Self {
        Self { name: "dpdk-packet", port: Port::Packet }
    }
}

impl System for IpsecSecgw {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> Kind {
        Kind::Peer
    }

    fn description(&self) -> String {
        let ports = match self.port {
            Port::Xdp => "AF_XDP",
            Port::Packet => "AF_PACKET",
        };
        format!(
            "DPDK {} ipsec-secgw on {ports}, {CRYPTO}, AES-128-GCM, one polling core each (gateway A on processor 0, B on 1)",
            version()
        )
    }

    fn available(&self) -> Result<(), NotInstalled> {
        find(PROGRAM).map(|_| ())
    }

    fn start(&self, topology: &Topology) -> Result<Box<dyn Running>> {
        let program = find(PROGRAM).map_err(|missing| anyhow!("{missing}"))?;
        let cores = thread::available_parallelism()?.get();
        let mut daemons = Daemons::new(PROGRAM, TUNNEL_MTU);
        for end in [End::A, End::B] {
            let gateway = topology.gateway(end);
            self.prepare(gateway)?;
            let directory = topology.directory().join(format!("secgw-{end:?}"));
            fs::create_dir_all(&directory)?;
            let configuration = directory.join("secgw.cfg");
            fs::write(&configuration, self::configuration(end))?;
            let core = (end as usize % cores).to_string();

            let mut command = gateway.command(&program)?;
            // Not the machine's own runtime directory: this one goes with the topology.
            command.env("RUNTIME_DIRECTORY", &directory);
            // One XDP program per port needs no dispatcher, and none is left behind on the BPF file system.
            command.env("LIBXDP_SKIP_DISPATCHER", "1");
            command.args([
                "-l",
                &core,
                "-m",
                MEMORY,
                "--no-huge",
                "--no-pci",
                "--no-shconf",
                "--no-telemetry",
            ]);
            for (number, port) in [Topology::LAN, Topology::WAN].into_iter().enumerate() {
                command.arg(self.device(number, port));
            }
            command.arg(format!("--vdev={CRYPTO}"));
            // Port 1 faces the unprotected network; promiscuous; librte_ipsec with an anti-replay window.
            command.args(["--", "-p", "0x3", "-u", "0x2", "-P", "-l", "-w", "1024"]);
            command.args(["--config", &format!("(0,0,{core}),(1,0,{core})"), "-f"]).arg(&configuration);
            daemons.spawn(topology, command)?;
        }
        Ok(Box::new(daemons))
    }
}

impl IpsecSecgw {
    fn device(&self, number: usize, port: &str) -> String {
        match self.port {
            Port::Xdp => format!("--vdev=net_af_xdp{number},iface={port}"),
            Port::Packet => format!("--vdev=net_af_packet{number},iface={port},qdisc_bypass=1"),
        }
    }

    /// Takes the ports away from the kernel.
    fn prepare(&self, gateway: &NetNs) -> Result<()> {
        gateway.sysctl("net/ipv4/ip_forward", "0")?;
        for port in [Topology::LAN, Topology::WAN] {
            gateway.ip(&format!("address flush dev {port}"))?;
            if self.port == Port::Packet {
                // The kernel would merge TCP segments into packets that fit no ring …
                run(gateway.command("ethtool")?.args(["-K", port, "gro", "off"]))?;
                // … and look at every packet itself.
                gateway.nft(&format!(
                    "table netdev bench {{\n chain {port} {{\n type filter hook ingress device {port} priority 0; policy drop;\n }}\n}}\n"
                ))?;
            }
        }
        Ok(())
    }
}

/// The version that set-up has noted.
fn version() -> String {
    let file =
        env::var_os(DIRECTORY).map(|directory| Path::new(&directory).join(format!("{PROGRAM}.version")));
    let version = file.and_then(|file| fs::read_to_string(file).ok());
    version.unwrap_or_default().trim().to_owned()
}

/// The configuration file of the gateway at `end` (DPDK, sample applications, IPsec security gateway).
fn configuration(end: End) -> String {
    let far = end.other();
    let (own_network, far_network) = (end.network(), far.network());
    let (own_gateway, far_gateway) = (end.wan_address(), far.wan_address());
    // The SPI is that of the sender's end.
    let spi = |end: End| end as u32 + 1;
    let (out, into) = (spi(end), spi(far));
    let any = "sport 0:65535 dport 0:65535";
    let suite = format!("aead_algo aes-128-gcm aead_key {KEY} mode ipv4-tunnel");
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("a string takes everything");
    line(format!("sp ipv4 out esp protect {out} pri 1 src 0.0.0.0/0 dst {far_network} {any}"));
    line(format!("sp ipv4 in esp protect {into} pri 1 src 0.0.0.0/0 dst {own_network} {any}"));
    line(format!("sa out {out} {suite} src {own_gateway} dst {far_gateway} type no-offload"));
    line(format!("sa in {into} {suite} src {far_gateway} dst {own_gateway} type no-offload"));
    line(format!("rt ipv4 dst {own_network} port 0"));
    line(format!("rt ipv4 dst {far_network} port 1"));
    line(format!("rt ipv4 dst {far_gateway}/32 port 1"));
    line(format!("neigh port 0 {}", end.hardware_address(Topology::HOST_PORT)));
    line(format!("neigh port 1 {}", far.hardware_address(Topology::WAN)));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gateway_sends_with_the_sa_that_the_other_receives_with() {
        let [near, far] = [End::A, End::B].map(configuration);
        assert!(near.contains("sa out 1 ") && far.contains("sa in 1 "), "{near}{far}");
        assert!(near.contains("sa in 2 ") && far.contains("sa out 2 "), "{near}{far}");
        assert!(near.contains("protect 1 pri 1 src 0.0.0.0/0 dst 10.2.0.0/16"), "{near}");
        let gateways = "src 192.0.2.1 dst 192.0.2.2";
        assert_eq!([&near, &far].map(|text| text.matches(gateways).count()), [1, 1]);
    }
}
