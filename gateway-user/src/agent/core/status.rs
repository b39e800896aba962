//! The core's answers to questions.

use std::collections::BTreeMap;
use std::time::Instant;

use gateway_common::BudgetCounters;
use ike::{ChildStatus, PeerId};

use super::super::dataplane::Dataplane;
use super::{Connection, Core, connection_name};
use crate::api::command::Refusal;
use crate::api::types::{
    BandwidthDirection, BudgetCounts, BudgetStatus, ConnectionStatus, Gateway, LocalNetwork, QueueSa, Status,
    VirtualNetworkState, Vnet,
};
use crate::datapath::{BudgetStats, Direction, TunnelId, TunnelStats};
use crate::model::{Bandwidth, ConnectionState, GatewayAddress};

impl<D: Dataplane> Core<D> {
    pub(super) fn status(&self, now: Instant) -> Result<Status, Refusal> {
        let stats = self.dataplane.stats().map_err(|error| unreadable(&error))?;
        let mut drops = BTreeMap::new();
        for (reason, count) in
            stats.drops.iter().chain(stats.tunnels.values().flat_map(|tunnel| &tunnel.drops))
        {
            *drops.entry((*reason).to_owned()).or_insert(0) += count;
        }
        let connections = self
            .connections
            .iter()
            .map(|(site, connection)| {
                let tunnel = stats.tunnels.get(&TunnelId(connection.id)).cloned().unwrap_or_default();
                self.status_of(now, site, connection, &tunnel)
            })
            .collect();
        Ok(Status {
            vnet: self.settings.vnet.clone(),
            clock_ns: stats.read_ns,
            state: self.state,
            engine: stats.engine.into(),
            wan_address: self.settings.wan_addresses.v4,
            wan_address_v6: self.settings.wan_addresses.v6,
            budget: budget(&stats.budget),
            xdp_mode: stats.xdp_mode,
            key_log: self.key_log_directory(),
            ike_sas: self.endpoint.ike_sa_count() as u64,
            connections,
            drops,
        })
    }

    pub(super) fn connection_status(&self, now: Instant, site: &str) -> Result<ConnectionStatus, Refusal> {
        let connection = self.connection(site)?;
        let tunnel = self.dataplane.tunnel_stats(TunnelId(connection.id));
        Ok(self.status_of(now, site, connection, &tunnel.map_err(|error| unreadable(&error))?))
    }

    pub(super) fn gateway(&self) -> Gateway {
        let (settings, bandwidth) = (&self.settings, self.bandwidth());
        let network = self.configuration.virtual_network(&settings.vnet);
        Gateway {
            vnet: settings.vnet.clone(),
            state: self.state,
            engine: self.dataplane.engine_stats().running,
            wan_interface: settings.wan_interface.clone(),
            wan_address: settings.wan_addresses.v4,
            wan_address_v6: settings.wan_addresses.v6,
            lan_interfaces: settings.lan_interfaces.clone(),
            address_space: network.map(|network| texts(&network.address_space)).unwrap_or_default(),
            profile: self.profile(),
            bandwidth_bits: bandwidth.rate.map(Bandwidth::bits_per_second),
            bandwidth_direction: bandwidth.direction,
            key_log: self.key_log_directory(),
            connections: self.connections.len() as u32,
            max_connections: settings.max_connections,
        }
    }

    pub(super) fn vnets(&self) -> Vec<Vnet> {
        let networks = self.configuration.virtual_networks.iter();
        networks
            .map(|network| Vnet {
                name: network.name.clone(),
                state: VirtualNetworkState::Created,
                address_space: texts(&network.address_space),
                sites: network.gateway.as_ref().map_or_else(Vec::new, |gateway| {
                    gateway.connections.iter().map(|connection| connection.site.clone()).collect()
                }),
                gateway_state: (network.name == self.settings.vnet).then_some(self.state),
            })
            .collect()
    }

    pub(super) fn local_networks(&self) -> Vec<LocalNetwork> {
        let sites = self.configuration.local_network_sites.iter();
        sites
            .map(|site| LocalNetwork {
                name: site.name.clone(),
                address_space: texts(&site.address_space),
                gateway_address: site.peer_address(),
            })
            .collect()
    }

    pub(super) fn connection(&self, site: &str) -> Result<&Connection, Refusal> {
        self.connections.get(site).ok_or_else(|| {
            let sites: Vec<_> = self.connections.keys().map(String::as_str).collect();
            let vnet = &self.settings.vnet;
            Refusal::NotFound(format!(
                "VNet {vnet} has no connection to {site}; its connections lead to {}",
                super::list_or_none(&sites)
            ))
        })
    }

    fn key_log_directory(&self) -> Option<String> {
        self.key_log.as_ref().map(|log| log.directory().display().to_string())
    }

    fn status_of(
        &self,
        now: Instant,
        site: &str,
        connection: &Connection,
        tunnel: &TunnelStats,
    ) -> ConnectionStatus {
        let peer = self.endpoint.status(PeerId(connection.id));
        let peer = peer.as_ref();
        let ike = peer.and_then(|peer| peer.ike.as_ref());
        let child = peer.and_then(|peer| peer.child.as_ref());
        let tunnel_error = || connection.tunnel_error.clone();
        let missing = || connection.missing.clone();
        let from_ike = || peer.and_then(|peer| peer.last_error.clone());
        let refused = || connection.refused.as_ref().map(|refused| refused.error.clone());
        ConnectionStatus {
            name: connection_name(&self.settings.vnet, site),
            site: site.to_owned(),
            state: if connection.configured { connection.state } else { ConnectionState::NotConnected },
            peer: peer.and_then(|peer| Some(peer.remote?.ip())).or(self.place_of(site)),
            peer_name: connection
                .resolved
                .gateway_address
                .as_ref()
                .and_then(GatewayAddress::name)
                .map(ToString::to_string),
            last_error: tunnel_error().or_else(missing).or_else(refused).or_else(from_ike),
            ike_proposal: ike.map(|ike| ike.proposal.clone()),
            ike_spis: ike.map(|ike| [ike.spi_i, ike.spi_r].map(|spi| format!("{spi:016x}"))),
            ike_established_seconds: ike.map(|ike| now.saturating_duration_since(ike.established).as_secs()),
            ike_rekey_in_seconds: ike.map(|ike| ike.rekey_at.saturating_duration_since(now).as_secs()),
            ike_rekeys: ike.map(|ike| ike.rekeys),
            ike_fragmentation: ike.map(|ike| ike.fragmentation),
            peer_identity: ike.map(|ike| ike.peer_identity.clone()),
            authentication: ike.map(|ike| ike.authentication.to_owned()),
            nat_detected: ike.map(|ike| ike.nat_detected),
            esp_algorithm: child.map(|child| child.proposal.clone()),
            inbound_spi: child.map(|child| spi_text(child.inbound_spi)),
            outbound_spi: child.map(|child| spi_text(child.outbound_spi)),
            local_selectors: child.map(|child| texts(&child.local_selectors)),
            remote_selectors: child.map(|child| texts(&child.remote_selectors)),
            bytes_in: tunnel.counters.in_bytes,
            bytes_out: tunnel.counters.out_bytes,
            packets_in: tunnel.counters.in_packets,
            packets_out: tunnel.counters.out_packets,
            marked_in: tunnel.counters.in_marked,
            marked_out: tunnel.counters.out_marked,
            established_seconds: child
                .map(|child| now.saturating_duration_since(child.established).as_secs()),
            rekey_in_seconds: child.map(|child| child.rekey_at.saturating_duration_since(now).as_secs()),
            rekeys: child.map_or(0, |child| child.rekeys),
            queue_sas_agreed: ike.map(|ike| ike.resource_children),
            queue_sas: peer
                .map_or_else(Vec::new, |peer| self.queue_sas(now, connection, &peer.resource_children)),
            mtu: (tunnel.mtu != 0).then_some(tunnel.mtu),
            drops: tunnel.drops.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect(),
            parameters: self.terms(site).in_force(),
        }
    }

    /// Counters that cannot be read are zero here: those of the whole connection tell the trouble.
    fn queue_sas(&self, now: Instant, connection: &Connection, children: &[ChildStatus]) -> Vec<QueueSa> {
        let queue_sa = |child: &ChildStatus| {
            let carried = |direction, spi| {
                let counters = self.dataplane.sa_counters(TunnelId(connection.id), direction, spi);
                counters.unwrap_or_default()
            };
            let inbound = carried(Direction::Inbound, child.inbound_spi);
            let outbound = carried(Direction::Outbound, child.outbound_spi);
            Some(QueueSa {
                queue: child.resource?,
                esp_algorithm: child.proposal.clone(),
                inbound_spi: spi_text(child.inbound_spi),
                outbound_spi: spi_text(child.outbound_spi),
                bytes_in: inbound.bytes,
                bytes_out: outbound.bytes,
                packets_in: inbound.packets,
                packets_out: outbound.packets,
                established_seconds: now.saturating_duration_since(child.established).as_secs(),
                rekey_in_seconds: child.rekey_at.saturating_duration_since(now).as_secs(),
                rekeys: child.rekeys,
            })
        };
        children.iter().filter_map(queue_sa).collect()
    }
}

fn budget(stats: &BudgetStats) -> BudgetStatus {
    let counts = |of: &BudgetCounters| BudgetCounts {
        passed_packets: of.passed_packets,
        passed_bytes: of.passed_bytes,
        marked_packets: of.marked_packets,
        marked_bytes: of.marked_bytes,
        dropped_packets: of.dropped_packets,
        dropped_bytes: of.dropped_bytes,
    };
    let BudgetStats { limit, outbound, inbound } = stats;
    BudgetStatus {
        rate_bits: limit.rate,
        direction: if limit.is_separate { BandwidthDirection::Separate } else { BandwidthDirection::Shared },
        passed_bytes: outbound.passed_bytes + inbound.passed_bytes,
        dropped_bytes: outbound.dropped_bytes + inbound.dropped_bytes,
        outbound: counts(outbound),
        inbound: counts(inbound),
    }
}

fn spi_text(spi: u32) -> String {
    format!("{spi:08x}")
}

fn unreadable(error: &anyhow::Error) -> Refusal {
    Refusal::Failed(format!("cannot read the datapath's counters: {error:#}"))
}

fn texts<T: ToString>(prefixes: &[T]) -> Vec<String> {
    prefixes.iter().map(ToString::to_string).collect()
}
