//! The states that virtual networks, gateways and connections go through.

use std::fmt;

use serde::{Deserialize, Serialize};

/// State of a virtual network: it exists from the moment a configuration with it has been applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum VirtualNetworkState {
    /// The network is part of the applied configuration.
    #[default]
    Created,
}

/// State of a gateway: `NotProvisioned → Provisioning → Provisioned → Deprovisioning → NotProvisioned`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum GatewayState {
    /// The network has no running gateway.
    #[default]
    NotProvisioned,
    /// Interfaces, maps and programs are being set up.
    Provisioning,
    /// The gateway forwards.
    Provisioned,
    /// Tunnels are being closed and the datapath taken down.
    Deprovisioning,
}

/// State of a connection: `NotConnected → Connecting → Connected`, back to `NotConnected` from either.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConnectionState {
    /// No IKE SA and no attempt at one; also every connection whose site has only a placeholder address.
    #[default]
    NotConnected,
    /// IKE is negotiating.
    Connecting,
    /// A Child SA is installed.
    Connected,
}

impl VirtualNetworkState {
    /// The name used on every surface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "Created",
        }
    }
}

impl GatewayState {
    /// The name used on every surface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotProvisioned => "NotProvisioned",
            Self::Provisioning => "Provisioning",
            Self::Provisioned => "Provisioned",
            Self::Deprovisioning => "Deprovisioning",
        }
    }
}

impl ConnectionState {
    /// The name used on every surface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotConnected => "NotConnected",
            Self::Connecting => "Connecting",
            Self::Connected => "Connected",
        }
    }
}

impl fmt::Display for VirtualNetworkState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for GatewayState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for ConnectionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
