//! The seam between the API's handlers and the agent: commands over a channel, answered one by one, so that a single task
//! owns all state.

use tokio::sync::{mpsc, oneshot};

use super::types::{
    ApplyReport, ConnectionStatus, EventRecord, Gateway, LocalNetwork, LocalNetworkChange, Status, Vnet,
};
use crate::model::SharedKey;

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
    /// Start the connection to a site.
    Connect(String, Reply<()>),
    /// End the connection to a site until the next [`Command::Connect`].
    Disconnect(String, Reply<()>),
    /// The shared key of the connection to a site.
    GetKey(String, Reply<SharedKey>),
    /// Set the shared key of the connection to a site.
    SetKey(String, SharedKey, Reply<()>),
    /// Make a random shared key for the connection to a site.
    ResetKey(String, Reply<SharedKey>),
    /// The stored network configuration as XML text.
    ExportNetcfg(Reply<String>),
    /// Replace the stored network configuration by this XML text.
    ApplyNetcfg(String, Reply<ApplyReport>),
    /// The local network sites of the stored network configuration.
    LocalNetworks(Reply<Vec<LocalNetwork>>),
    /// Change one of them.
    SetLocalNetwork(String, LocalNetworkChange, Reply<ApplyReport>),
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
}
