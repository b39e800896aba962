//! The seam between the API's handlers and the agent: commands over a channel, answered one by one, so that a single task
//! owns all state.

use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use super::capture::CaptureRequest;
use super::trace::{TraceReport, TraceRequest};
use super::types::{
    ApplyReport, BandwidthDocument, ConnectionStatus, EventRecord, Gateway, LocalNetwork, LocalNetworkChange,
    Status, Vnet,
};
use crate::capture::CaptureFeed;
use crate::model::{ParametersDocument, SharedKey};

/// Where a command's answer goes.
pub type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The thing named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The command makes no sense in itself.
    #[error("{message}")]
    Invalid {
        /// One sentence.
        message: String,
        /// Every single complaint.
        details: Vec<String>,
    },
    /// The command cannot be carried out in the present state.
    #[error("{0}")]
    Conflict(String),
    /// The agent failed.
    #[error("{0}")]
    Failed(String),
}

/// What the API asks of the agent.
#[derive(Debug)]
pub enum Command {
    /// State and counters of everything.
    Status(Reply<Status>),
    /// What the gateway is made of.
    Gateway(Reply<Gateway>),
    /// The VNets of the stored network configuration.
    Vnets(Reply<Vec<Vnet>>),
    /// Recent events, oldest first.
    Events(Reply<Vec<EventRecord>>),
    /// State and counters of the connection to a site.
    Connection(String, Reply<ConnectionStatus>),
    /// A capture of packets.
    Capture(Box<CaptureRequest>, Reply<CaptureFeed>),
    /// What would become of a packet.
    Trace(Box<TraceRequest>, Reply<TraceReport>),
    /// The shared key of the connection to a site.
    GetKey(String, Reply<SharedKey>),
    /// The stored network configuration as XML text.
    ExportNetcfg(Reply<String>),
    /// The local network sites of the stored network configuration.
    LocalNetworks(Reply<Vec<LocalNetwork>>),
    /// Rekey an SA of the connection to a site now.
    Rekey(String, Rekey, Reply<()>),
    /// Change something that is stored.
    Change(Change),
}

/// What the API asks the agent to change. It is answered when it is on the disk.
#[derive(Debug)]
pub enum Change {
    /// Start the connection to a site.
    Connect(String, Reply<()>),
    /// End the connection to a site until the next [`Change::Connect`].
    Disconnect(String, Reply<()>),
    /// Set the shared key of the connection to a site.
    SetKey(String, SharedKey, Reply<()>),
    /// Make a random shared key for the connection to a site.
    ResetKey(String, Reply<SharedKey>),
    /// Change parameters of the connection to a site.
    Configure(String, Box<Configure>, Reply<()>),
    /// Change the gateway's bandwidth.
    SetBandwidth(BandwidthDocument, Reply<()>),
    /// Replace the stored network configuration by this XML text.
    ApplyNetcfg(String, Reply<ApplyReport>),
    /// Change one of the local network sites of the stored network configuration.
    SetLocalNetwork(String, LocalNetworkChange, Reply<ApplyReport>),
}

/// Parameters for a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configure {
    /// Those that are given.
    pub parameters: ParametersDocument,
    /// Whether those that are not given go back to what the agent's options and the profile say.
    pub replace: bool,
}

/// Which SA is rekeyed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rekey {
    /// The Child SA.
    Child,
    /// The IKE SA.
    Ike,
}

/// The sending end, held by every handler.
#[derive(Clone, Debug)]
pub struct Commander {
    /// Name of the VNet whose gateway the agent runs.
    pub vnet: String,
    /// The channel to the agent's task.
    pub channel: mpsc::Sender<Command>,
}

impl Commander {
    /// Sends the command that `make` builds around a reply channel, and waits for the answer.
    pub async fn ask<T>(&self, make: impl FnOnce(Reply<T>) -> Command) -> Result<T, Refusal> {
        let stopped = || Refusal::Conflict(format!("the agent of VNet {} is stopping", self.vnet));
        let (reply, answer) = oneshot::channel();
        self.channel.send(make(reply)).await.map_err(|_| stopped())?;
        answer.await.map_err(|_| stopped())?
    }

    /// The same for a change.
    pub async fn change<T>(&self, make: impl FnOnce(Reply<T>) -> Change) -> Result<T, Refusal> {
        self.ask(|reply| Command::Change(make(reply))).await
    }
}
