//! Changes of what is stored.
//!
//! A change has three parts: it is checked, its file is written, it is carried out and answered. Writing waits for the
//! disk, so the core only says what is to be written ([`Core::next_write`]) and goes on; the result comes back by
//! [`Core::handle_written`]. Meanwhile other changes wait, so that each is checked against what is stored.

use std::collections::VecDeque;
use std::time::Instant;

use ike::PeerId;

use super::super::dataplane::Dataplane;
use super::super::events::EventNumber;
use super::commands::answer;
use super::netcfg::Replacement;
use super::tunnels::{Followed, Then};
use super::{Core, connection_name};
use crate::api::command::{Change, Configure, Refusal, Reply};
use crate::api::types::ApplyReport;
use crate::model::{ConnectionParameters, GatewayBandwidth, GatewayState, SharedKey};
use crate::store::{KeyRing, StoreError, Write, random_key};

/// Most changes that wait while another is written.
const MOST_WAITING: usize = 64;

/// The changes under way.
#[derive(Debug, Default)]
pub(super) struct Changes {
    waiting: VecDeque<Change>,
    to_write: VecDeque<(Write, Next)>,
    /// What follows the file that is being written.
    writing: Option<Next>,
}

/// What follows when a file has been written.
#[derive(Debug)]
enum Next {
    Connect(String, Reply<()>),
    Disconnect(String, Reply<()>),
    SetKey(String, KeyRing, Reply<()>),
    ResetKey(String, KeyRing, SharedKey, Reply<SharedKey>),
    Configure(String, ConnectionParameters, Reply<()>),
    SetBandwidth(Option<GatewayBandwidth>, Reply<()>),
    Replace(Replacement, Reply<ApplyReport>),
    /// Nothing: this was forgotten with its connections.
    Forget(&'static str),
}

impl<D: Dataplane> Core<D> {
    /// The file to write next; [`Core::handle_written`] is to be told the outcome of [`Write::run`]. There is one at a time.
    pub(in crate::agent) fn next_write(&mut self) -> Option<Write> {
        if self.changes.writing.is_some() {
            return None;
        }
        let (write, next) = self.changes.to_write.pop_front()?;
        self.changes.writing = Some(next);
        Some(write)
    }

    /// The file of [`Core::next_write`] is on the disk, or it could not be written.
    pub(in crate::agent) fn handle_written(&mut self, now: Instant, result: Result<(), StoreError>) {
        let Some(next) = self.changes.writing.take() else { return };
        match result {
            Ok(()) => self.carry_out(now, next),
            Err(error) => next.fail(&error),
        }
        self.begin_waiting(now);
    }

    /// Whether a change is being written, or is to be, or the datapath is busy with one.
    pub(in crate::agent) fn is_changing(&self) -> bool {
        !self.changes.are_idle() || self.following.is_some()
    }

    /// Begins the changes that have waited, as far as none is under way.
    pub(super) fn begin_waiting(&mut self, now: Instant) {
        while !self.is_changing() {
            let Some(change) = self.changes.waiting.pop_front() else { return };
            self.begin(now, change);
        }
    }

    /// The datapath has what it is to have, as far as it does not refuse.
    pub(super) fn conclude(&mut self, now: Instant, followed: Followed, then: Then) {
        match then {
            Then::Nothing => {}
            Then::Report(reply) => answer(reply, self.report(followed)),
            Then::Connect(site, reply) => match self.without_held(&site) {
                Err(refusal) => answer(reply, Err(refusal)),
                Ok(write) => self.store_then(now, write, Next::Connect(site, reply)),
            },
        }
    }

    /// Begins a change, or lets it wait for those before it.
    pub(super) fn request(&mut self, now: Instant, change: Change) {
        if !self.is_changing() {
            return self.begin(now, change);
        }
        if self.changes.waiting.len() < MOST_WAITING {
            return self.changes.waiting.push_back(change);
        }
        change.refuse(Refusal::Conflict(format!("{MOST_WAITING} changes wait for another one already")));
    }

    /// Forgets what is stored for connections that are no more: one that comes under such a name later is another one. Each
    /// file is written once, however many connections went.
    pub(super) fn keep_only(&mut self, is_wanted: impl Fn(&str) -> bool) {
        let (held, parameters) = (self.held.len(), self.parameters.len());
        self.held.retain(|site| is_wanted(site));
        self.parameters.retain(|site, _| is_wanted(site));
        if self.held.len() != held {
            let write = self.store.write_held(&self.held);
            self.changes
                .to_write
                .push_back((write, Next::Forget("that a removed connection was taken down")));
        }
        if self.parameters.len() != parameters {
            let write = self.store.write_parameters(&self.parameters);
            self.changes.to_write.push_back((write, Next::Forget("the parameters of a removed connection")));
        }
    }

    fn begin(&mut self, now: Instant, change: Change) {
        if let Err(refusal) = self.require_running() {
            return change.refuse(refusal);
        }
        match change {
            Change::Connect(site, reply) => self.begin_to_connect(now, site, reply),
            Change::Disconnect(site, reply) => match self.with_held(&site) {
                Err(refusal) => answer(reply, Err(refusal)),
                Ok(write) => self.store_then(now, write, Next::Disconnect(site, reply)),
            },
            Change::SetKey(site, key, reply) => match self.with_key(&site, key) {
                Err(refusal) => answer(reply, Err(refusal)),
                Ok(keys) => {
                    let write = self.store.write_keys(&keys);
                    self.store_then(now, Some(write), Next::SetKey(site, keys, reply));
                }
            },
            Change::ResetKey(site, reply) => {
                let key = random_key();
                match self.with_key(&site, key.clone()) {
                    Err(refusal) => answer(reply, Err(refusal)),
                    Ok(keys) => {
                        let write = self.store.write_keys(&keys);
                        self.store_then(now, Some(write), Next::ResetKey(site, keys, key, reply));
                    }
                }
            }
            Change::Configure(site, request, reply) => match self.configured(&site, *request) {
                Err(refusal) => answer(reply, Err(refusal)),
                Ok(own) => {
                    let write = self.write_parameters(&site, &own);
                    self.store_then(now, write, Next::Configure(site, own, reply));
                }
            },
            Change::SetBandwidth(document, reply) => match self.with_bandwidth(&document) {
                Err(refusal) => answer(reply, Err(refusal)),
                Ok(bandwidth) => {
                    let is_new = bandwidth != self.bandwidth;
                    let write = is_new.then(|| self.store.write_bandwidth(bandwidth));
                    self.store_then(now, write, Next::SetBandwidth(bandwidth, reply));
                }
            },
            Change::ApplyNetcfg(xml, reply) => match self.parsed_netcfg(&xml) {
                Err(refusal) => answer(reply, Err(refusal)),
                Ok(replacement) => self.store_replacement(now, replacement, reply),
            },
            Change::SetLocalNetwork(name, change, reply) => match self.with_local_network(&name, change) {
                Err(refusal) => answer(reply, Err(refusal)),
                Ok(replacement) => self.store_replacement(now, replacement, reply),
            },
        }
    }

    /// What cannot be remembered is not done: one that works now and is forgotten by the next start would be worse than an
    /// error. Without a file to write, what follows comes at once.
    fn store_then(&mut self, now: Instant, write: Option<Write>, next: Next) {
        match write {
            Some(write) => self.changes.to_write.push_back((write, next)),
            None => self.carry_out(now, next),
        }
    }

    fn store_replacement(&mut self, now: Instant, replacement: Replacement, reply: Reply<ApplyReport>) {
        let write = self.store.write_netcfg(replacement.to_xml());
        self.store_then(now, Some(write), Next::Replace(replacement, reply));
    }

    /// A gateway that is being taken down only remembers.
    fn carry_out(&mut self, now: Instant, next: Next) {
        match next {
            Next::Connect(site, reply) => {
                self.held.remove(&site);
                if self.is_running() {
                    self.configure(now, &site);
                    if let Some(connection) = self.connections.get(&site) {
                        self.endpoint.connect(now, PeerId(connection.id));
                    }
                    self.drain(now);
                }
                answer(reply, Ok(()));
            }
            Next::Disconnect(site, reply) => {
                self.held.insert(site.clone());
                if let Some(connection) = self.connections.get_mut(&site) {
                    connection.refused = None;
                    self.endpoint.disconnect(now, PeerId(connection.id));
                }
                self.drain(now);
                answer(reply, Ok(()));
            }
            Next::SetKey(site, keys, reply) => {
                self.key_changed(now, &site, keys);
                answer(reply, Ok(()));
            }
            Next::ResetKey(site, keys, key, reply) => {
                self.key_changed(now, &site, keys);
                answer(reply, Ok(key));
            }
            Next::Configure(site, own, reply) => {
                self.parameters_changed(now, &site, own);
                answer(reply, Ok(()));
            }
            Next::SetBandwidth(bandwidth, reply) => answer(reply, self.bandwidth_changed(bandwidth)),
            Next::Replace(replacement, reply) => {
                self.replace(now, replacement, reply);
            }
            Next::Forget(_) => {}
        }
    }

    fn is_running(&self) -> bool {
        self.state == GatewayState::Provisioned
    }

    /// A connection without its tunnel gets another chance first.
    fn begin_to_connect(&mut self, now: Instant, site: String, reply: Reply<()>) {
        let has_failed = self.connection(&site).is_ok_and(|connection| connection.tunnel_error.is_some());
        if has_failed && self.peer(&site).is_ok() {
            self.follow_again(now, Then::Connect(site, reply));
        } else {
            self.conclude(now, Followed::default(), Then::Connect(site, reply));
        }
    }

    /// The file that says that a connection, which can be made, is not taken down; `None` if that is so already.
    fn without_held(&self, site: &str) -> Result<Option<Write>, Refusal> {
        self.require_running()?;
        let connection = self.connection(site)?;
        self.peer(site).map_err(Refusal::Conflict)?;
        if let Some(error) = &connection.tunnel_error {
            return Err(Refusal::Failed(error.clone()));
        }
        let mut held = self.held.clone();
        Ok(held.remove(site).then(|| self.store.write_held(&held)))
    }

    /// The file that says that a connection is taken down; `None` if that is so already.
    fn with_held(&self, site: &str) -> Result<Option<Write>, Refusal> {
        self.connection(site)?;
        let mut held = self.held.clone();
        Ok(held.insert(site.to_owned()).then(|| self.store.write_held(&held)))
    }

    fn with_key(&self, site: &str, key: SharedKey) -> Result<KeyRing, Refusal> {
        self.connection(site)?;
        let mut keys = self.keys.clone();
        keys.set(site, key);
        Ok(keys)
    }

    fn key_changed(&mut self, now: Instant, site: &str, keys: KeyRing) {
        self.keys = keys;
        let message =
            format!("shared key of connection {} changed", connection_name(&self.settings.vnet, site));
        self.events.add(EventNumber::KeyChanged, Some(site), message);
        if self.is_running() {
            self.configure(now, site);
        }
    }

    /// The parameters of a connection after a change of them.
    fn configured(&self, site: &str, request: Configure) -> Result<ConnectionParameters, Refusal> {
        self.connection(site)?;
        let given = ConnectionParameters::try_from(request.parameters).map_err(|errors| {
            let message = match errors.len() {
                1 => "one parameter is not accepted".to_owned(),
                number => format!("{number} parameters are not accepted"),
            };
            Refusal::Invalid { message, details: errors.iter().map(ToString::to_string).collect() }
        })?;
        let most = self.settings.peering.child_sas;
        if let Some(wanted) = given.child_sas.filter(|wanted| *wanted > most) {
            let message = format!(
                "{wanted} Child SAs are more than the agent has room for: it was started with --child-sas {most}"
            );
            return Err(Refusal::Invalid { message, details: Vec::new() });
        }
        let own = match self.parameters.get(site) {
            Some(own) if !request.replace => own.clone().overlaid(given),
            _ => given,
        };
        self.check_share(site, &own)?;
        Ok(own)
    }

    /// The file with the parameters `own` of one connection; `None` if that changes nothing.
    fn write_parameters(&self, site: &str, own: &ConnectionParameters) -> Option<Write> {
        let mut parameters = self.parameters.clone();
        let before = parameters.remove(site).unwrap_or_default();
        if before == *own {
            return None;
        }
        if !own.is_empty() {
            parameters.insert(site.to_owned(), own.clone());
        }
        Some(self.store.write_parameters(&parameters))
    }

    fn parameters_changed(&mut self, now: Instant, site: &str, own: ConnectionParameters) {
        let before = self.parameters.remove(site).unwrap_or_default();
        let is_changed = before != own;
        if !own.is_empty() {
            self.parameters.insert(site.to_owned(), own);
        }
        if is_changed {
            let message =
                format!("parameters of connection {} changed", connection_name(&self.settings.vnet, site));
            self.events.add(EventNumber::ParametersChanged, Some(site), message);
            self.apply_shares();
            if self.is_running() {
                self.configure(now, site);
            }
        }
    }
}

impl Changes {
    fn are_idle(&self) -> bool {
        self.writing.is_none() && self.to_write.is_empty()
    }
}

impl Change {
    fn refuse(self, refusal: Refusal) {
        match self {
            Self::Connect(_, reply)
            | Self::Disconnect(_, reply)
            | Self::SetKey(_, _, reply)
            | Self::SetBandwidth(_, reply)
            | Self::Configure(_, _, reply) => answer(reply, Err(refusal)),
            Self::ResetKey(_, reply) => answer(reply, Err(refusal)),
            Self::ApplyNetcfg(_, reply) | Self::SetLocalNetwork(_, _, reply) => answer(reply, Err(refusal)),
        }
    }
}

impl Next {
    /// The file could not be written: nothing has changed.
    fn fail(self, error: &StoreError) {
        let refusal = || Refusal::Failed(error.to_string());
        match self {
            Self::Connect(_, reply)
            | Self::Disconnect(_, reply)
            | Self::SetKey(_, _, reply)
            | Self::SetBandwidth(_, reply)
            | Self::Configure(_, _, reply) => answer(reply, Err(refusal())),
            Self::ResetKey(_, _, _, reply) => answer(reply, Err(refusal())),
            Self::Replace(_, reply) => answer(reply, Err(refusal())),
            // Not worth failing for: the next change of this kind writes it again.
            Self::Forget(what) => tracing::warn!("{what} is still stored: {error}"),
        }
    }
}
