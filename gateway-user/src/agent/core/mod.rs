//! The agent's state and what changes it.
//!
//! One task owns a [`Core`]. It has no sockets and reads no clock: datagrams, commands, datapath events and the time come
//! in by function calls, and after each of them the datagrams of [`Core::take_transmits`] are to be sent. By then the
//! datapath has carried out everything that those datagrams announce to a peer. The cryptography of IKE leaves as
//! [`Work`] by [`Core::poll_work`] and returns by [`Core::handle_done`].

mod capture;
mod changes;
mod commands;
mod engine;
mod names;
mod netcfg;
mod owners;
mod peer;
mod share;
mod status;
#[cfg(test)]
mod tests;
mod trace;
mod tunnels;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::bail;
use gateway_common::wire::NAT_T_PORT;
use gateway_common::{Aead, EventKind};
use ike::{
    ConnectionMode, Done, Endpoint, EndpointConfig, EspAead, EspSa, Event, PeerId, PeerState, SecureRng,
    Transmit, Work,
};

use self::changes::Changes;
use self::names::Names;
use self::owners::Owners;
pub(super) use self::share::limit_of;
use self::tunnels::{Following, Leftover, Then, Tunnel};
use super::certificates::Certificates;
use super::dataplane::Dataplane;
use super::events::{EventLog, EventNumber, Severity};
use super::key_log::KeyLog;
use super::profile::ByteLifetime;
use super::settings::Settings;
use super::throttle::Throttle;
use crate::datapath::{DatapathEvent, SaConfig, TunnelId};
use crate::model::{
    ConnectionState, GatewayBandwidth, GatewayState, NetworkConfiguration, Profile, ResolvedConnection,
    VirtualNetworkSite,
};
use crate::store::{KeyRing, ParametersBySite, Store};

/// Pause before what the datapath refused is tried again.
const DATAPATH_RETRY: Duration = Duration::from_secs(30);

/// What the gateway kept from its last run, and where it keeps it.
pub(super) struct Kept {
    pub(super) store: Store,
    pub(super) configuration: NetworkConfiguration,
    pub(super) keys: KeyRing,
    /// Sites whose connections were taken down by command.
    pub(super) held: BTreeSet<String>,
    /// Parameters of single connections.
    pub(super) parameters: ParametersBySite,
    /// Bandwidth that was set by command.
    pub(super) bandwidth: Option<GatewayBandwidth>,
    /// What the certificate files hold.
    pub(super) certificates: Certificates,
    /// Where keys are written for decrypting captures.
    pub(super) key_log: Option<KeyLog>,
}

/// Everything the agent of one gateway knows.
pub(super) struct Core<D> {
    settings: Settings,
    store: Store,
    configuration: NetworkConfiguration,
    keys: KeyRing,
    /// Sites whose connections were taken down by command.
    held: BTreeSet<String>,
    parameters: ParametersBySite,
    /// Bandwidth that was set by command.
    bandwidth: Option<GatewayBandwidth>,
    certificates: Certificates,
    key_log: Option<KeyLog>,
    changes: Changes,
    state: GatewayState,
    connections: BTreeMap<String, Connection>,
    /// Tunnels of removed connections that the datapath still has, under their numbers.
    leftovers: BTreeMap<u32, Leftover>,
    /// The sites of all connections, under the numbers that IKE and the datapath know.
    sites: BTreeMap<u32, String>,
    /// Where the names of peers lead.
    names: Names,
    /// No number below is free.
    lowest_free: u32,
    /// The numbers of the tunnels that prefixes may lead into.
    owners: Owners,
    /// The configuration that the datapath is busy with.
    following: Option<Following>,
    /// Sites whose SA the datapath refused since the last look, and may have to be asked for again.
    refused: BTreeSet<String>,
    /// When the datapath is asked again for what it refused of the network configuration.
    follow_at: Option<Instant>,
    events: EventLog,
    endpoint: Endpoint,
    dataplane: D,
    outbox: Vec<Transmit>,
    datapath_reports: Throttle<(u32, Option<u32>)>,
}

/// A connection of the gateway, under its site's name.
#[derive(Debug)]
struct Connection {
    /// Number towards IKE and the datapath.
    id: u32,
    /// What the network configuration says.
    resolved: ResolvedConnection,
    /// What of it was carried out last; differs from what is said while the datapath refuses it.
    applied: Option<(ResolvedConnection, Profile)>,
    /// What the datapath has.
    tunnel: Tunnel,
    /// As last told by IKE.
    state: ConnectionState,
    /// Why, as last told by IKE.
    reason: String,
    /// Whether IKE knows the peer.
    configured: bool,
    /// What keeps IKE from being asked at all.
    missing: Option<String>,
    /// Why the datapath does not have the tunnel of the network configuration.
    tunnel_error: Option<String>,
    /// Which SA the datapath refused last, and when to try again.
    refused: Option<Refused>,
}

#[derive(Debug)]
struct Refused {
    error: String,
    retry_at: Option<Instant>,
}

impl<D: Dataplane> Core<D> {
    /// A core whose datapath runs but knows no tunnels yet. The configuration has passed its rules and
    /// [`own_network`] finds the gateway in it.
    pub(super) fn new(
        settings: Settings,
        kept: Kept,
        events: EventLog,
        dataplane: D,
        rng: Box<dyn SecureRng>,
    ) -> Self {
        let Kept { store, configuration, keys, held, parameters, bandwidth, certificates, key_log } = kept;
        let endpoint = Endpoint::new(endpoint_config(&settings, key_log.is_some()), rng);
        Self {
            settings,
            store,
            configuration,
            keys,
            held,
            parameters,
            bandwidth,
            certificates,
            key_log,
            changes: Changes::default(),
            state: GatewayState::Provisioning,
            connections: BTreeMap::new(),
            leftovers: BTreeMap::new(),
            sites: BTreeMap::new(),
            names: Names::default(),
            lowest_free: 1,
            owners: Owners::default(),
            following: None,
            refused: BTreeSet::new(),
            follow_at: None,
            events,
            endpoint,
            dataplane,
            outbox: Vec::new(),
            datapath_reports: Throttle::new(),
        }
    }

    /// Makes all tunnels and starts connecting; the gateway is `Provisioned` then.
    pub(super) async fn start(&mut self, now: Instant) -> anyhow::Result<()> {
        let wanted = self.resolve(&self.configuration)?;
        let sites: BTreeSet<String> = wanted.iter().map(|connection| connection.site.clone()).collect();
        let mut concluded = self.begin_to_follow(now, wanted, Then::Nothing);
        let followed = loop {
            if let Some((followed, _)) = concluded {
                break followed;
            }
            let outcomes = self.dataplane.changed().await;
            concluded = self.follow_on(now, outcomes);
        };
        if !followed.failures.is_empty() {
            bail!(followed.failures.join("; "));
        }
        // What an earlier agent closed and nobody opens stays closed: safe, and no reason not to start.
        if let Err(error) = self.dataplane.settle().await {
            tracing::warn!("prefixes of earlier tunnels stay unreachable: {error:#}");
        }
        self.enter(GatewayState::Provisioned);
        // Another network configuration than the last run's may have come by option.
        self.keep_only(|site| sites.contains(site));
        self.warn_of_guarantees();
        if let Some(log) = &self.key_log {
            let directory = log.directory().display();
            let message = format!(
                "THE KEYS OF ALL SAs ARE WRITTEN to {directory} (--key-log): whoever reads them reads the traffic"
            );
            self.events.add_as(Severity::Warning, EventNumber::KeysWritten, None, message);
        }
        Ok(())
    }

    /// Stores the network configuration in place of the one before.
    pub(super) fn store_configuration(&self) -> anyhow::Result<()> {
        Ok(self.store.write_netcfg(crate::netcfg::write(&self.configuration)).run()?)
    }

    /// Tells the time of day: at `now` it is `since_epoch` after 1970-01-01 00:00 UTC. Certificates are judged by it.
    pub(super) fn set_wall_clock(&mut self, now: Instant, since_epoch: Duration) {
        self.endpoint.set_wall_clock(now, since_epoch);
    }

    /// A UDP payload arrived on one of the IKE ports.
    pub(super) fn handle_datagram(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        datagram: &[u8],
    ) {
        self.endpoint.handle_datagram(now, local, remote, datagram);
        self.drain(now);
    }

    /// Time passed; due at the latest when [`Core::next_timeout`] says.
    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.endpoint.handle_timeout(now);
        self.names.fall_due(now);
        if self.follow_at.is_some_and(|at| at <= now) {
            self.follow_again(now, Then::Nothing);
        }
        for site in std::mem::take(&mut self.refused) {
            let Some(connection) = self.connections.get_mut(&site) else { continue };
            let Some(retry_at) = connection.refused.as_ref().and_then(|refused| refused.retry_at) else {
                continue;
            };
            if retry_at <= now {
                connection.refused = None;
                self.endpoint.connect(now, PeerId(connection.id));
            } else {
                self.refused.insert(site);
            }
        }
        self.drain(now);
    }

    /// When [`Core::handle_timeout`] must be called next.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let retries =
            self.refused.iter().filter_map(|site| self.connections.get(site)?.refused.as_ref()?.retry_at);
        let others = [self.follow_at, self.names.next_timeout(), self.endpoint.poll_timeout()];
        retries.chain(others.into_iter().flatten()).min()
    }

    /// The datapath reported something.
    pub(super) fn handle_datapath_event(&mut self, now: Instant, event: DatapathEvent) {
        let peer = event.tunnel.map(|tunnel| PeerId(tunnel.0));
        if let (EventKind::SoftLifetime | EventKind::HardLifetime, Some(peer)) = (event.kind, peer) {
            match event.spi {
                Some(spi) => self.endpoint.rekey_child_sa(now, peer, spi),
                None => self.endpoint.rekey_child(now, peer),
            }
            self.drain(now);
        }
        if event.kind == EventKind::NoOutboundSa && self.is_demanded(now, peer) {
            return;
        }
        if let (EventKind::UnknownSpi, Some(source), Some(spi)) = (event.kind, event.source, event.spi) {
            // A peer that still uses SAs of this gateway's last run finds out.
            self.endpoint.unknown_esp_spi(now, source, spi);
            self.drain(now);
        }
        let text = match event.kind {
            // Ordinary life of an SA: nothing for an operator.
            EventKind::SoftLifetime => return,
            EventKind::HardLifetime => "an SA passed its hard lifetime or ran out of sequence numbers",
            EventKind::NoOutboundSa => "packets for a site without a connection are dropped",
            EventKind::UnknownSpi => "ESP with an unknown SPI arrived",
            EventKind::AuthenticationFailed => "ESP that fails authentication arrived",
            EventKind::AlarmingEcn => {
                "congestion marks of outer headers do not fit the packets inside: something on the path changes them"
            }
        };
        // Remembered per kind and tunnel, not per source: sources can be forged without end.
        let kind = (event.kind as u32, event.tunnel.map(|tunnel| tunnel.0));
        let Some(suppressed) = self.datapath_reports.admit(now, kind) else { return };
        let site = peer.and_then(|peer| self.site_of(peer));
        let spi = event.spi.map(|spi| format!("{spi:08x}"));
        let source = event.source.map(|source| source.to_string());
        tracing::warn!(site, spi, source, suppressed, "{text}");
    }

    /// A packet found no connection: one that comes up on demand is begun. Whether it is such a one.
    fn is_demanded(&mut self, now: Instant, peer: Option<PeerId>) -> bool {
        let Some((peer, site)) = peer.and_then(|peer| Some((peer, self.site_of(peer)?))) else {
            return false;
        };
        if !self.connections[site].configured || self.terms(site).mode() != ConnectionMode::OnDemand {
            return false;
        }
        self.endpoint.demand(now, peer);
        self.drain(now);
        true
    }

    /// The next piece of work of IKE, for any thread. What is urgent comes first, so no more should be taken than can be
    /// begun at once.
    pub(super) fn poll_work(&mut self) -> Option<Work> {
        self.endpoint.poll_work()
    }

    /// A piece of work of IKE is done.
    pub(super) fn handle_done(&mut self, now: Instant, done: Done) {
        self.endpoint.handle_done(now, done);
        self.drain(now);
    }

    /// The datagrams to send, in this order.
    pub(super) fn take_transmits(&mut self) -> Vec<Transmit> {
        std::mem::take(&mut self.outbox)
    }

    /// Tells every peer that the gateway goes; no command changes anything any more.
    pub(super) fn begin_stop(&mut self, now: Instant) {
        self.enter(GatewayState::Deprovisioning);
        self.follow_at = None;
        self.names.clear();
        for connection in self.connections.values_mut() {
            connection.refused = None;
            if connection.configured {
                self.endpoint.disconnect(now, PeerId(connection.id));
            }
        }
        self.drain(now);
    }

    /// Ends the core; the datapath is the caller's to stop.
    pub(super) fn into_parts(self) -> (D, EventLog) {
        (self.dataplane, self.events)
    }

    /// The connections that a configuration asks for. Prefixes come in numerical order: their order in the file means
    /// nothing.
    fn resolve(&self, configuration: &NetworkConfiguration) -> anyhow::Result<Vec<ResolvedConnection>> {
        let mut connections = configuration.connections(&self.settings.vnet)?;
        for connection in &mut connections {
            connection.remote_prefixes.sort_unstable();
        }
        Ok(connections)
    }

    fn profile(&self) -> Profile {
        let network = self.configuration.virtual_network(&self.settings.vnet);
        network
            .and_then(|network| network.gateway.as_ref())
            .map(|gateway| gateway.profile)
            .unwrap_or_default()
    }

    fn enter(&mut self, state: GatewayState) {
        self.state = state;
        self.events.add_gateway(&self.settings.vnet, state);
    }

    /// Carries out all events of IKE, then collects the datagrams that may go out after them.
    fn drain(&mut self, now: Instant) {
        while let Some(event) = self.endpoint.poll_event() {
            self.apply_event(now, event);
        }
        while let Some(transmit) = self.endpoint.poll_transmit() {
            self.outbox.push(transmit);
        }
    }

    fn apply_event(&mut self, now: Instant, event: Event) {
        match event {
            Event::StateChanged { peer, state, reason } => self.note_state(now, peer, state, reason),
            Event::InstallInbound { peer, sa } => {
                if let Some(log) = &self.key_log {
                    log.add_inbound(&sa);
                }
                let result = self.dataplane.install_inbound(tunnel(peer), &self.sa_config(peer, &sa));
                self.note_refusal(now, peer, "install an inbound SA", result);
            }
            Event::InstallOutbound { peer, sa } => {
                if let Some(log) = &self.key_log {
                    log.add_outbound(&sa);
                }
                let result = self.dataplane.install_outbound(tunnel(peer), &self.sa_config(peer, &sa));
                self.note_refusal(now, peer, "install an outbound SA", result);
            }
            // The address of an SA cannot change under its sequence numbers while packets flow: the Child SA is rekeyed, and
            // its successor has the new address.
            Event::OutboundMoved { peer, spi, remote } => {
                tracing::info!(
                    site = self.site_of(peer),
                    "the peer is at {remote} now, behind a NAT: rekeying"
                );
                self.endpoint.rekey_child_sa(now, peer, spi);
            }
            Event::IkeKeys { keys, .. } => {
                if let Some(log) = &self.key_log {
                    log.add_ike(&keys);
                }
            }
            Event::RemoveInbound { peer, spi } => {
                let result = self.dataplane.remove_inbound(tunnel(peer), spi);
                self.note_leftover(peer, spi, result);
            }
            Event::RemoveOutbound { peer, spi } => {
                let result = self.dataplane.remove_outbound(tunnel(peer), spi);
                self.note_leftover(peer, spi, result);
            }
        }
    }

    fn note_state(&mut self, now: Instant, peer: PeerId, state: PeerState, reason: String) {
        let state = match state {
            PeerState::NotConnected => ConnectionState::NotConnected,
            PeerState::Connecting => ConnectionState::Connecting,
            PeerState::Connected => ConnectionState::Connected,
        };
        let vnet = &self.settings.vnet;
        let Some((site, connection)) = by_id(&self.sites, &mut self.connections, peer) else { return };
        if connection.state == state && connection.reason == reason {
            return;
        }
        // One with a retry ahead was refused just now, by the datapath of this very connection.
        if state == ConnectionState::Connected {
            connection.refused.take_if(|refused| refused.retry_at.is_none());
        }
        let message = if reason.is_empty() {
            format!("connection {} is {state}", connection_name(vnet, site))
        } else {
            format!("connection {} is {state}: {reason}", connection_name(vnet, site))
        };
        let was_connected = connection.state == ConnectionState::Connected;
        connection.state = state;
        connection.reason = reason;
        if was_connected {
            self.names.doubt(now, site);
        }
        let on_purpose = self.held.contains(site) || self.state != GatewayState::Provisioned;
        let severity = if was_connected && !on_purpose { Severity::Warning } else { Severity::Information };
        self.events.add_as(severity, EventNumber::Connection(state), Some(site), message);
    }

    /// A connection whose SA the datapath refused would look connected and carry nothing: it is taken down, and tried again
    /// later.
    fn note_refusal(&mut self, now: Instant, peer: PeerId, what: &str, result: anyhow::Result<()>) {
        let Err(error) = result else { return };
        let vnet = &self.settings.vnet;
        let Some((site, connection)) = by_id(&self.sites, &mut self.connections, peer) else { return };
        let error = format!("the datapath cannot {what}: {error:#}");
        let message = format!("connection {}: {error}", connection_name(vnet, site));
        self.events.add(EventNumber::DatapathRefused, Some(site), message);
        let retry_at = (!self.held.contains(site)).then(|| now + DATAPATH_RETRY);
        connection.refused = Some(Refused { error, retry_at });
        self.refused.insert(site.clone());
        self.endpoint.disconnect(now, peer);
    }

    /// An SA that could not be removed does no harm: its keys are known to nobody else, and it goes with its tunnel.
    fn note_leftover(&self, peer: PeerId, spi: u32, result: anyhow::Result<()>) {
        if let Err(error) = result {
            let site = self.site_of(peer).unwrap_or("-");
            tracing::warn!(site, spi = format!("{spi:08x}"), "the datapath cannot remove an SA: {error:#}");
        }
    }

    fn sa_config(&self, peer: PeerId, sa: &EspSa) -> SaConfig {
        let lifetime = ByteLifetime::new(self.profile());
        SaConfig {
            spi: sa.spi,
            aead: match sa.aead {
                EspAead::ChaCha20Poly1305 | EspAead::ChaCha20Poly1305Iiv => Aead::ChaCha20Poly1305,
                EspAead::Aes128Gcm16 | EspAead::Aes128Gcm16Iiv => Aead::Aes128Gcm,
                EspAead::Aes256Gcm16 | EspAead::Aes256Gcm16Iiv => Aead::Aes256Gcm,
            },
            key: sa.key.clone(),
            salt: *sa.salt,
            esn: sa.esn,
            implicit_iv: sa.aead.implicit_iv(),
            local: sa.local,
            remote: sa.remote,
            udp_encapsulation: sa.udp_encapsulation,
            udp_port_entropy: self.spreads_ports(sa),
            soft_bytes: lifetime.soft,
            hard_bytes: lifetime.hard,
            resource: sa.resource,
            policy: self.site_of(peer).map(|site| self.terms(site).packet_policy()).unwrap_or_default(),
        }
    }

    /// Whether packets of `sa` may come from any source port: no address translation in front of us or of the peer's port
    /// maps back to the port of IKE.
    fn spreads_ports(&self, sa: &EspSa) -> bool {
        let wanted = self.settings.peering.udp_port_entropy;
        wanted && sa.udp_encapsulation && !sa.behind_nat && sa.remote.port() == NAT_T_PORT
    }

    fn site_of(&self, peer: PeerId) -> Option<&str> {
        self.sites.get(&peer.0).map(String::as_str)
    }
}

/// The VNet of a gateway in `configuration`; an error for a human if it or its gateway is not there.
pub(super) fn own_network<'a>(
    vnet: &str,
    configuration: &'a NetworkConfiguration,
) -> anyhow::Result<&'a VirtualNetworkSite> {
    let Some(network) = configuration.virtual_network(vnet) else {
        let names: Vec<_> = configuration.virtual_networks.iter().map(|network| &*network.name).collect();
        bail!("the network configuration has no VNet {vnet}; it has {}", list_or_none(&names));
    };
    if network.gateway.is_none() {
        bail!("VNet {vnet} has no gateway in the network configuration");
    }
    Ok(network)
}

fn endpoint_config(settings: &Settings, export_keys: bool) -> EndpointConfig {
    let mut config = EndpointConfig { export_keys, ..EndpointConfig::default() };
    config.cookie_threshold = settings.peering.cookie_threshold.unwrap_or(config.cookie_threshold);
    config.fragment_size = settings.peering.fragment_size.unwrap_or(config.fragment_size);
    config
}

/// Name of the connection of `vnet` to `site` on every surface.
fn connection_name(vnet: &str, site: &str) -> String {
    format!("{vnet}-{site}")
}

fn by_id<'c>(
    sites: &'c BTreeMap<u32, String>,
    connections: &'c mut BTreeMap<String, Connection>,
    peer: PeerId,
) -> Option<(&'c String, &'c mut Connection)> {
    let site = sites.get(&peer.0)?;
    Some((site, connections.get_mut(site)?))
}

/// Peers and tunnels go under the same numbers.
fn tunnel(peer: PeerId) -> TunnelId {
    TunnelId(peer.0)
}

fn list_or_none(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
