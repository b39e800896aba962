//! What the datapath calls a tunnel.

/// A tunnel's number, from 1 to [`super::DatapathConfig::max_tunnels`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TunnelId(pub u32);
