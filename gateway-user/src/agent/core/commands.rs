//! The core's obedience to the API.

use std::time::Instant;

use super::super::dataplane::Dataplane;
use super::{Core, connection_name};
use crate::api::command::{Command, Refusal, Rekey, Reply};
use crate::model::{ConnectionState, GatewayState, SharedKey};
use ike::PeerId;

impl<D: Dataplane> Core<D> {
    /// Carries out a command. A question is answered at once; a change is when it is stored, see [`Core::next_write`].
    pub(in crate::agent) fn handle_command(&mut self, now: Instant, command: Command) {
        let change = match command {
            Command::Status(reply) => return answer(reply, self.status(now)),
            Command::Gateway(reply) => return answer(reply, Ok(self.gateway())),
            Command::Vnets(reply) => return answer(reply, Ok(self.vnets())),
            Command::Events(reply) => return answer(reply, Ok(self.events.records().cloned().collect())),
            Command::Connection(site, reply) => return answer(reply, self.connection_status(now, &site)),
            Command::Capture(request, reply) => return answer(reply, self.capture(*request)),
            Command::Trace(request, reply) => return answer(reply, self.trace(now, &request)),
            Command::GetKey(site, reply) => return answer(reply, self.key(&site)),
            Command::ExportNetcfg(reply) => {
                return answer(reply, Ok(crate::netcfg::write(&self.configuration)));
            }
            Command::LocalNetworks(reply) => return answer(reply, Ok(self.local_networks())),
            Command::Rekey(site, what, reply) => return answer(reply, self.rekey(now, &site, what)),
            Command::Change(change) => change,
        };
        self.request(now, change);
    }

    /// Refuses changes while the gateway is being taken down.
    pub(super) fn require_running(&self) -> Result<(), Refusal> {
        if self.state == GatewayState::Provisioned {
            return Ok(());
        }
        Err(Refusal::Conflict(format!("the gateway of VNet {} is {}", self.settings.vnet, self.state)))
    }

    fn rekey(&mut self, now: Instant, site: &str, what: Rekey) -> Result<(), Refusal> {
        self.require_running()?;
        let connection = self.connection(site)?;
        if !connection.configured || connection.state != ConnectionState::Connected {
            let name = connection_name(&self.settings.vnet, site);
            return Err(Refusal::Conflict(format!(
                "connection {name} is not connected: there is no SA to rekey"
            )));
        }
        let peer = PeerId(connection.id);
        match what {
            Rekey::Ike => self.endpoint.rekey_ike(now, peer),
            Rekey::Child => self.endpoint.rekey_child(now, peer),
        }
        self.drain(now);
        Ok(())
    }

    fn key(&self, site: &str) -> Result<SharedKey, Refusal> {
        self.connection(site)?;
        self.keys.get(site).cloned().ok_or_else(|| Refusal::NotFound(self.no_key(site)))
    }
}

/// A client that went away no longer wants the answer; what it asked for has been done.
pub(super) fn answer<T>(reply: Reply<T>, result: Result<T, Refusal>) {
    let _ = reply.send(result);
}
