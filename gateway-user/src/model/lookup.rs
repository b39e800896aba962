//! What the agent of one virtual network asks of the configuration.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;
use serde::Serialize;
use thiserror::Error;

use super::{
    ConnectionKind, DnsServer, GatewayAddress, LocalNetworkSite, NetworkConfiguration, VirtualNetworkSite,
};

/// A name that the configuration does not have.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LookupError {
    /// No virtual network has this name.
    #[error("no virtual network is named {0:?}")]
    NoSuchVirtualNetwork(String),
    /// No local network site has this name. Cannot happen in a configuration that passed its rules.
    #[error("no local network site is named {0:?}")]
    NoSuchSite(String),
}

/// A connection of a gateway with everything its site says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ResolvedConnection {
    /// Name of the local network site; names the connection on every surface.
    pub site: String,
    /// How the site is reached.
    pub kind: ConnectionKind,
    /// Prefixes behind the site's gateway.
    pub remote_prefixes: Vec<IpNet>,
    /// Address or name of the site's gateway; `None` when it is missing or a placeholder.
    pub gateway_address: Option<GatewayAddress>,
    /// Whether the site stands for a virtual network of the same file.
    pub virtual_network: bool,
}

impl NetworkConfiguration {
    /// The virtual network of this name (case-sensitive).
    pub fn virtual_network(&self, name: &str) -> Option<&VirtualNetworkSite> {
        self.virtual_networks.iter().find(|network| network.name == name)
    }

    /// The local network site of this name (case-sensitive).
    pub fn local_network_site(&self, name: &str) -> Option<&LocalNetworkSite> {
        self.local_network_sites.iter().find(|site| site.name == name)
    }

    /// The DNS server of this name (case-sensitive).
    pub fn dns_server(&self, name: &str) -> Option<&DnsServer> {
        self.dns_servers.iter().find(|server| server.name == name)
    }

    /// The connections of the named virtual network's gateway in file order; empty when it has no gateway.
    pub fn connections(&self, virtual_network: &str) -> Result<Vec<ResolvedConnection>, LookupError> {
        let network = self
            .virtual_network(virtual_network)
            .ok_or_else(|| LookupError::NoSuchVirtualNetwork(virtual_network.to_owned()))?;
        let connections = network.gateway.as_ref().map_or(&[][..], |gateway| &gateway.connections);
        let sites: HashMap<&str, &LocalNetworkSite> =
            self.local_network_sites.iter().map(|site| (site.name.as_str(), site)).collect();
        let networks: HashSet<&str> =
            self.virtual_networks.iter().map(|network| network.name.as_str()).collect();
        connections
            .iter()
            .map(|connection| {
                let site = sites
                    .get(connection.site.as_str())
                    .ok_or_else(|| LookupError::NoSuchSite(connection.site.clone()))?;
                Ok(ResolvedConnection {
                    site: site.name.clone(),
                    kind: connection.kind,
                    remote_prefixes: site.address_space.clone(),
                    gateway_address: site.peer_address(),
                    virtual_network: networks.contains(site.name.as_str()),
                })
            })
            .collect()
    }
}
