//! The core's obedience to the API.

use std::time::Instant;

use ike::PeerId;

use super::super::dataplane::Dataplane;
use super::super::events::EventNumber;
use super::{Core, connection_name};
use crate::api::command::{Command, Refusal, Reply};
use crate::model::{GatewayState, SharedKey};
use crate::store::random_key;

impl<D: Dataplane> Core<D> {
    /// Carries out a command and answers it.
    pub(in crate::agent) async fn handle_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Status(reply) => answer(reply, self.status(now)),
            Command::Gateway(reply) => answer(reply, Ok(self.gateway())),
            Command::Vnets(reply) => answer(reply, Ok(self.vnets())),
            Command::Events(reply) => answer(reply, Ok(self.events.records().cloned().collect())),
            Command::Connection(site, reply) => answer(reply, self.connection_status(now, &site)),
            Command::Connect(site, reply) => answer(reply, self.connect(now, &site).await),
            Command::Disconnect(site, reply) => answer(reply, self.disconnect(now, &site)),
            Command::GetKey(site, reply) => answer(reply, self.key(&site)),
            Command::SetKey(site, key, reply) => answer(reply, self.set_key(now, &site, key)),
            Command::ResetKey(site, reply) => answer(reply, self.reset_key(now, &site)),
            Command::ExportNetcfg(reply) => answer(reply, Ok(crate::netcfg::write(&self.configuration))),
            Command::ApplyNetcfg(xml, reply) => answer(reply, self.apply_netcfg(now, &xml).await),
            Command::LocalNetworks(reply) => answer(reply, Ok(self.local_networks())),
            Command::SetLocalNetwork(name, change, reply) => {
                answer(reply, self.set_local_network(now, &name, change).await);
            }
        }
    }

    /// Refuses changes while the gateway is being taken down.
    pub(super) fn require_running(&self) -> Result<(), Refusal> {
        if self.state == GatewayState::Provisioned {
            return Ok(());
        }
        Err(Refusal::Conflict(format!("the gateway of VNet {} is {}", self.settings.vnet, self.state)))
    }

    async fn connect(&mut self, now: Instant, site: &str) -> Result<(), Refusal> {
        self.require_running()?;
        self.connection(site)?;
        self.peer(site).map_err(Refusal::Conflict)?;
        if self.connection(site)?.tunnel_error.is_some() {
            self.follow_again(now).await;
        }
        if let Some(error) = &self.connection(site)?.tunnel_error {
            return Err(Refusal::Failed(error.clone()));
        }
        self.set_held(site, false)?;
        self.configure(now, site);
        let peer = PeerId(self.connection(site)?.id);
        self.endpoint.connect(now, peer);
        self.drain(now);
        Ok(())
    }

    fn disconnect(&mut self, now: Instant, site: &str) -> Result<(), Refusal> {
        self.require_running()?;
        self.connection(site)?;
        self.set_held(site, true)?;
        if let Some(connection) = self.connections.get_mut(site) {
            connection.refused = None;
            self.endpoint.disconnect(now, PeerId(connection.id));
        }
        self.drain(now);
        Ok(())
    }

    /// Remembers, also beyond a restart, whether a connection was taken down by command.
    pub(super) fn set_held(&mut self, site: &str, is_held: bool) -> Result<(), Refusal> {
        if self.held.contains(site) == is_held {
            return Ok(());
        }
        let mut held = self.held.clone();
        if is_held {
            held.insert(site.to_owned());
        } else {
            held.remove(site);
        }
        self.store.save_held(&held).map_err(|error| Refusal::Failed(error.to_string()))?;
        self.held = held;
        Ok(())
    }

    fn key(&self, site: &str) -> Result<SharedKey, Refusal> {
        self.connection(site)?;
        self.keys.get(site).cloned().ok_or_else(|| Refusal::NotFound(self.no_key(site)))
    }

    fn reset_key(&mut self, now: Instant, site: &str) -> Result<SharedKey, Refusal> {
        let key = random_key();
        self.set_key(now, site, key.clone())?;
        Ok(key)
    }

    /// Stores the key first: one that works now and is forgotten by the next start would be worse than an error.
    fn set_key(&mut self, now: Instant, site: &str, key: SharedKey) -> Result<(), Refusal> {
        self.require_running()?;
        self.connection(site)?;
        let mut keys = self.keys.clone();
        keys.set(site, key);
        self.store.save_keys(&keys).map_err(|error| Refusal::Failed(error.to_string()))?;
        self.keys = keys;
        let message =
            format!("shared key of connection {} changed", connection_name(&self.settings.vnet, site));
        self.events.add(EventNumber::KeyChanged, Some(site), message);
        self.configure(now, site);
        Ok(())
    }
}

fn answer<T>(reply: Reply<T>, result: Result<T, Refusal>) {
    // A client that went away no longer wants the answer; what it asked for has been done.
    let _ = reply.send(result);
}
