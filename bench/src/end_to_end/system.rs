//! What is measured: anything that carries packets from one host to the other.

use std::fmt;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::results::HandOver;
use super::topology::Topology;

/// A way from host A to host B: a pair of VPN gateways, or what they are compared with.
pub(crate) trait System {
    /// Short name, as `--systems` takes it and JSON holds it, for instance `vgw-xsk`.
    fn name(&self) -> &'static str;

    /// What it is compared with what.
    fn kind(&self) -> Kind;

    /// How it is set up, in a few words for the reader of a table: version, cipher, placement on processors.
    fn description(&self) -> String;

    /// Whether this machine has what it needs.
    ///
    /// # Errors
    /// What is missing.
    fn available(&self) -> Result<(), NotInstalled>;

    /// Starts both gateways. The hosts have their addresses, and a default route to their gateway; all neighbours are known.
    /// Forwarding in the gateways and routes between the networks are the system's to set. The caller waits until a `ping`
    /// passes.
    ///
    /// # Errors
    /// Why it does not come up, with the end of its log.
    fn start(&self, topology: &Topology) -> Result<Box<dyn Running>>;
}

/// The part that a system plays in the comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// A yardstick without encryption.
    Reference,
    /// This project's gateway.
    Own,
    /// Somebody else's gateway.
    Peer,
}

/// A system at work. Dropping it ends its processes; the namespaces and what is in them go with the topology.
pub(crate) trait Running {
    /// The gateways' processes; their children are counted with them.
    fn processes(&self) -> Vec<GatewayProcess>;

    /// Largest inner IP packet that goes through in one piece, in bytes. The hosts' routes get it as their MTU.
    fn inner_mtu(&self) -> u32;

    /// Takes gateway B away so that gateway A does not notice and sends on, and leaves `wan0` of gateway B without
    /// anybody who reads from it (no XDP program, no process with a raw socket). Returns `false` when there is no such
    /// thing as one gateway alone.
    ///
    /// # Errors
    /// It could not be stopped.
    fn stop_far_gateway(&mut self, topology: &Topology) -> Result<bool>;

    /// How packets have come to its workers so far; nothing where there are no workers.
    ///
    /// # Errors
    /// It does not answer.
    fn hand_over(&self) -> Result<Option<HandOver>> {
        Ok(None)
    }

    /// The last of what it logged, for the report of a failure.
    fn log_tail(&self) -> String;
}

/// A process of a gateway.
#[derive(Clone, Debug)]
pub(crate) struct GatewayProcess {
    /// `a` or `b`, and what it is, for instance `a: vgw agent`.
    pub(crate) name: String,
    pub(crate) id: u32,
}

/// Why a system cannot be measured here.
#[derive(Clone, Debug)]
pub(crate) struct NotInstalled(pub(crate) String);

impl fmt::Display for NotInstalled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "not installed: {}", self.0)
    }
}
