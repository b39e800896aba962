//! Which end brings a connection up.

use std::fmt;

/// Which end brings the connection with a peer up, and when.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ConnectionMode {
    /// We connect at once and keep trying for ever, and answer the peer as well.
    #[default]
    Default,
    /// We connect at once and keep trying for ever; the peer's own requests for an IKE SA are not answered.
    Initiator,
    /// We wait for the peer and never begin ourselves.
    Responder,
    /// We answer the peer, and begin ourselves only when a packet wants out: see [`crate::Endpoint::demand`]. After a few
    /// attempts in vain we wait for the next packet. A connection that is up stays up, with packets or without.
    OnDemand,
}

impl ConnectionMode {
    /// Whether a connection is wanted at all times.
    pub(crate) fn always_connects(self) -> bool {
        matches!(self, Self::Default | Self::Initiator)
    }
}

impl fmt::Display for ConnectionMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::Initiator => "initiator",
            Self::Responder => "responder",
            Self::OnDemand => "on-demand",
        })
    }
}
