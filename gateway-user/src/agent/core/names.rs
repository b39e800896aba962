//! Where the names of peers lead.
//!
//! A name is looked up when its connection comes, then every minute, and more often while the connection is down. The
//! connection moves when its address is no longer among the answers. While a peer does not answer at one of several
//! addresses, each is tried for some time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::super::dataplane::Dataplane;
use super::super::events::{EventNumber, Severity};
use super::super::resolver::{Answer, Question};
use super::Core;
use crate::model::{ConnectionState, GatewayAddress, HostName};
use crate::netcfg::not_unicast;

/// Pause after the look-up of a name whose connection is up.
pub(super) const INTERVAL: Duration = Duration::from_mins(1);
/// Pause after one in vain, and while the connection is not up.
pub(super) const RETRY: Duration = Duration::from_secs(15);
/// Shortest pause, when the connection has just been lost.
const SHORTEST: Duration = Duration::from_secs(5);
/// How long one of several addresses is tried, in seconds. It varies, so that two gateways that look for each other at the
/// wrong addresses do not stay in step.
const PATIENCE: std::ops::Range<u64> = 30..60;

/// The names of all peers that have one, by site.
#[derive(Debug, Default)]
pub(super) struct Names(BTreeMap<String, Lookup>);

#[derive(Debug)]
struct Lookup {
    name: HostName,
    state: State,
    /// When the last answer came.
    answered: Option<Instant>,
    /// Where the connection is made to.
    address: Option<IpAddr>,
    /// When another address is tried, unless the connection is up.
    patient_until: Instant,
    /// Every address of the last answer that had one.
    known: Vec<IpAddr>,
    /// Why there is no address, or no new one.
    error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be looked up as soon as there is room.
    Due,
    UnderWay,
    Waiting {
        until: Instant,
    },
}

impl Names {
    /// When [`Self::fall_due`] must be called next.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let times = self.0.values().filter_map(|name| match name.state {
            State::Waiting { until } => Some(until),
            State::Due | State::UnderWay => None,
        });
        times.min()
    }

    /// Makes due what has waited long enough.
    pub(super) fn fall_due(&mut self, now: Instant) {
        for name in self.0.values_mut() {
            if matches!(name.state, State::Waiting { until } if until <= now) {
                name.state = State::Due;
            }
        }
    }

    /// Looks nothing up any more.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn forget(&mut self, site: &str) {
        self.0.remove(site);
    }

    /// A name comes with its site; one that is known already keeps what is known.
    pub(super) fn keep(&mut self, now: Instant, site: &str, name: &HostName) {
        if self.0.get(site).is_some_and(|known| known.name == *name) {
            return;
        }
        let lookup = Lookup {
            name: name.clone(),
            state: State::Due,
            answered: None,
            address: None,
            patient_until: now,
            known: Vec::new(),
            error: None,
        };
        self.0.insert(site.to_owned(), lookup);
    }

    /// Where the peer of `site` is, or why that is not known.
    pub(super) fn address(&self, site: &str) -> Result<IpAddr, String> {
        let Some(name) = self.0.get(site) else { return Err("its address was not looked up".to_owned()) };
        name.address.ok_or_else(|| {
            name.error.clone().unwrap_or_else(|| format!("the address of {} is being looked up", name.name))
        })
    }

    /// Whether only a look-up is missing, whose failure is an event already.
    pub(super) fn is_looking(&self, site: &str) -> bool {
        self.0.get(site).is_some_and(|name| name.address.is_none())
    }

    /// The connection of `site` was lost: its peer may have moved.
    pub(super) fn doubt(&mut self, now: Instant, site: &str) {
        let Some(name) = self.0.get_mut(site) else { return };
        if let State::Waiting { until } = &mut name.state {
            let earliest = name.answered.map_or(now, |answered| answered + SHORTEST);
            *until = earliest.max(now).min(*until);
        }
    }
}

impl<D: Dataplane> Core<D> {
    /// The next name to look up; [`Core::handle_resolved`] is to be told the answer.
    pub(in crate::agent) fn next_question(&mut self) -> Option<Question> {
        let (site, name) = self.names.0.iter_mut().find(|(_, name)| name.state == State::Due)?;
        name.state = State::UnderWay;
        Some(Question { site: site.clone(), name: name.name.clone() })
    }

    /// A name was looked up. What it leads to counts if a connection still wants it.
    pub(in crate::agent) fn handle_resolved(
        &mut self,
        now: Instant,
        Answer { question: Question { site, name: asked }, outcome }: Answer,
    ) {
        let found = outcome
            .map_err(|error| format!("cannot resolve {asked}: {error}"))
            .and_then(|addresses| self.usable(&site, &asked, addresses));
        let state = self.connections.get(&site).map(|connection| connection.state);
        let Some(name) = self.names.0.get_mut(&site).filter(|name| name.name == asked) else { return };
        let is_up = state == Some(ConnectionState::Connected);
        let pause = if is_up && found.is_ok() { INTERVAL } else { RETRY };
        name.state = State::Waiting { until: now + pause };
        name.answered = Some(now);
        let before = name.address;
        let (number, message) = match found {
            Err(error) => {
                let message = format!("gateway address of site {site}: {error}");
                let is_news = name.error.as_ref() != Some(&error);
                name.error = Some(error);
                (EventNumber::NameNotFound, is_news.then_some(message))
            }
            Ok(addresses) => {
                name.error = None;
                let is_tried = state == Some(ConnectionState::Connecting) && now >= name.patient_until;
                let address = choose(before, is_tried, &addresses);
                let is_news = before != Some(address) && !name.known.contains(&address);
                name.known = addresses;
                name.address = Some(address);
                if is_up || before != Some(address) {
                    name.patient_until = now + Duration::from_secs(rand::random_range(PATIENCE));
                }
                let message = format!("gateway {asked} of site {site} is at {address}");
                (EventNumber::NameFound, is_news.then_some(message))
            }
        };
        let is_moved = name.address != before;
        if let Some(message) = message {
            let is_failure = number == EventNumber::NameNotFound;
            let severity = if is_failure { Severity::Warning } else { Severity::Information };
            self.events.add_as(severity, number, Some(&site), message);
        }
        if is_moved || before.is_none() {
            self.configure(now, &site);
        }
    }

    /// Those of the addresses under which the peer of `site` can be reached, or why there are none.
    fn usable(&self, site: &str, name: &HostName, addresses: Vec<IpAddr>) -> Result<Vec<IpAddr>, String> {
        let mut usable = Vec::new();
        let mut reasons = Vec::new();
        for address in addresses {
            let address = address.to_canonical();
            match self.obstacle(site, address) {
                None if !usable.contains(&address) => usable.push(address),
                Some(reason) if reasons.len() < 4 => reasons.push(format!("{address} {reason}")),
                _ => {}
            }
        }
        if !usable.is_empty() {
            return Ok(usable);
        }
        let reasons = if reasons.is_empty() { "it has no address".to_owned() } else { reasons.join(", ") };
        Err(format!("{name} leads nowhere: {reasons}"))
    }

    /// Why the peer of `site` cannot be at `address`: the rules that the network configuration has for addresses.
    fn obstacle(&self, site: &str, address: IpAddr) -> Option<String> {
        if let Some(problem) = not_unicast(address) {
            return Some(format!("is {problem}"));
        }
        if self.settings.wan_addresses.towards(address).is_none() {
            let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
            return Some(format!("is {family}, and this gateway has no {family} address"));
        }
        if self.settings.wan_addresses.iter().any(|own| own == address) {
            return Some("is this gateway's own".to_owned());
        }
        let own = self.configuration.virtual_network(&self.settings.vnet);
        let own = own.into_iter().flat_map(|network| &network.address_space);
        let remote = self.connections.values().flat_map(|connection| &connection.resolved.remote_prefixes);
        if let Some(prefix) = own.chain(remote).find(|prefix| prefix.contains(&address)) {
            return Some(format!("lies inside {prefix}, which is not on the WAN"));
        }
        let mut others = self.connections.keys().filter(|other| *other != site);
        let taken = others.find(|other| self.place_of(other) == Some(address))?;
        Some(format!("is the gateway of site {taken}"))
    }

    /// Where the peer of `site` is, as far as that is known.
    pub(super) fn place_of(&self, site: &str) -> Option<IpAddr> {
        match &self.connections.get(site)?.resolved.gateway_address {
            Some(GatewayAddress::Ip(address)) => Some(*address),
            Some(GatewayAddress::Name(_)) => self.names.address(site).ok(),
            None => None,
        }
    }
}

/// The address to use: the one in use while it is good, the next in numerical order if it was tried long enough in vain, else
/// the resolver's first.
fn choose(current: Option<IpAddr>, is_tried: bool, addresses: &[IpAddr]) -> IpAddr {
    let Some(current) = current.filter(|current| addresses.contains(current)) else { return addresses[0] };
    if !is_tried {
        return current;
    }
    let after = addresses.iter().copied().filter(|address| *address > current).min();
    after.or(addresses.iter().copied().min()).unwrap_or(current)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_in_use_stays_until_it_was_tried_in_vain() {
        let addresses = ["2001:db8::2", "192.0.2.2", "192.0.2.3"].map(|text| text.parse::<IpAddr>().unwrap());
        let [v6, two, three] = addresses;
        assert_eq!(choose(None, false, &addresses), v6);
        assert_eq!(choose(Some(two), false, &addresses), two);
        for (current, next) in [(two, three), (three, v6), (v6, two)] {
            assert_eq!(choose(Some(current), true, &addresses), next);
        }
        assert_eq!(choose(Some(three), false, &addresses[..2]), v6, "gone from the answer");
        assert_eq!(choose(Some(two), true, &[two]), two);
    }
}
