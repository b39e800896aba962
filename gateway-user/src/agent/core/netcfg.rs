//! Replacing the network configuration while the gateway runs.

use std::collections::BTreeSet;
use std::time::Instant;

use super::super::dataplane::Dataplane;
use super::super::events::EventNumber;
use super::commands::answer;
use super::tunnels::{Followed, Then};
use super::{Core, DATAPATH_RETRY, list_or_none, own_network};
use crate::api::command::{Refusal, Reply};
use crate::api::types::{ApplyReport, LocalNetworkChange};
use crate::model::{NetworkConfiguration, ResolvedConnection, VirtualNetworkSite};
use crate::netcfg::{self, Limits, Report};

/// A network configuration that has passed every rule, and may replace the one in force.
#[derive(Debug)]
pub(super) struct Replacement {
    configuration: NetworkConfiguration,
    wanted: Vec<ResolvedConnection>,
}

impl Replacement {
    pub(super) fn to_xml(&self) -> String {
        netcfg::write(&self.configuration)
    }
}

impl<D: Dataplane> Core<D> {
    pub(super) fn parsed_netcfg(&self, xml: &str) -> Result<Replacement, Refusal> {
        let configuration =
            netcfg::parse("netcfg", xml.as_bytes(), &self.limits()).map_err(|report| invalid(&report))?;
        self.replacement(configuration)
    }

    pub(super) fn with_local_network(
        &self,
        name: &str,
        change: LocalNetworkChange,
    ) -> Result<Replacement, Refusal> {
        let mut configuration = self.configuration.clone();
        let Some(site) = configuration.local_network_sites.iter_mut().find(|site| site.name == name) else {
            let names: Vec<_> =
                self.configuration.local_network_sites.iter().map(|site| &*site.name).collect();
            let names = list_or_none(&names);
            return Err(Refusal::NotFound(format!("there is no local network {name}; there are {names}")));
        };
        site.gateway_address = Some(change.gateway_address);
        netcfg::validate(&configuration, &self.limits()).map_err(|report| invalid(&report))?;
        self.replacement(configuration)
    }

    /// Makes the gateway follow a configuration that is stored; connections that stay the same are not touched.
    pub(super) fn replace(
        &mut self,
        now: Instant,
        Replacement { configuration, wanted }: Replacement,
        reply: Reply<ApplyReport>,
    ) {
        // Stored it is, for the next start; a gateway that is being taken down gets no tunnels any more.
        if let Err(refusal) = self.require_running() {
            return answer(reply, Err(refusal));
        }
        self.configuration = configuration;
        self.events.add(EventNumber::NetcfgApplied, None, "network configuration replaced".to_owned());
        self.follow(now, wanted, Then::Report(reply));
    }

    /// What is told when the gateway has followed a configuration.
    pub(super) fn report(&self, followed: Followed) -> Result<ApplyReport, Refusal> {
        self.require_running()?;
        if followed.failures.is_empty() {
            return Ok(followed.report);
        }
        Err(Refusal::Failed(format!(
            "the configuration is stored, but the datapath refuses a part of it, which is tried again every {} s: {}",
            DATAPATH_RETRY.as_secs(),
            followed.failures.join("; ")
        )))
    }

    fn replacement(&self, configuration: NetworkConfiguration) -> Result<Replacement, Refusal> {
        self.require_same_network(&configuration)?;
        let wanted = self.resolve(&configuration).map_err(|error| Refusal::Failed(format!("{error:#}")))?;
        Ok(Replacement { configuration, wanted })
    }

    fn limits(&self) -> Limits {
        Limits { max_connections: self.settings.max_connections as usize }
    }

    /// The VNet and its gateway must still be there, with the address space that the datapath was started with.
    fn require_same_network(&self, configuration: &NetworkConfiguration) -> Result<(), Refusal> {
        let vnet = &self.settings.vnet;
        let new = own_network(vnet, configuration)
            .map_err(|error| Refusal::Conflict(format!("{error:#}; stop the agent first")))?;
        let old = self.configuration.virtual_network(vnet);
        let set =
            |network: &VirtualNetworkSite| network.address_space.iter().copied().collect::<BTreeSet<_>>();
        if old.is_some_and(|old| set(old) == set(new)) {
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
