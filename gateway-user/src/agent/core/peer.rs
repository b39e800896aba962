//! What IKE is told about the peer of a connection, and what is missing for that.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use ike::wire::AddressRange;
use ike::{Auth, CertificateAuth, ConnectionMode, PeerConfig, PeerId, Psk};
use ipnet::IpNet;

use super::super::certificates::{CertificateFileError, Certificates};
use super::super::dataplane::Dataplane;
use super::super::events::{EventNumber, Severity};
use super::super::terms::Terms;
use super::{Core, connection_name, tunnel};
use crate::model::{AuthMethod, GatewayAddress, TrafficSelectors};

/// Most traffic selectors of one end that IKE negotiates.
const MOST_SELECTORS: usize = 128;

impl<D: Dataplane> Core<D> {
    /// The certificate files were read again. Connections with certificates go on with what is new; one whose SA the new
    /// authorities need not have allowed is negotiated anew. When the files cannot be used, everything stays as it is.
    pub(in crate::agent) fn handle_certificates(
        &mut self,
        now: Instant,
        outcome: Result<Certificates, CertificateFileError>,
    ) {
        match outcome {
            Ok(certificates) => {
                self.certificates = certificates;
                let message = "certificates, private key and authorities were read again".to_owned();
                self.events.add(EventNumber::CertificatesRead, None, message);
            }
            Err(error) => {
                let message = format!("the certificates in force stay: {error}");
                return self.events.add_as(
                    Severity::Warning,
                    EventNumber::CertificatesRefused,
                    None,
                    message,
                );
            }
        }
        let sites: Vec<String> = self.connections.keys().cloned().collect();
        for site in sites {
            if self.terms(&site).auth() == AuthMethod::Certificate {
                self.configure(now, &site);
            }
        }
    }

    pub(super) fn terms(&self, site: &str) -> Terms {
        let own_name = self.certificates.credentials.as_ref().map(|own| own.identity());
        let own = self.parameters.get(site);
        Terms::new(&self.settings, self.profile(), own, own_name, self.local_address(site))
    }

    /// Tells IKE about a connection's peer, or takes the peer away when something is missing. Until the datapath has the
    /// connection's tunnel there is nothing to tell.
    pub(super) fn configure(&mut self, now: Instant, site: &str) {
        let name =
            self.connections.get(site).and_then(|connection| connection.resolved.gateway_address.as_ref());
        match name.and_then(GatewayAddress::name) {
            Some(name) => self.names.keep(now, site, name),
            None => self.names.forget(site),
        }
        let policy = self.terms(site).packet_policy();
        let peer = self.peer(site);
        let is_looking = self.names.is_looking(site) && self.auth(site, &self.terms(site)).is_ok();
        let held = self.held.contains(site);
        let Some(connection) = self.connections.get_mut(site) else { return };
        if connection.applied.is_none() {
            return;
        }
        let id = PeerId(connection.id);
        self.dataplane.set_policy(tunnel(id), policy);
        let refused = connection.refused.take();
        match peer {
            Ok(mut config) => {
                if held {
                    config.mode = ConnectionMode::Responder;
                }
                connection.missing = None;
                connection.configured = true;
                self.endpoint.set_peer(now, id, config);
                if held {
                    self.endpoint.disconnect(now, id);
                } else if refused.is_some() {
                    // IKE keeps it down since the refusal, and a configuration without news would change nothing.
                    self.endpoint.connect(now, id);
                }
            }
            Err(missing) => {
                let is_lost = std::mem::take(&mut connection.configured);
                if connection.missing.as_ref() != Some(&missing) && !is_looking {
                    let name = connection_name(&self.settings.vnet, site);
                    let message = format!("connection {name} cannot be made: {missing}");
                    let severity = if is_lost { Severity::Warning } else { Severity::Information };
                    self.events.add_as(severity, EventNumber::ConnectionIncomplete, Some(site), message);
                }
                connection.missing = Some(missing);
                if is_lost {
                    self.endpoint.remove_peer(now, id);
                }
            }
        }
        self.drain(now);
    }

    /// A connection's peer as IKE wants it, or what is missing.
    pub(super) fn peer(&self, site: &str) -> Result<PeerConfig, String> {
        let terms = self.terms(site);
        match (self.peer_address(site), self.auth(site, &terms)) {
            (Ok(remote), Ok(auth)) => {
                let mut config = terms.peer_config(self.local_address(site), remote, auth);
                (config.local_selectors, config.remote_selectors) = match terms.traffic_selectors() {
                    TrafficSelectors::Prefixes => self.prefixes(site)?,
                    TrafficSelectors::Any => (self.any(site), self.any(site)),
                };
                Ok(config)
            }
            (Err(address), Err(auth)) => Err(format!("{address}; {auth}")),
            (Err(missing), Ok(_)) | (Ok(_), Err(missing)) => Err(missing),
        }
    }

    pub(super) fn no_key(&self, site: &str) -> String {
        format!("no shared key is set: run `vgw connection set-key {} {site}`", self.settings.vnet)
    }

    /// The address that the peer of `site` finds the gateway at: that of the peer's family. Until it is known which one that
    /// is, the gateway's first.
    fn local_address(&self, site: &str) -> IpAddr {
        let own = &self.settings.wan_addresses;
        let towards = self.place_of(site).and_then(|remote| own.towards(remote));
        towards.or_else(|| own.iter().next()).unwrap_or(Ipv4Addr::UNSPECIFIED.into())
    }

    /// The prefixes of the VNet and of the site as traffic selectors.
    fn prefixes(&self, site: &str) -> Result<(Vec<AddressRange>, Vec<AddressRange>), String> {
        let (local, remote) = self.address_spaces(site);
        Ok((selectors("VNet", local)?, selectors("site", remote)?))
    }

    /// Every address of the families that both ends of a connection have prefixes of; where they have none in common, of
    /// both.
    fn any(&self, site: &str) -> Vec<AddressRange> {
        let (local, remote) = self.address_spaces(site);
        let families = [(true, AddressRange::ANY_IPV4), (false, AddressRange::ANY_IPV6)];
        let has = |space: &[IpNet], is_v4: bool| space.iter().any(|prefix| prefix.addr().is_ipv4() == is_v4);
        let common = families.iter().filter(|(is_v4, _)| has(local, *is_v4) && has(remote, *is_v4));
        let common: Vec<_> = common.map(|(_, any)| *any).collect();
        if common.is_empty() { families.map(|(_, any)| any).to_vec() } else { common }
    }

    /// The address spaces of the VNet and of the site.
    fn address_spaces(&self, site: &str) -> (&[IpNet], &[IpNet]) {
        let local = self.configuration.virtual_network(&self.settings.vnet);
        let local = local.map(|own| own.address_space.as_slice()).unwrap_or_default();
        let remote = self.connections.get(site);
        (local, remote.map(|connection| connection.resolved.remote_prefixes.as_slice()).unwrap_or_default())
    }

    fn peer_address(&self, site: &str) -> Result<IpAddr, String> {
        let connection = self.connections.get(site);
        let address = match connection.and_then(|connection| connection.resolved.gateway_address.as_ref()) {
            None => return Err(format!("gateway address of site {site} is a placeholder")),
            Some(GatewayAddress::Name(_)) => return self.names.address(site),
            Some(GatewayAddress::Ip(address)) => *address,
        };
        let own = &self.settings.wan_addresses;
        if own.towards(address).is_none() {
            let (theirs, ours) = if address.is_ipv6() { ("IPv6", "IPv4") } else { ("IPv4", "IPv6") };
            return Err(format!(
                "gateway address {address} of site {site} is {theirs}, this gateway's is {ours}"
            ));
        }
        if own.iter().any(|own| own == address) {
            return Err(format!("gateway address {address} of site {site} is this gateway's own"));
        }
        Ok(address)
    }

    fn auth(&self, site: &str, terms: &Terms) -> Result<Auth, String> {
        match terms.auth() {
            AuthMethod::Psk => {
                let key = self.keys.get(site).ok_or_else(|| self.no_key(site))?;
                Ok(Auth::Psk(Psk::new(key.expose().as_bytes())))
            }
            AuthMethod::Certificate => self.certificate_auth(site, terms).map(Auth::Certificate),
        }
    }

    fn certificate_auth(&self, site: &str, terms: &Terms) -> Result<CertificateAuth, String> {
        let Certificates { credentials, trust } = &self.certificates;
        let credentials = credentials
            .clone()
            .ok_or("no certificate: start the agent with --certificate FILE --private-key FILE")?;
        let trust = trust.clone().ok_or("no certificate authority: start the agent with --ca FILE")?;
        let configure = format!("vgw connection configure {} {site}", self.settings.vnet);
        if !terms.has_remote_id() {
            return Err(format!(
                "with certificates the peer must be named: run `{configure} --remote-id ID`"
            ));
        }
        if !credentials.proves(terms.local_id()) {
            return Err(format!(
                "the gateway's certificate does not prove its identity {}: run `{configure} --local-id ID`",
                terms.local_id()
            ));
        }
        Ok(CertificateAuth { credentials, trust })
    }
}

/// Traffic selectors in numerical order, so that the order in a file means nothing.
fn selectors(whose: &str, prefixes: &[IpNet]) -> Result<Vec<AddressRange>, String> {
    let mut prefixes = prefixes.to_vec();
    prefixes.sort_unstable();
    if prefixes.len() > MOST_SELECTORS {
        let number = prefixes.len();
        return Err(format!(
            "the {whose} has {number} prefixes, and traffic selectors are {MOST_SELECTORS} at most: use --traffic-selectors any"
        ));
    }
    let range = |prefix: &IpNet| AddressRange::prefix(prefix.network(), prefix.prefix_len());
    Ok(prefixes.iter().filter_map(range).collect())
}
