//! What a network configuration file says, as data.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::GatewayAddress;

/// Name of the subnet a virtual network must have before it can have a gateway.
pub const GATEWAY_SUBNET: &str = "GatewaySubnet";

/// A whole network configuration: what one file describes and replaces.
///
/// Values made by [`crate::netcfg::parse`] keep every rule named there. Values put together by hand may not; pass
/// them to [`crate::netcfg::validate`] before use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkConfiguration {
    /// DNS servers that virtual networks refer to by name.
    pub dns_servers: Vec<DnsServer>,
    /// Address spaces at the far ends of connections.
    pub local_network_sites: Vec<LocalNetworkSite>,
    /// The virtual networks.
    pub virtual_networks: Vec<VirtualNetworkSite>,
}

/// A DNS server under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsServer {
    /// Unique among the DNS servers of the file.
    pub name: String,
    /// Where it listens.
    pub address: IpAddr,
}

/// The far end of a connection: an address space and the gateway in front of it.
///
/// A site that bears the name of a virtual network of the same file *stands for* that network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalNetworkSite {
    /// Unique among the local network sites of the file.
    pub name: String,
    /// Prefixes reached through the site's gateway; disjoint, at least one.
    pub address_space: Vec<IpNet>,
    /// Address or name of the site's gateway; `None` when the file has none.
    /// [`LocalNetworkSite::peer_address`] tells a usable address from a placeholder.
    pub gateway_address: Option<GatewayAddress>,
}

impl LocalNetworkSite {
    /// The address or name to connect to, or `None` while the file has no address or a placeholder
    /// (see [`GatewayAddress::is_placeholder`]); the connection then stays `NotConnected`.
    pub fn peer_address(&self) -> Option<GatewayAddress> {
        self.gateway_address.clone().filter(|address| !address.is_placeholder())
    }
}

/// A virtual network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualNetworkSite {
    /// Unique among the virtual networks of the file.
    pub name: String,
    /// Where the network lives.
    #[serde(flatten)]
    pub placement: Placement,
    /// Free text for people; never empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Prefixes of the network; disjoint, at least one.
    pub address_space: Vec<IpNet>,
    /// Subnets, each inside one prefix of the address space, disjoint.
    pub subnets: Vec<Subnet>,
    /// Names of the DNS servers the network uses, in order of preference.
    pub dns_servers: Vec<String>,
    /// The VPN gateway, when the network has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Gateway>,
}

/// Where a virtual network lives. Nothing in the gateway depends on it; it is kept so that a file survives a round trip.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Placement {
    /// A region, for example `West Europe`.
    Location(String),
    /// An affinity group.
    AffinityGroup(String),
}

/// A part of a virtual network's address space.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Unique among the subnets of its virtual network.
    pub name: String,
    /// The range.
    pub prefix: IpNet,
}

/// The VPN gateway of a virtual network.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gateway {
    /// Which proposals and lifetimes the gateway uses.
    #[serde(default)]
    pub profile: Profile,
    /// Prefixes that point-to-site clients get addresses from; empty when there are none.
    #[serde(default)]
    pub client_address_pool: Vec<IpNet>,
    /// Sites the gateway keeps a tunnel to.
    #[serde(default)]
    pub connections: Vec<ConnectionRef>,
}

/// The set of IKE and ESP proposals and lifetimes of a gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The gateway's own choice.
    #[default]
    Default,
    /// What an Azure VPN gateway offers and accepts.
    Azure,
}

impl Profile {
    /// The name used in files and on every surface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Azure => "azure",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A profile name that is neither `default` nor `azure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a profile is `default` or `azure`")]
pub struct UnknownProfile;

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(name: &str) -> Result<Self, UnknownProfile> {
        match name {
            "default" => Ok(Self::Default),
            "azure" => Ok(Self::Azure),
            _ => Err(UnknownProfile),
        }
    }
}

/// A gateway's connection to a local network site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionRef {
    /// Name of the local network site.
    pub site: String,
    /// How the site is reached.
    #[serde(default)]
    pub kind: ConnectionKind,
}

/// How a site is reached. The schema also knows `Dedicated` (a leased line); it is refused as not supported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ConnectionKind {
    /// An IPsec tunnel negotiated by IKEv2.
    #[default]
    #[serde(rename = "IPsec")]
    Ipsec,
}

impl ConnectionKind {
    /// The name used in files and on every surface.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ipsec => "IPsec",
        }
    }
}

impl fmt::Display for ConnectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
