//! Making the datapath's tunnels what the network configuration says.
//!
//! The datapath may refuse any step. Each connection therefore remembers what was carried out for it, and
//! [`Core::follow`] may be called again at any time: it does what is still to be done, and nothing else.
//!
//! Thousands of routes take the kernel its time, so nobody waits: the datapath is told a batch of steps, the core goes on with other
//! work, and [`Core::handle_changed`] is told what became of them. Other changes wait meanwhile.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use anyhow::{Context, bail};
use ike::PeerId;
use ipnet::IpNet;

use super::super::dataplane::Dataplane;
use super::super::events::EventNumber;
use super::owners::Taken;
use super::{Connection, Core, DATAPATH_RETRY, connection_name};
use crate::api::command::Reply;
use crate::api::types::ApplyReport;
use crate::datapath::{TunnelChange, TunnelId};
use crate::model::{ConnectionState, GatewayState, ResolvedConnection};

/// Most tunnels that the datapath is asked to change at once: as much as the core has to do before and after takes it a few
/// milliseconds.
const BATCH: usize = 256;

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

/// What follows when the datapath has what the network configuration says, as far as it does not refuse.
#[derive(Debug)]
pub(super) enum Then {
    Nothing,
    Report(Reply<ApplyReport>),
    /// The connection to this site is to be made.
    Connect(String, Reply<()>),
}

/// A configuration that is being followed.
#[derive(Debug)]
pub(super) struct Following {
    /// Connections that do not exist yet, or were not looked at yet.
    wanted: BTreeMap<String, ResolvedConnection>,
    /// Sites whose connections are to be established.
    pending: Vec<String>,
    stage: Stage,
    /// Steps of this stage that were not begun.
    todo: VecDeque<Step>,
    /// Steps that the datapath is busy with.
    begun: Vec<Begun>,
    followed: Followed,
    then: Then,
}

/// What goes, goes first: a prefix may move from one tunnel to another.
#[derive(Clone, Copy, Debug)]
enum Stage {
    Remove,
    Shrink,
    Establish,
}

#[derive(Debug)]
enum Step {
    /// Remove the tunnel of a leftover.
    Remove(u32),
    /// Take the prefixes out of a tunnel that it is to lose. A failure keeps them from every other tunnel, and the same call
    /// comes again with [`Step::Establish`], which reports it.
    Shrink(String),
    /// Give a connection its tunnel, then tell IKE about its peer.
    Establish(String),
}

/// A step that the datapath is busy with, and the prefixes that the tunnel has afterwards.
#[derive(Debug)]
struct Begun {
    step: Step,
    prefixes: Vec<IpNet>,
}

impl<D: Dataplane> Core<D> {
    /// Makes tunnels and IKE follow the connections `wanted`; those that are as they should be are not touched. A failure
    /// concerns its own connection only, and is tried again after [`DATAPATH_RETRY`]. Nothing else may be followed meanwhile.
    pub(super) fn follow(&mut self, now: Instant, wanted: Vec<ResolvedConnection>, then: Then) {
        if let Some((followed, then)) = self.begin_to_follow(now, wanted, then) {
            self.conclude(now, followed, then);
        }
    }

    /// [`Core::follow`] for the present configuration. What fails again is known already.
    pub(super) fn follow_again(&mut self, now: Instant, then: Then) {
        match self.resolve(&self.configuration) {
            Ok(wanted) => self.follow(now, wanted, then),
            Err(error) => {
                self.follow_at = None;
                tracing::error!("the network configuration in force cannot be used: {error:#}");
            }
        }
    }

    /// The outcomes of what the datapath was asked for. To be waited for at all times; nothing is lost when that is given up.
    pub(in crate::agent) async fn changed(&mut self) -> Vec<anyhow::Result<()>> {
        self.dataplane.changed().await
    }

    /// The datapath has carried out a batch of steps.
    pub(in crate::agent) fn handle_changed(&mut self, now: Instant, outcomes: Vec<anyhow::Result<()>>) {
        if let Some((followed, then)) = self.follow_on(now, outcomes) {
            self.conclude(now, followed, then);
        }
        self.begin_waiting(now);
    }

    /// Begins to follow; the result when there was nothing to wait for.
    pub(super) fn begin_to_follow(
        &mut self,
        now: Instant,
        wanted: Vec<ResolvedConnection>,
        then: Then,
    ) -> Option<(Followed, Then)> {
        self.follow_at = None;
        let wanted: BTreeMap<_, _> = wanted.into_iter().map(|item| (item.site.clone(), item)).collect();
        let mut followed = Followed::default();
        let sites: Vec<String> = self.connections.keys().cloned().collect();
        for site in sites.iter().filter(|site| !wanted.contains_key(*site)) {
            self.remove_connection(now, site);
            followed.report.removed.push(site.clone());
        }
        // A gateway that fails to start forgets nothing.
        if self.state == GatewayState::Provisioned {
            self.keep_only(|site| wanted.contains_key(site));
        }
        let todo = self.leftovers.keys().copied().map(Step::Remove).collect();
        let (pending, begun, stage) = (Vec::new(), Vec::new(), Stage::Remove);
        self.advance(now, Following { wanted, pending, stage, todo, begun, followed, then })
    }

    /// Notes the outcomes of the steps that were begun, and goes on; the result when there is nothing more to do.
    pub(super) fn follow_on(
        &mut self,
        now: Instant,
        outcomes: Vec<anyhow::Result<()>>,
    ) -> Option<(Followed, Then)> {
        let mut following = self.following.take()?;
        let guarantees_fit = self.guarantees_fit();
        for (Begun { step, prefixes }, outcome) in
            std::mem::take(&mut following.begun).into_iter().zip(outcomes)
        {
            let failures = &mut following.followed.failures;
            match (step, outcome) {
                (Step::Remove(id), Ok(())) => self.forget_leftover(id),
                (Step::Remove(id), Err(error)) => failures.extend(self.note_leftover_error(id, &error)),
                (Step::Shrink(site), Ok(())) => self.note_prefixes(&site, prefixes),
                // Nothing to tell yet: see `Step::Shrink`.
                (Step::Shrink(_), Err(_)) => {}
                (Step::Establish(site), Ok(())) => {
                    self.note_prefixes(&site, prefixes);
                    self.note_established(now, &site, guarantees_fit, failures);
                }
                (Step::Establish(site), Err(error)) => failures.push(self.note_tunnel_error(&site, &error)),
            }
        }
        self.advance(now, following)
    }

    /// Begins the next batch of steps; the result when there are none.
    fn advance(&mut self, now: Instant, mut following: Following) -> Option<(Followed, Then)> {
        loop {
            // A gateway that is being taken down gets no tunnels any more.
            if self.state == GatewayState::Deprovisioning {
                return Some((following.followed, following.then));
            }
            let guarantees_fit = self.guarantees_fit();
            let mut changes = Vec::new();
            while changes.len() < BATCH
                && let Some(step) = following.todo.pop_front()
            {
                let change = self.begin_step(now, &step, guarantees_fit, &mut following.followed.failures);
                if let Some(change) = change {
                    let prefixes = match &change {
                        TunnelChange::Set(_, prefixes) => prefixes.clone(),
                        TunnelChange::Remove(_) => Vec::new(),
                    };
                    following.begun.push(Begun { step, prefixes });
                    changes.push(change);
                }
            }
            if !changes.is_empty() {
                self.dataplane.change_tunnels(changes);
                self.following = Some(following);
                return None;
            }
            following.stage = match following.stage {
                Stage::Remove => {
                    self.compare(&mut following);
                    Stage::Shrink
                }
                Stage::Shrink => {
                    self.add_connections(&mut following);
                    Stage::Establish
                }
                Stage::Establish => {
                    let has_failed = !following.followed.failures.is_empty();
                    self.follow_at = has_failed.then(|| now + DATAPATH_RETRY);
                    return Some((following.followed, following.then));
                }
            };
        }
    }

    /// Finds out what is to be changed, and plans to shrink tunnels.
    fn compare(&mut self, following: &mut Following) {
        let Following { wanted, pending, todo, followed, .. } = following;
        let profile = self.profile();
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
        todo.extend(pending.iter().cloned().map(Step::Shrink));
    }

    /// Adds the connections that do not exist, and plans to establish what is to be changed.
    fn add_connections(&mut self, following: &mut Following) {
        let Following { wanted, pending, todo, followed, .. } = following;
        for (site, new) in std::mem::take(wanted) {
            match self.add_connection(new) {
                Ok(()) => {
                    followed.report.added.push(site.clone());
                    pending.push(site);
                }
                Err(error) => followed.failures.push(format!("{error:#}")),
            }
        }
        todo.extend(pending.drain(..).map(Step::Establish));
    }

    /// What the datapath is to do for a step, if anything.
    fn begin_step(
        &mut self,
        now: Instant,
        step: &Step,
        guarantees_fit: bool,
        failures: &mut Vec<String>,
    ) -> Option<TunnelChange> {
        match step {
            Step::Remove(id) => Some(TunnelChange::Remove(TunnelId(*id))),
            Step::Shrink(site) => {
                let Connection { tunnel, resolved, .. } = self.connections.get(site)?;
                // In numerical order, as both are.
                let is_kept = |prefix: &IpNet| resolved.remote_prefixes.binary_search(prefix).is_ok();
                let kept: Vec<_> = tunnel.prefixes.iter().copied().filter(is_kept).collect();
                if kept.len() == tunnel.prefixes.len() {
                    return None;
                }
                self.claim(site, kept).ok()?
            }
            Step::Establish(site) => {
                let connection = self.connections.get(site)?;
                let wanted = &connection.resolved.remote_prefixes;
                if connection.tunnel.certain && connection.tunnel.prefixes.iter().eq(wanted) {
                    self.note_established(now, site, guarantees_fit, failures);
                    return None;
                }
                match self.claim(site, wanted.clone()) {
                    Ok(change) => change,
                    Err(error) => {
                        failures.push(self.note_tunnel_error(site, &error));
                        None
                    }
                }
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

    /// The tunnel of a removed connection is gone: its number and its prefixes are free.
    fn forget_leftover(&mut self, id: u32) {
        if let Some(leftover) = self.leftovers.remove(&id) {
            self.owners.release(id, &leftover.prefixes);
        }
        self.lowest_free = self.lowest_free.min(id);
    }

    /// Keeps why the tunnel of a removed connection is still there; an event tells it once.
    fn note_leftover_error(&mut self, id: u32, error: &anyhow::Error) -> Option<String> {
        let leftover = self.leftovers.get_mut(&id)?;
        let name = connection_name(&self.settings.vnet, &leftover.site);
        let error = format!("the datapath cannot remove the tunnel of {name}: {error:#}");
        if leftover.error.as_ref() != Some(&error) {
            self.events.add(EventNumber::DatapathRefused, Some(&leftover.site), error.clone());
            leftover.error = Some(error.clone());
        }
        Some(error)
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
    fn free_number(&mut self) -> Option<u32> {
        let mut id = self.lowest_free;
        while self.sites.contains_key(&id) || self.leftovers.contains_key(&id) {
            id = id.checked_add(1)?;
        }
        self.lowest_free = id;
        Some(id)
    }

    /// A connection has its tunnel: it gets its share of the bandwidth, and IKE is told about its peer.
    fn note_established(
        &mut self,
        now: Instant,
        site: &str,
        guarantees_fit: bool,
        failures: &mut Vec<String>,
    ) {
        if let Err(error) = self.apply_share(site, guarantees_fit) {
            return failures.push(self.note_tunnel_error(site, &error));
        }
        let profile = self.profile();
        if let Some(connection) = self.connections.get_mut(site) {
            connection.applied = Some((connection.resolved.clone(), profile));
            connection.tunnel_error = None;
        }
        self.configure(now, site);
    }

    /// Reserves `prefixes` for the tunnel of a connection, in addition to those that it may have already. The datapath would
    /// take a prefix away from both tunnels when another one gives it up.
    ///
    /// # Errors
    /// One of them may still lead into another tunnel; nothing is reserved then.
    fn claim(&mut self, site: &str, prefixes: Vec<IpNet>) -> anyhow::Result<Option<TunnelChange>> {
        let Some(connection) = self.connections.get_mut(site) else { return Ok(None) };
        if let Err(Taken { prefix, by }) = self.owners.claim(connection.id, &prefixes) {
            let leftover = || self.leftovers.get(&by).map(|leftover| &leftover.site);
            let other = self.sites.get(&by).or_else(leftover).map_or("", String::as_str);
            bail!("{prefix} is still in the tunnel of {}", connection_name(&self.settings.vnet, other));
        }
        connection.tunnel.prefixes.extend(&prefixes);
        connection.tunnel.certain = false;
        Ok(Some(TunnelChange::Set(TunnelId(connection.id), prefixes)))
    }

    /// A tunnel has exactly these prefixes.
    fn note_prefixes(&mut self, site: &str, prefixes: Vec<IpNet>) {
        let Some(connection) = self.connections.get_mut(site) else { return };
        let prefixes: BTreeSet<IpNet> = prefixes.into_iter().collect();
        self.owners.release(connection.id, connection.tunnel.prefixes.difference(&prefixes));
        connection.tunnel = Tunnel { prefixes, certain: true };
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
