//! The bandwidth that all tunnels share, and what each gets of it.

use std::collections::BTreeMap;

use super::super::dataplane::Dataplane;
use super::super::events::{EventNumber, Severity};
use super::Core;
use crate::api::command::Refusal;
use crate::api::types::BandwidthDocument;
use crate::datapath::{BandwidthLimit, TunnelId};
use crate::model::{
    Bandwidth, BandwidthDirection, ConnectionParameters, GatewayBandwidth, OptionalBandwidth, ParameterError,
};

/// The bandwidth as the datapath is told.
pub(in crate::agent) fn limit_of(bandwidth: GatewayBandwidth) -> BandwidthLimit {
    BandwidthLimit {
        rate: bandwidth.rate.map(Bandwidth::bits_per_second),
        is_separate: bandwidth.direction == BandwidthDirection::Separate,
    }
}

impl<D: Dataplane> Core<D> {
    /// The bandwidth in force.
    pub(super) fn bandwidth(&self) -> GatewayBandwidth {
        self.bandwidth.unwrap_or(self.settings.bandwidth)
    }

    /// The bandwidth that is to be set by command; `None` takes back what was set. Guarantees must fit into it.
    pub(super) fn with_bandwidth(
        &self,
        document: &BandwidthDocument,
    ) -> Result<Option<GatewayBandwidth>, Refusal> {
        let bandwidth = match document.rate.as_str() {
            "default" => None,
            rate => {
                let rate: OptionalBandwidth =
                    rate.parse().map_err(|rule| not_accepted("bandwidth", rate, rule))?;
                let direction = document.direction.unwrap_or(self.bandwidth().direction);
                Some(GatewayBandwidth { rate: rate.rate(), direction })
            }
        };
        let guarantees = sum(self.guarantees(None));
        match bandwidth.unwrap_or(self.settings.bandwidth).rate {
            Some(rate) if rate.bits_per_second() < guarantees => {
                let rule = format!("the guarantees of the connections together are {}", text(guarantees));
                Err(not_accepted("bandwidth", &rate.to_string(), rule))
            }
            _ => Ok(bandwidth),
        }
    }

    /// Puts the bandwidth that was set by command, or none, into force.
    pub(super) fn bandwidth_changed(&mut self, bandwidth: Option<GatewayBandwidth>) -> Result<(), Refusal> {
        let before = self.bandwidth();
        self.bandwidth = bandwidth;
        let now = self.bandwidth();
        if before == now {
            return Ok(());
        }
        let outcome = self.dataplane.set_limit(limit_of(now));
        let GatewayBandwidth { rate, direction } = now;
        let message = match rate {
            Some(rate) => format!("the bandwidth is {rate} now, {}", scope(direction)),
            None => "the bandwidth has no limit now".to_owned(),
        };
        self.events.add(EventNumber::BandwidthChanged, None, message);
        self.apply_shares();
        outcome
            .map_err(|error| Refusal::Failed(format!("the datapath cannot change the bandwidth: {error:#}")))
    }

    /// Whether the connection to `site` may have the parameters `own`, as far as they concern bandwidth.
    pub(super) fn check_share(&self, site: &str, own: &ConnectionParameters) -> Result<(), Refusal> {
        let rate = |rate: Option<OptionalBandwidth>| rate.and_then(OptionalBandwidth::rate);
        let Some(guarantee) = rate(own.guarantee) else { return Ok(()) };
        if let Some(ceiling) = rate(own.ceiling)
            && ceiling < guarantee
        {
            let rule = format!("expected no less than the guarantee, {guarantee}");
            return Err(not_accepted("ceiling", &ceiling.to_string(), rule));
        }
        let others = sum(self.guarantees(Some(site)));
        match self.bandwidth().rate {
            Some(bandwidth)
                if others.saturating_add(guarantee.bits_per_second()) > bandwidth.bits_per_second() =>
            {
                let others = text(others);
                let rule = format!(
                    "with the guarantees of other connections, {others}, it exceeds the gateway's bandwidth, {bandwidth}"
                );
                Err(not_accepted("guarantee", &guarantee.to_string(), rule))
            }
            _ => Ok(()),
        }
    }

    /// Tells the datapath what the tunnel to `site` gets. Guarantees are in force if those of all connections fit.
    pub(super) fn apply_share(&mut self, site: &str, guarantees_fit: bool) -> anyhow::Result<()> {
        let Some(id) = self.connections.get(site).map(|connection| connection.id) else { return Ok(()) };
        let mut share = self.terms(site).share();
        if !guarantees_fit {
            share.guarantee = None;
        }
        self.dataplane.set_share(TunnelId(id), share)
    }

    /// The same for all tunnels: whether guarantees hold depends on all of them.
    pub(super) fn apply_shares(&mut self) {
        let guarantees_fit = self.guarantees_fit();
        let sites: Vec<_> = self.connections.keys().cloned().collect();
        for site in sites {
            if let Err(error) = self.apply_share(&site, guarantees_fit) {
                tracing::warn!(site, "the datapath cannot change the tunnel's share: {error:#}");
            }
        }
    }

    /// An agent may have been started with a smaller bandwidth than the one that guarantees were given for.
    pub(super) fn warn_of_guarantees(&mut self) {
        if !self.guarantees_fit() {
            let guarantees = text(sum(self.guarantees(None)));
            let bandwidth = OptionalBandwidth::from(self.bandwidth().rate);
            let message = format!(
                "no guarantee is in force: together they are {guarantees}, more than the gateway's bandwidth, {bandwidth}"
            );
            self.events.add_as(Severity::Warning, EventNumber::GuaranteesExceed, None, message);
        }
    }

    /// Whether the bandwidth is enough for all guarantees.
    pub(super) fn guarantees_fit(&self) -> bool {
        let rate = self.bandwidth().rate;
        rate.is_none_or(|rate| sum(self.guarantees(None)) <= rate.bits_per_second())
    }

    /// The guaranteed rates in bit/s of all connections that have one, but for that to one site.
    fn guarantees(&self, but: Option<&str>) -> BTreeMap<&str, u64> {
        let others = self.parameters.iter().filter(|(site, _)| but != Some(site.as_str()));
        others
            .filter(|(site, _)| self.connections.contains_key(*site))
            .filter_map(|(site, own)| Some((site.as_str(), own.guarantee?.rate()?.bits_per_second())))
            .collect()
    }
}

fn scope(direction: BandwidthDirection) -> &'static str {
    match direction {
        BandwidthDirection::Shared => "for both directions together",
        BandwidthDirection::Separate => "for each direction",
    }
}

fn sum(rates: BTreeMap<&str, u64>) -> u64 {
    rates.into_values().fold(0, u64::saturating_add)
}

fn text(bits_per_second: u64) -> String {
    OptionalBandwidth::from(Bandwidth::from_bits(bits_per_second)).to_string()
}

fn not_accepted(field: &'static str, value: &str, rule: String) -> Refusal {
    let error = ParameterError { field, value: value.to_owned(), rule };
    Refusal::Invalid { message: error.to_string(), details: Vec::new() }
}
