//! Making the datapath's tunnels what the network configuration says.
//!
//! The datapath may refuse any step. Each connection therefore remembers what was carried out for it, and
//! [`Core::follow`] may be called again at any time: it does what is still to be done, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use anyhow::{Context, bail};
use ike::PeerId;
use ipnet::IpNet;

use super::super::dataplane::Dataplane;
use super::super::events::EventNumber;
use super::{Connection, Core, DATAPATH_RETRY, connection_name};
use crate::api::types::ApplyReport;
use crate::datapath::TunnelId;
use crate::model::{ConnectionState, GatewayState, ResolvedConnection};

/// What the datapath has of a connection.
#[derive(Debug, Default)]
pub(super) struct Tunnel {
    /// Every prefix that may lead into the tunnel.
    prefixes: BTreeSet<IpNet>,
    /// Whether these are exactly the tunnel's; not so before the first success and after a failure.
    certain: bool,
}

/// A tunnel without a connection, which the datapath is still to remove.
#[derive(Debug)]
pub(super) struct Leftover {
    site: String,
    prefixes: BTreeSet<IpNet>,
    error: Option<String>,
}

/// What [`Core::follow`] did, and what it could not do.
#[derive(Debug, Default)]
pub(super) struct Followed {
    pub(super) report: ApplyReport,
    pub(super) failures: Vec<String>,
}

impl<D: Dataplane> Core<D> {
    /// Makes tunnels and IKE follow the connections `wanted`; those that are as they should be are not touched. A failure
    /// concerns its own connection only, and is tried again after [`DATAPATH_RETRY`].
    pub(super) async fn follow(&mut self, now: Instant, wanted: Vec<ResolvedConnection>) -> Followed {
        let mut wanted: BTreeMap<_, _> = wanted.into_iter().map(|item| (item.site.clone(), item)).collect();
        let mut followed = Followed::default();
        // What goes, goes first: a prefix may move from one tunnel to another.
        let sites: Vec<String> = self.connections.keys().cloned().collect();
        for site in sites.iter().filter(|site| !wanted.contains_key(*site)) {
            self.remove_connection(now, site);
            followed.report.removed.push(site.clone());
        }
        // A gateway that fails to start forgets nothing.
        if self.state == GatewayState::Provisioned {
            self.keep_only(|site| wanted.contains_key(site));
        }
        self.remove_leftovers(&mut followed.failures).await;
        let profile = self.profile();
        let mut pending = Vec::new();
        for (site, connection) in &mut self.connections {
            let Some(new) = wanted.remove(site) else { continue };
            connection.resolved = new;
            let is_applied = connection
                .applied
                .as_ref()
                .is_some_and(|(resolved, with)| *resolved == connection.resolved && *with == profile);
            if is_applied && connection.tunnel_error.is_none() {
                followed.report.unchanged.push(site.clone());
            } else {
                followed.report.changed.push(site.clone());
                pending.push(site.clone());
            }
        }
        for site in &pending {
            self.shrink(site).await;
        }
        for (site, new) in wanted {
            match self.add_connection(new) {
                Ok(()) => {
                    followed.report.added.push(site.clone());
                    pending.push(site);
                }
                Err(error) => followed.failures.push(format!("{error:#}")),
            }
        }
        for site in pending {
            if let Err(error) = self.establish(now, &site).await {
                followed.failures.push(self.note_tunnel_error(&site, &error));
            }
        }
        self.follow_at = (!followed.failures.is_empty()).then(|| now + DATAPATH_RETRY);
        followed
    }

    /// [`Core::follow`] for the present configuration. What fails again is known already.
    pub(super) async fn follow_again(&mut self, now: Instant) {
        match self.resolve(&self.configuration) {
            Ok(wanted) => drop(self.follow(now, wanted).await),
            Err(error) => {
                self.follow_at = None;
                tracing::error!("the network configuration in force cannot be used: {error:#}");
            }
        }
    }

    fn remove_connection(&mut self, now: Instant, site: &str) {
        let Some(id) = self.connections.get(site).map(|connection| connection.id) else { return };
        self.endpoint.remove_peer(now, PeerId(id));
        // Removal events name the connection, so it goes after them.
        self.drain(now);
        self.sites.remove(&id);
        self.names.forget(site);
        if let Some(Connection { tunnel, .. }) = self.connections.remove(site) {
            let leftover = Leftover { site: site.to_owned(), prefixes: tunnel.prefixes, error: None };
            self.leftovers.insert(id, leftover);
        }
    }

    /// Removes the tunnels of removed connections; the number of each is free when that has succeeded.
    async fn remove_leftovers(&mut self, failures: &mut Vec<String>) {
        for (id, mut leftover) in std::mem::take(&mut self.leftovers) {
            let Err(error) = self.dataplane.remove_tunnel(TunnelId(id)).await else { continue };
            let name = connection_name(&self.settings.vnet, &leftover.site);
            let error = format!("the datapath cannot remove the tunnel of {name}: {error:#}");
            failures.push(error.clone());
            if leftover.error.as_ref() != Some(&error) {
                self.events.add(EventNumber::DatapathRefused, Some(&leftover.site), error.clone());
                leftover.error = Some(error);
            }
            self.leftovers.insert(id, leftover);
        }
    }

    /// Takes the prefixes out of a tunnel that it is to lose. A failure keeps them from every other tunnel, and the same call
    /// comes again with [`Core::establish`], which reports it.
    async fn shrink(&mut self, site: &str) {
        let Some(connection) = self.connections.get(site) else { return };
        let Connection { tunnel, resolved, .. } = connection;
        let (kept, lost): (Vec<_>, Vec<_>) =
            tunnel.prefixes.iter().copied().partition(|prefix| resolved.remote_prefixes.contains(prefix));
        if !lost.is_empty() {
            // Nothing to tell yet: see above.
            let _ = self.set_tunnel(site, &kept).await;
        }
    }

    /// Adds a connection without a tunnel, under the lowest free number.
    fn add_connection(&mut self, resolved: ResolvedConnection) -> anyhow::Result<()> {
        let (site, most) = (resolved.site.clone(), self.settings.max_connections);
        let id = self
            .free_number()
            .filter(|id| *id <= most)
            .with_context(|| format!("no number is free for the tunnel to {site}: all {most} are in use"))?;
        let connection = Connection {
            id,
            resolved,
            applied: None,
            tunnel: Tunnel::default(),
            state: ConnectionState::NotConnected,
            reason: String::new(),
            configured: false,
            missing: None,
            tunnel_error: None,
            refused: None,
        };
        if self.state == GatewayState::Provisioned && self.keys.get(&site).is_some() {
            let name = connection_name(&self.settings.vnet, &site);
            let message = format!("new connection {name} uses the shared key stored earlier");
            self.events.add(EventNumber::KeyReused, Some(&site), message);
        }
        self.sites.insert(id, site.clone());
        self.connections.insert(site, connection);
        Ok(())
    }

    /// The lowest number that no connection and no leftover has.
    fn free_number(&self) -> Option<u32> {
        let last = |id: Option<&u32>| id.copied().unwrap_or(0);
        let highest = last(self.sites.keys().next_back()).max(last(self.leftovers.keys().next_back()));
        // Without a gap, as always when a gateway starts, nothing needs to be searched.
        if self.sites.len() + self.leftovers.len() == highest as usize {
            return highest.checked_add(1);
        }
        (1..highest).find(|id| !self.sites.contains_key(id) && !self.leftovers.contains_key(id))
    }

    /// Gives a connection its tunnel, then tells IKE about its peer.
    async fn establish(&mut self, now: Instant, site: &str) -> anyhow::Result<()> {
        let Some(connection) = self.connections.get(site) else { return Ok(()) };
        let wanted = connection.resolved.remote_prefixes.clone();
        let is_set = connection.tunnel.certain && connection.tunnel.prefixes.iter().eq(&wanted);
        if !is_set {
            self.set_tunnel(site, &wanted).await?;
        }
        let profile = self.profile();
        if let Some(connection) = self.connections.get_mut(site) {
            connection.applied = Some((connection.resolved.clone(), profile));
            connection.tunnel_error = None;
        }
        self.configure(now, site);
        Ok(())
    }

    async fn set_tunnel(&mut self, site: &str, prefixes: &[IpNet]) -> anyhow::Result<()> {
        if let Some((prefix, other)) = self.taken(site, prefixes) {
            bail!("{prefix} is still in the tunnel of {}", connection_name(&self.settings.vnet, other));
        }
        let Some(connection) = self.connections.get_mut(site) else { return Ok(()) };
        let tunnel = &mut connection.tunnel;
        tunnel.prefixes.extend(prefixes);
        tunnel.certain = false;
        self.dataplane.set_tunnel(TunnelId(connection.id), prefixes).await?;
        *tunnel = Tunnel { prefixes: prefixes.iter().copied().collect(), certain: true };
        self.apply_share(site)
    }

    /// The first prefix that may still lead into another tunnel, and the site at that one's end. The datapath would take
    /// it away from both when the other tunnel gives it up.
    fn taken(&self, site: &str, prefixes: &[IpNet]) -> Option<(IpNet, &str)> {
        let others = self.connections.iter().filter(|(other, _)| *other != site);
        let others = others.map(|(other, connection)| (other, &connection.tunnel.prefixes));
        let leftovers = self.leftovers.values().map(|leftover| (&leftover.site, &leftover.prefixes));
        others.chain(leftovers).find_map(|(other, theirs)| {
            let prefix = prefixes.iter().find(|prefix| theirs.contains(prefix))?;
            Some((*prefix, other.as_str()))
        })
    }

    /// Keeps why a connection does not have its tunnel; an event tells it once.
    fn note_tunnel_error(&mut self, site: &str, error: &anyhow::Error) -> String {
        let error = format!("the datapath cannot make the tunnel: {error:#}");
        let message = format!("connection {}: {error}", connection_name(&self.settings.vnet, site));
        if let Some(connection) = self.connections.get_mut(site)
            && connection.tunnel_error.as_ref() != Some(&error)
        {
            connection.tunnel_error = Some(error);
            self.events.add(EventNumber::DatapathRefused, Some(site), message.clone());
        }
        message
    }
}
