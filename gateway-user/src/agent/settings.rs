//! What an agent is told when it starts.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use ike::{EspProposal, IkeProposal};

use super::CertificateFiles;
use super::profile::CipherPreference;
use crate::datapath::{EngineConfig, WanAddresses};
use crate::model::{CHILD_SAS, GatewayBandwidth, MssClamp};

/// How to run one gateway: the options of `vgw agent`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Name of the VNet.
    pub vnet: String,
    /// Network configuration to use and to store; `None` uses the stored one.
    pub netcfg: Option<PathBuf>,
    /// Interface towards the peers.
    pub wan: String,
    /// Addresses that peers find the gateway at, at most one of each family; empty for those of the interface.
    pub wan_addresses: Vec<IpAddr>,
    /// Interfaces towards the VNet.
    pub lan: Vec<String>,
    /// What all tunnels share, unless another was set by command.
    pub bandwidth: GatewayBandwidth,
    /// Directory of sockets and locks.
    pub run_dir: PathBuf,
    /// Directory of what outlives a restart.
    pub state_dir: PathBuf,
    /// Directory on a BPF file system.
    pub pin_root: PathBuf,
    /// Most connections.
    pub max_connections: u32,
    /// Files of certificates.
    pub certificates: CertificateFiles,
    /// Directory that keys are written to for decrypting captures; `None` for none.
    pub key_log: Option<PathBuf>,
    /// What seals and opens packets.
    pub engine: EngineConfig,
    /// What becomes of the maximum segment sizes that TCP connections announce.
    pub mss_clamp: MssClamp,
    /// How to talk to peers.
    pub peering: Peering,
}

/// How to talk to peers, beyond what the gateway's profile says.
#[derive(Clone, Debug)]
pub struct Peering {
    /// Age at which an IKE SA is rekeyed; `None` for the profile's.
    pub ike_lifetime: Option<Duration>,
    /// Age at which a Child SA is rekeyed; `None` for the profile's.
    pub child_lifetime: Option<Duration>,
    /// Idle time after which a peer's liveness is checked; `None` for the default.
    pub dpd_interval: Option<Duration>,
    /// IKE proposals, best first; empty for the profile's.
    pub ike_proposals: Vec<IkeProposal>,
    /// ESP proposals, best first; empty for the profile's.
    pub esp_proposals: Vec<EspProposal>,
    /// Half-open IKE SAs from which on a cookie is demanded; `None` for the default.
    pub cookie_threshold: Option<usize>,
    /// Largest IP packet that carries an IKE message whole; `None` for the default.
    pub fragment_size: Option<usize>,
    /// ESP in UDP even where no NAT was found.
    pub force_udp_encapsulation: bool,
    /// ESP in UDP from a source port per inner flow, where no NAT depends on the port.
    pub udp_port_entropy: bool,
    /// Child SAs for single receive queues of each connection, and the most that one may have; 1 stands for none.
    pub child_sas: u16,
}

impl Peering {
    /// Receive queues of a connection that may have SAs of their own.
    pub(super) fn queue_sas(&self) -> u32 {
        if self.child_sas > 1 { u32::from(self.child_sas.min(CHILD_SAS.1)) } else { 0 }
    }
}

/// What the core knows of its surroundings.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) vnet: String,
    pub(super) wan_interface: String,
    pub(super) wan_addresses: WanAddresses,
    pub(super) lan_interfaces: Vec<String>,
    /// What all tunnels share, unless another was set by command.
    pub(super) bandwidth: GatewayBandwidth,
    pub(super) max_connections: u32,
    /// What the profiles prefer on this machine.
    pub(super) preference: CipherPreference,
    pub(super) peering: Peering,
}
