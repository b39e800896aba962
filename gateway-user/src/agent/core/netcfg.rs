//! Replacing the network configuration while the gateway runs.

use std::collections::BTreeMap;
use std::time::Instant;

use ike::PeerId;

use super::super::dataplane::Dataplane;
use super::super::events::EventNumber;
use super::{Core, list_or_none, own_network};
use crate::api::command::Refusal;
use crate::api::types::{ApplyReport, LocalNetworkChange};
use crate::datapath::TunnelId;
use crate::model::{NetworkConfiguration, ResolvedConnection};
use crate::netcfg::{self, Limits, Report};

impl<D: Dataplane> Core<D> {
    pub(super) async fn apply_netcfg(&mut self, now: Instant, xml: &str) -> Result<ApplyReport, Refusal> {
        let configuration =
            netcfg::parse("netcfg", xml.as_bytes(), &self.limits()).map_err(|report| invalid(&report))?;
        self.replace(now, configuration).await
    }

    pub(super) async fn set_local_network(
        &mut self,
        now: Instant,
        name: &str,
        change: LocalNetworkChange,
    ) -> Result<ApplyReport, Refusal> {
        let mut configuration = self.configuration.clone();
        let Some(site) = configuration.local_network_sites.iter_mut().find(|site| site.name == name) else {
            let names: Vec<_> =
                self.configuration.local_network_sites.iter().map(|site| &*site.name).collect();
            let names = list_or_none(&names);
            return Err(Refusal::NotFound(format!("there is no local network {name}; there are {names}")));
        };
        site.gateway_address = Some(change.gateway_address);
        netcfg::validate(&configuration, &self.limits()).map_err(|report| invalid(&report))?;
        self.replace(now, configuration).await
    }

    fn limits(&self) -> Limits {
        Limits { max_connections: self.settings.max_connections as usize }
    }

    /// Stores a valid configuration and makes the gateway follow it; connections that stay the same are not touched.
    async fn replace(
        &mut self,
        now: Instant,
        configuration: NetworkConfiguration,
    ) -> Result<ApplyReport, Refusal> {
        self.require_running()?;
        self.require_same_network(&configuration)?;
        let wanted = self.resolve(&configuration).map_err(|error| Refusal::Failed(format!("{error:#}")))?;
        self.store
            .save_netcfg(&netcfg::write(&configuration))
            .map_err(|error| Refusal::Failed(error.to_string()))?;
        let profile_before = self.profile();
        self.configuration = configuration;
        self.events.add(EventNumber::NetcfgApplied, None, "network configuration replaced".to_owned());
        let everything_changed = profile_before != self.profile();
        self.follow(now, wanted, everything_changed).await.map_err(|error| {
            Refusal::Failed(format!("the configuration is stored, but the datapath refuses it: {error:#}"))
        })
    }

    async fn follow(
        &mut self,
        now: Instant,
        wanted: Vec<ResolvedConnection>,
        everything_changed: bool,
    ) -> anyhow::Result<ApplyReport> {
        let mut wanted: BTreeMap<_, _> = wanted.into_iter().map(|item| (item.site.clone(), item)).collect();
        let mut report = ApplyReport::default();
        let sites: Vec<String> = self.connections.keys().cloned().collect();
        // What goes, goes first: a prefix may move from one tunnel to another.
        for site in &sites {
            if !wanted.contains_key(site) {
                self.remove_connection(now, site).await?;
                report.removed.push(site.clone());
            }
        }
        let mut changed = Vec::new();
        for (site, connection) in &mut self.connections {
            let Some(new) = wanted.remove(site) else { continue };
            if connection.resolved == new && !everything_changed {
                report.unchanged.push(site.clone());
                continue;
            }
            let old = &connection.resolved.remote_prefixes;
            let kept: Vec<_> =
                old.iter().filter(|prefix| new.remote_prefixes.contains(prefix)).copied().collect();
            if kept.len() < old.len() {
                self.dataplane.set_tunnel(TunnelId(connection.id), &kept).await?;
            }
            connection.resolved = new;
            changed.push((site.clone(), kept));
        }
        for (site, kept) in changed {
            let connection = &self.connections[&site];
            if connection.resolved.remote_prefixes != kept {
                let id = TunnelId(connection.id);
                self.dataplane.set_tunnel(id, &connection.resolved.remote_prefixes).await?;
            }
            self.configure(now, &site);
            report.changed.push(site);
        }
        for (site, new) in wanted {
            self.add_connection(now, new).await?;
            report.added.push(site);
        }
        Ok(report)
    }

    async fn remove_connection(&mut self, now: Instant, site: &str) -> anyhow::Result<()> {
        let Some(connection) = self.connections.get(site) else { return Ok(()) };
        let id = connection.id;
        self.endpoint.remove_peer(now, PeerId(id));
        // Removal events name the connection, so it goes after them.
        self.drain(now);
        self.connections.remove(site);
        self.dataplane.remove_tunnel(TunnelId(id)).await
    }

    /// The VNet and its gateway must still be there, with the address space that the datapath was started with.
    fn require_same_network(&self, configuration: &NetworkConfiguration) -> Result<(), Refusal> {
        let vnet = &self.settings.vnet;
        let new = own_network(vnet, configuration)
            .map_err(|error| Refusal::Conflict(format!("{error:#}; stop the agent first")))?;
        let old = self.configuration.virtual_network(vnet);
        if old.is_some_and(|old| old.address_space == new.address_space) {
            return Ok(());
        }
        Err(Refusal::Conflict(format!(
            "the address space of VNet {vnet} cannot change while its gateway runs: restart the agent with --netcfg"
        )))
    }
}

fn invalid(report: &Report) -> Refusal {
    let count = report.errors.len();
    Refusal::Invalid {
        message: format!("the network configuration has {count} error{}", if count == 1 { "" } else { "s" }),
        details: report.errors.iter().map(|error| format!("line {}: {error}", error.line)).collect(),
    }
}
