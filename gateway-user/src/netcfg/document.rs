//! The configuration with the place of everything in the file, between reading and checking.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::model::{
    ConnectionKind, ConnectionRef, DnsServer, Gateway, GatewayAddress, LocalNetworkSite,
    NetworkConfiguration, Placement, Profile, Subnet, VirtualNetworkSite,
};

/// A value and where it was read.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub(super) value: T,
    pub(super) line: usize,
    pub(super) path: String,
}

/// Prefixes that belong together.
#[derive(Debug, Default)]
pub(super) struct Space {
    pub(super) prefixes: Vec<Located<IpNet>>,
    /// Whether `prefixes` is everything the file says; when one could not be read, rules on the whole are skipped.
    pub(super) complete: bool,
}

/// Everything that could be read from a file. Elements without a name are left out; their errors are reported.
#[derive(Debug, Default)]
pub(super) struct Document {
    pub(super) dns_servers: Vec<DnsServerEntry>,
    pub(super) sites: Vec<SiteEntry>,
    pub(super) networks: Vec<NetworkEntry>,
}

#[derive(Debug)]
pub(super) struct DnsServerEntry {
    pub(super) name: Located<String>,
    pub(super) address: Option<IpAddr>,
}

#[derive(Debug)]
pub(super) struct SiteEntry {
    pub(super) name: Located<String>,
    pub(super) space: Space,
    pub(super) gateway_address: Option<Located<GatewayAddress>>,
}

#[derive(Debug)]
pub(super) struct NetworkEntry {
    pub(super) name: Located<String>,
    pub(super) placement: Placement,
    pub(super) label: Option<String>,
    pub(super) space: Space,
    pub(super) subnets: Vec<SubnetEntry>,
    pub(super) dns_servers: Vec<Located<String>>,
    pub(super) gateway: Option<Located<GatewayEntry>>,
}

#[derive(Debug)]
pub(super) struct SubnetEntry {
    pub(super) name: Located<String>,
    pub(super) prefix: Option<Located<IpNet>>,
}

#[derive(Clone, Debug)]
pub(super) struct ConnectionEntry {
    pub(super) site: Located<String>,
    pub(super) kind: ConnectionKind,
}

#[derive(Debug)]
pub(super) struct GatewayEntry {
    pub(super) profile: Profile,
    pub(super) pool: Space,
    pub(super) connections: Vec<ConnectionEntry>,
}

impl Document {
    /// The configuration without places. Complete when reading reported no error.
    pub(super) fn into_model(self) -> NetworkConfiguration {
        NetworkConfiguration {
            dns_servers: self
                .dns_servers
                .into_iter()
                .filter_map(|server| Some(DnsServer { name: server.name.value, address: server.address? }))
                .collect(),
            local_network_sites: self.sites.into_iter().map(SiteEntry::into_model).collect(),
            virtual_networks: self.networks.into_iter().map(NetworkEntry::into_model).collect(),
        }
    }
}

impl Space {
    fn into_model(self) -> Vec<IpNet> {
        self.prefixes.into_iter().map(|prefix| prefix.value).collect()
    }
}

impl SiteEntry {
    fn into_model(self) -> LocalNetworkSite {
        LocalNetworkSite {
            name: self.name.value,
            address_space: self.space.into_model(),
            gateway_address: self.gateway_address.map(|address| address.value),
        }
    }
}

impl NetworkEntry {
    fn into_model(self) -> VirtualNetworkSite {
        VirtualNetworkSite {
            name: self.name.value,
            placement: self.placement,
            label: self.label,
            address_space: self.space.into_model(),
            subnets: self
                .subnets
                .into_iter()
                .filter_map(|subnet| Some(Subnet { name: subnet.name.value, prefix: subnet.prefix?.value }))
                .collect(),
            dns_servers: self.dns_servers.into_iter().map(|name| name.value).collect(),
            gateway: self.gateway.map(|gateway| gateway.value.into_model()),
        }
    }
}

impl GatewayEntry {
    fn into_model(self) -> Gateway {
        Gateway {
            profile: self.profile,
            client_address_pool: self.pool.into_model(),
            connections: self
                .connections
                .into_iter()
                .map(|connection| ConnectionRef { site: connection.site.value, kind: connection.kind })
                .collect(),
        }
    }
}
