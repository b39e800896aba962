//! What IKE is told about the peer of a connection, and what is missing for that.

use std::net::IpAddr;
use std::time::Instant;

use ike::wire::AddressRange;
use ike::{Auth, CertificateAuth, ConnectionMode, PeerConfig, PeerId, Psk};
use ipnet::IpNet;

use super::super::certificates::{CertificateFileError, Certificates};
use super::super::dataplane::Dataplane;
use super::super::events::{EventNumber, Severity};
use super::super::terms::Terms;
use super::{Core, connection_name};
use crate::model::{AuthMethod, TrafficSelectors};

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
        Terms::new(&self.settings, self.profile(), self.parameters.get(site), own_name)
    }

    /// Tells IKE about a connection's peer, or takes the peer away when something is missing. Until the datapath has the
    /// connection's tunnel there is nothing to tell.
    pub(super) fn configure(&mut self, now: Instant, site: &str) {
        let peer = self.peer(site);
        let held = self.held.contains(site);
        let Some(connection) = self.connections.get_mut(site) else { return };
        if connection.applied.is_none() {
            return;
        }
        let id = PeerId(connection.id);
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
                if connection.missing.as_ref() != Some(&missing) {
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
                let mut config = terms.peer_config(self.settings.wan_address.into(), remote, auth);
                if terms.traffic_selectors() == TrafficSelectors::Prefixes {
                    (config.local_selectors, config.remote_selectors) = self.prefixes(site)?;
                }
                Ok(config)
            }
            (Err(address), Err(auth)) => Err(format!("{address}; {auth}")),
            (Err(missing), Ok(_)) | (Ok(_), Err(missing)) => Err(missing),
        }
    }

    pub(super) fn no_key(&self, site: &str) -> String {
        format!("no shared key is set: run `vgw connection set-key {} {site}`", self.settings.vnet)
    }

    /// The prefixes of the VNet and of the site as traffic selectors.
    fn prefixes(&self, site: &str) -> Result<(Vec<AddressRange>, Vec<AddressRange>), String> {
        let local =
            self.configuration.virtual_network(&self.settings.vnet).map(|own| own.address_space.as_slice());
        let remote =
            self.connections.get(site).map(|connection| connection.resolved.remote_prefixes.as_slice());
        Ok((selectors("VNet", local)?, selectors("site", remote)?))
    }

    fn peer_address(&self, site: &str) -> Result<IpAddr, String> {
        let address = self.connections.get(site).and_then(|connection| connection.resolved.gateway_address);
        match address {
            None => Err(format!("gateway address of site {site} is a placeholder")),
            Some(IpAddr::V6(address)) => {
                Err(format!("gateway address {address} of site {site} is IPv6, this gateway's is IPv4"))
            }
            Some(IpAddr::V4(address)) if address == self.settings.wan_address => {
                Err(format!("gateway address {address} of site {site} is this gateway's own"))
            }
            Some(address) => Ok(address),
        }
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
fn selectors(whose: &str, prefixes: Option<&[IpNet]>) -> Result<Vec<AddressRange>, String> {
    let mut prefixes = prefixes.unwrap_or_default().to_vec();
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
