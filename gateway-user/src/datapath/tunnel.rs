//! What the datapath calls a tunnel.

use ipnet::IpNet;

/// A tunnel's number, from 1 to [`super::DatapathConfig::max_tunnels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelId(pub u32);

/// A change of the tunnels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TunnelChange {
    /// The tunnel exists and has exactly these prefixes. They are routed into it from then on, and dropped there until it has an
    /// outbound SA.
    Set(TunnelId, Vec<IpNet>),
    /// The tunnel does not exist, nor its routes and SAs; one that is gone already is no error.
    Remove(TunnelId),
}

impl TunnelChange {
    /// Which tunnel changes.
    pub fn id(&self) -> TunnelId {
        match self {
            Self::Set(id, _) | Self::Remove(id) => *id,
        }
    }
}
