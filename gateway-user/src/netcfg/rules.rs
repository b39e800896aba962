//! The rules between values: names, references, ranges, connections.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap};

use ipnet::IpNet;

use crate::model::{GATEWAY_SUBNET, GatewayAddress};

use super::Limits;
use super::document::{ConnectionEntry, Document, GatewayEntry, Located, NetworkEntry, SiteEntry, Space};
use super::error::{ErrorKind, Errors};
use super::overlap::{self, Owned};
use super::value::quoted;

/// Checks every rule between values.
pub(super) fn check(document: &Document, limits: Limits, errors: &mut Errors) {
    Rules {
        sites: first_by_name(document.sites.iter().map(|site| (site.name.value.as_str(), site))),
        networks: first_by_name(
            document.networks.iter().map(|network| (network.name.value.as_str(), network)),
        ),
        document,
        limits,
        errors,
    }
    .run();
}

fn first_by_name<'d, T>(entries: impl Iterator<Item = (&'d str, &'d T)>) -> HashMap<&'d str, &'d T> {
    let mut map = HashMap::new();
    for (name, entry) in entries {
        map.entry(name).or_insert(entry);
    }
    map
}

struct Rules<'d, 'e> {
    document: &'d Document,
    sites: HashMap<&'d str, &'d SiteEntry>,
    networks: HashMap<&'d str, &'d NetworkEntry>,
    limits: Limits,
    errors: &'e mut Errors,
}

impl<'d> Rules<'d, '_> {
    fn run(mut self) {
        let document = self.document;
        self.unique("DnsServer", document.dns_servers.iter().map(|server| &server.name));
        self.unique("LocalNetworkSite", document.sites.iter().map(|site| &site.name));
        self.unique("VirtualNetworkSite", document.networks.iter().map(|network| &network.name));
        for site in &document.sites {
            self.disjoint(&owner("LocalNetworkSite", &site.name), &site.space);
            self.stands_for(site);
            self.outside_its_space(site);
        }
        for network in &document.networks {
            self.network(network);
        }
    }

    fn network(&mut self, network: &'d NetworkEntry) {
        self.disjoint(&owner("VirtualNetworkSite", &network.name), &network.space);
        self.unique("Subnet", network.subnets.iter().map(|subnet| &subnet.name));
        self.subnets(network);
        self.dns_references(network);
        if let Some(gateway) = &network.gateway {
            self.gateway(network, gateway);
        }
    }

    fn unique(&mut self, what: &str, names: impl Iterator<Item = &'d Located<String>>) {
        let mut first: HashMap<&str, usize> = HashMap::new();
        for name in names {
            match first.entry(&name.value) {
                Entry::Vacant(entry) => {
                    entry.insert(name.line);
                }
                Entry::Occupied(entry) => {
                    let message = format!(
                        "a second {what} named {} (first on line {})",
                        quoted(&name.value),
                        entry.get()
                    );
                    self.errors.add(ErrorKind::DuplicateName, name.line, &name.path, message);
                }
            }
        }
    }

    /// One address space or pool does not overlap itself.
    fn disjoint(&mut self, owner: &str, space: &'d Space) {
        let ranges = owned(&space.prefixes, 0);
        for (first, second) in overlap::pairs(&ranges, |_, _| true) {
            self.overlap("", (first.prefix, owner), (second.prefix, owner));
        }
    }

    fn subnets(&mut self, network: &'d NetworkEntry) {
        let subnets: Vec<_> =
            network.subnets.iter().filter_map(|subnet| Some((subnet, subnet.prefix.as_ref()?))).collect();
        if network.space.complete {
            for (_, prefix) in &subnets {
                if !network.space.prefixes.iter().any(|space| space.value.contains(&prefix.value)) {
                    let message = format!(
                        "{} is not inside one prefix of the address space of {} ({})",
                        prefix.value,
                        owner("VirtualNetworkSite", &network.name),
                        listed(network.space.prefixes.iter().map(|prefix| prefix.value))
                    );
                    self.errors.add(ErrorKind::SubnetOutsideNetwork, prefix.line, &prefix.path, message);
                }
            }
        }
        let ranges: Vec<_> =
            subnets.iter().enumerate().map(|(owner, (_, prefix))| Owned { prefix, owner }).collect();
        for (first, second) in overlap::pairs(&ranges, |_, _| true) {
            let name = |range: &Owned<'_>| owner("Subnet", &subnets[range.owner].0.name);
            self.overlap("", (first.prefix, &name(first)), (second.prefix, &name(second)));
        }
    }

    fn dns_references(&mut self, network: &'d NetworkEntry) {
        let document = self.document;
        let mut first: HashMap<&str, usize> = HashMap::new();
        for reference in &network.dns_servers {
            match first.entry(&reference.value) {
                Entry::Vacant(entry) => {
                    entry.insert(reference.line);
                }
                Entry::Occupied(entry) => {
                    let message = format!(
                        "a second reference to {} (first on line {})",
                        quoted(&reference.value),
                        entry.get()
                    );
                    self.errors.add(ErrorKind::RepeatedReference, reference.line, &reference.path, message);
                    continue;
                }
            }
            let names = || document.dns_servers.iter().map(|server| server.name.value.as_str());
            if !names().any(|name| name == reference.value) {
                self.unresolved("DnsServer", reference, names());
            }
        }
    }

    /// A site with the name of a virtual network has that network's address space.
    fn stands_for(&mut self, site: &'d SiteEntry) {
        let Some(network) = self.networks.get(site.name.value.as_str()) else { return };
        let complete = site.space.complete && network.space.complete;
        let (have, want) = (set(&site.space), set(&network.space));
        if !complete || have == want {
            return;
        }
        let message = format!(
            "stands for {} (line {}) and must have its address space {}; has {}",
            owner("VirtualNetworkSite", &network.name),
            network.name.line,
            listed(want.into_iter()),
            listed(have.into_iter())
        );
        self.errors.add(ErrorKind::SiteDiffersFromNetwork, site.name.line, &site.name.path, message);
    }

    fn gateway(&mut self, network: &'d NetworkEntry, gateway: &'d Located<GatewayEntry>) {
        if !network.subnets.iter().any(|subnet| subnet.name.value == GATEWAY_SUBNET) {
            let names = network.subnets.iter().map(|subnet| subnet.name.value.as_str());
            let hint = case_hint(GATEWAY_SUBNET, names);
            let message = format!("a gateway needs a Subnet named exactly {GATEWAY_SUBNET:?}{hint}");
            self.errors.add(ErrorKind::MissingGatewaySubnet, gateway.line, &gateway.path, message);
        }
        let connections = &gateway.value.connections;
        let (count, most) = (connections.len(), self.limits.max_connections);
        if count > most {
            let message = format!("{count} connections; at most {most}");
            self.errors.add(ErrorKind::TooManyConnections, gateway.line, &gateway.path, message);
        }
        let pool_owner = format!("VPNClientAddressPool of {}", owner("VirtualNetworkSite", &network.name));
        self.disjoint(&pool_owner, &gateway.value.pool);
        let sites = self.connected_sites(network, connections);
        self.meeting(network, &gateway.value.pool, &pool_owner, &sites);
        self.different_peers(network, &sites);
        self.peers_on_the_wan(network, &sites);
    }

    /// IKE tells the peers of one gateway apart by their addresses. Where names lead is not known here.
    fn different_peers(&mut self, network: &'d NetworkEntry, sites: &[&'d SiteEntry]) {
        let mut first: HashMap<&GatewayAddress, &SiteEntry> = HashMap::new();
        for site in sites {
            let Some(address) =
                site.gateway_address.as_ref().filter(|address| !address.value.is_placeholder())
            else {
                continue;
            };
            match first.entry(&address.value) {
                Entry::Vacant(entry) => {
                    entry.insert(site);
                }
                Entry::Occupied(entry) => {
                    let message = format!(
                        "{} is the gateway address of {} too; connections of one gateway ({}) need different ones",
                        address.value,
                        owner("LocalNetworkSite", &entry.get().name),
                        owner("VirtualNetworkSite", &network.name)
                    );
                    self.errors.add(ErrorKind::SharedGatewayAddress, address.line, &address.path, message);
                }
            }
        }
    }

    /// A peer inside the address space behind it would have to be reached through the tunnel that it ends.
    fn outside_its_space(&mut self, site: &'d SiteEntry) {
        let Some(address) = &site.gateway_address else { return };
        let Some(peer) = address.value.ip() else { return };
        if let Some(prefix) = site.space.prefixes.iter().find(|prefix| prefix.value.contains(&peer)) {
            let message = format!(
                "{peer} lies inside {} (line {}), which is reached through it",
                prefix.value, prefix.line
            );
            self.errors.add(ErrorKind::GatewayAddressInSite, address.line, &address.path, message);
        }
    }

    /// A peer inside the network, or inside another site that the gateway connects to, is never reached on the WAN.
    fn peers_on_the_wan(&mut self, network: &'d NetworkEntry, sites: &[&'d SiteEntry]) {
        let own = network.space.prefixes.iter().map(|prefix| (prefix, "VirtualNetworkSite", &network.name));
        let remote = sites.iter().flat_map(|site| {
            site.space.prefixes.iter().map(|prefix| (prefix, "LocalNetworkSite", &site.name))
        });
        let ranges: HashMap<IpNet, _> =
            remote.chain(own).map(|(prefix, what, name)| (prefix.value, (prefix.line, what, name))).collect();
        for site in sites {
            let Some(address) = &site.gateway_address else { continue };
            let Some(peer) = address.value.ip().filter(|peer| !peer.is_unspecified()) else { continue };
            let mut around = (0..=IpNet::from(peer).max_prefix_len()).rev().filter_map(|length| {
                let prefix = IpNet::new(peer, length).ok()?.trunc();
                Some((prefix, *ranges.get(&prefix)?))
            });
            // Inside its own site is an error on every gateway, and reported there.
            if let Some((prefix, (line, what, name))) = around
                .find(|(_, (_, what, name))| (*what, &name.value) != ("LocalNetworkSite", &site.name.value))
            {
                let message = format!(
                    "{peer} of {} lies inside {prefix} of {} (line {line}); the gateway of {} reaches peers outside of \
                     its network and sites only",
                    owner("LocalNetworkSite", &site.name),
                    owner(what, name),
                    owner("VirtualNetworkSite", &network.name)
                );
                self.errors.add(ErrorKind::GatewayAddressInSite, address.line, &address.path, message);
            }
        }
    }

    /// The sites that a gateway may connect to, each once; connections that break a rule are reported and left out.
    fn connected_sites(
        &mut self,
        network: &'d NetworkEntry,
        connections: &'d [ConnectionEntry],
    ) -> Vec<&'d SiteEntry> {
        let document = self.document;
        let mut lines: HashMap<&str, usize> = HashMap::new();
        let mut spaces: HashMap<BTreeSet<IpNet>, &Located<String>> = HashMap::new();
        let mut sites = Vec::new();
        for ConnectionEntry { site: reference, .. } in connections {
            if let Some(line) = lines.insert(&reference.value, reference.line) {
                let message = format!("a second connection to {} (line {line})", quoted(&reference.value));
                self.errors.add(ErrorKind::RedundantConnection, reference.line, &reference.path, message);
                continue;
            }
            let Some(site) = self.sites.get(reference.value.as_str()).copied() else {
                let names = document.sites.iter().map(|site| site.name.value.as_str());
                self.unresolved("LocalNetworkSite", reference, names);
                continue;
            };
            if reference.value == network.name.value {
                let message =
                    format!("{} cannot connect to the site that stands for itself", quoted(&reference.value));
                self.errors.add(ErrorKind::SelfConnection, reference.line, &reference.path, message);
                continue;
            }
            if !site.space.complete {
                continue;
            }
            match spaces.entry(set(&site.space)) {
                Entry::Vacant(entry) => {
                    entry.insert(reference);
                    sites.push(site);
                }
                Entry::Occupied(entry) => {
                    let message = format!(
                        "{} has the same address space as {} (line {}); a second connection to it is redundant",
                        quoted(&reference.value),
                        quoted(&entry.get().value),
                        entry.get().line
                    );
                    self.errors.add(ErrorKind::RedundantConnection, reference.line, &reference.path, message);
                }
            }
        }
        sites
    }

    /// Ranges of different owners that meet on the gateway of `network` do not overlap.
    fn meeting(
        &mut self,
        network: &'d NetworkEntry,
        pool: &'d Space,
        pool_owner: &str,
        sites: &[&'d SiteEntry],
    ) {
        if self.errors.is_full() {
            return;
        }
        let mut owners = vec![owner("VirtualNetworkSite", &network.name), pool_owner.to_owned()];
        let mut ranges = owned(&network.space.prefixes, 0);
        ranges.extend(owned(&pool.prefixes, 1));
        for site in sites {
            ranges.extend(owned(&site.space.prefixes, owners.len()));
            owners.push(owner("LocalNetworkSite", &site.name));
        }
        let place = format!(" on the gateway of {}", owners[0]);
        for (first, second) in overlap::pairs(&ranges, |a, b| a.owner != b.owner) {
            self.overlap(
                &place,
                (first.prefix, &owners[first.owner]),
                (second.prefix, &owners[second.owner]),
            );
        }
    }

    fn overlap(&mut self, place: &str, first: (&Located<IpNet>, &str), second: (&Located<IpNet>, &str)) {
        let message = format!(
            "{} of {} (line {}) overlaps {} of {} (line {}){place}",
            second.0.value, second.1, second.0.line, first.0.value, first.1, first.0.line
        );
        self.errors.add(ErrorKind::Overlap, second.0.line, &second.0.path, message);
    }

    fn unresolved<'n>(
        &mut self,
        what: &str,
        reference: &Located<String>,
        names: impl Iterator<Item = &'n str>,
    ) {
        let hint = case_hint(&reference.value, names);
        let message = format!("no {what} is named {}{hint}", quoted(&reference.value));
        self.errors.add(ErrorKind::UnresolvedReference, reference.line, &reference.path, message);
    }
}

fn owner(what: &str, name: &Located<String>) -> String {
    format!("{what} {}", quoted(&name.value))
}

fn owned(prefixes: &[Located<IpNet>], owner: usize) -> Vec<Owned<'_>> {
    prefixes.iter().map(|prefix| Owned { prefix, owner }).collect()
}

fn set(space: &Space) -> BTreeSet<IpNet> {
    space.prefixes.iter().map(|prefix| prefix.value).collect()
}

/// The name that would match if case did not count.
fn case_hint<'n>(wanted: &str, mut names: impl Iterator<Item = &'n str>) -> String {
    names
        .find(|name| name.eq_ignore_ascii_case(wanted))
        .map_or_else(String::new, |name| format!("; {} differs in case", quoted(name)))
}

fn listed(prefixes: impl ExactSizeIterator<Item = IpNet>) -> String {
    const SHOWN: usize = 8;
    let more = prefixes.len().saturating_sub(SHOWN);
    let shown: Vec<_> = prefixes.take(SHOWN).map(|prefix| prefix.to_string()).collect();
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", shown.join(", "))
}
