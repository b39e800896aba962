//! Options of one agent.

use std::path::PathBuf;

/// Options of `vgw agent` beyond those that the laboratory's topology decides. `None` leaves the agent's default.
#[derive(Clone, Debug, Default)]
pub struct GatewayOptions {
    /// Shared bandwidth limit, for instance `50mbit`.
    pub bandwidth: Option<String>,
    /// Outer addresses of the gateway, in place of those of its interface.
    pub wan_addresses: Vec<String>,
    /// Interfaces towards the VNet besides [`crate::Site::LAN`].
    pub more_lans: Vec<String>,
    /// Engine: `auto`, `kernel` or `xsk`.
    pub engine: Option<String>,
    /// Number of workers of engine `xsk`.
    pub workers: Option<u32>,
    /// CPUs of these workers, for instance `0,2-3`.
    pub worker_cpus: Option<String>,
    /// Frames that may be on their way to a worker at once, per receive queue.
    pub ring_size: Option<u32>,
    /// Frames per send call of a worker, at most.
    pub tx_budget: Option<u32>,
    /// How frames go to workers.
    pub hand_over: HandOver,
    /// Whether workers never sleep.
    pub busy_poll: bool,
    /// Connections that the gateway may have.
    pub max_connections: Option<u32>,
    /// Child SAs for single receive queues.
    pub child_sas: Option<u32>,
    /// Lifetime of a Child SA in seconds.
    pub child_lifetime: Option<u32>,
    /// Lifetime of an IKE SA in seconds.
    pub ike_lifetime: Option<u32>,
    /// Idle time before a dead-peer probe, in seconds.
    pub dpd: Option<u32>,
    /// The one IKE proposal to offer and accept, for instance `aes256gcm16-prfsha384-ecp384`.
    pub ike_proposal: Option<String>,
    /// The one ESP proposal to offer and accept, for instance `chacha20poly1305`.
    pub esp_proposal: Option<String>,
    /// Size in bytes of the IP packets that carry fragments of IKE messages.
    pub fragment_size: Option<u32>,
    /// Half-open IKE SAs from which on peers must return a cookie.
    pub cookie_threshold: Option<u32>,
    /// Certificate, key and anchor of the gateway.
    pub certificate: Option<CertificateFiles>,
    /// Directory for the keys of all SAs.
    pub key_log: Option<PathBuf>,
    /// File that the agent sees as `/etc/hosts`.
    pub hosts: Option<PathBuf>,
    /// What the agent logs, for instance `debug`.
    pub log: Option<String>,
    /// How announcements of maximum segment sizes are lowered, for instance `off`.
    pub mss_clamp: Option<String>,
    /// Whether ESP travels in UDP although there is no address translation.
    pub force_udp_encapsulation: bool,
    /// Whether each inner flow has a UDP source port of its own.
    pub udp_port_entropy: bool,
}

/// How frames go to the workers of engine `xsk`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HandOver {
    /// As the agent chooses.
    #[default]
    Any,
    /// By their sockets alone.
    Sockets,
}

/// Where a gateway's certificate lies: files in PEM.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The gateway's own certificate, then those of the authorities between it and an anchor.
    pub chain: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authority that both ends trust.
    pub anchor: PathBuf,
}

impl GatewayOptions {
    pub(crate) fn arguments(&self) -> Vec<String> {
        let number = |value: Option<u32>| value.map(|value| value.to_string());
        let valued = [
            ("--bandwidth", self.bandwidth.clone()),
            ("--mss-clamp", self.mss_clamp.clone()),
            ("--engine", self.engine.clone()),
            ("--workers", number(self.workers)),
            ("--worker-cpus", self.worker_cpus.clone()),
            ("--ring-size", number(self.ring_size)),
            ("--tx-budget", number(self.tx_budget)),
            ("--max-connections", number(self.max_connections)),
            ("--child-sas", number(self.child_sas)),
            ("--child-lifetime", number(self.child_lifetime)),
            ("--ike-lifetime", number(self.ike_lifetime)),
            ("--dpd", number(self.dpd)),
            ("--fragment-size", number(self.fragment_size)),
            ("--cookie-threshold", number(self.cookie_threshold)),
            ("--ike-proposal", self.ike_proposal.clone()),
            ("--esp-proposal", self.esp_proposal.clone()),
        ];
        let mut arguments = Vec::new();
        for (option, value) in valued {
            arguments.extend(value.into_iter().flat_map(|value| [option.to_owned(), value]));
        }
        arguments.extend(self.more_lans.iter().flat_map(|name| ["--lan".to_owned(), name.clone()]));
        let addresses = self.wan_addresses.iter();
        arguments.extend(addresses.flat_map(|address| ["--wan-address".to_owned(), address.clone()]));
        if let Some(files) = &self.certificate {
            let files =
                [("--certificate", &files.chain), ("--private-key", &files.key), ("--ca", &files.anchor)];
            arguments.extend(
                files.into_iter().flat_map(|(option, path)| [option.to_owned(), path.display().to_string()]),
            );
        }
        if let Some(directory) = &self.key_log {
            arguments.extend(["--key-log".to_owned(), directory.display().to_string()]);
        }
        if self.hand_over == HandOver::Sockets {
            arguments.extend(["--hand-over", "socket"].map(str::to_owned));
        }
        if self.busy_poll {
            arguments.push("--busy-poll".to_owned());
        }
        if self.force_udp_encapsulation {
            arguments.push("--force-udp-encapsulation".to_owned());
        }
        if self.udp_port_entropy {
            arguments.push("--udp-port-entropy".to_owned());
        }
        arguments
    }
}
