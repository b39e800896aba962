//! Many peers over one pair of ports: finds the SA a datagram belongs to, decides which SA of a peer counts, retries,
//! and turns the work of the state machines into events and datagrams.

mod demux;
mod peer;
mod settle;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use tracing::debug;

use crate::config::{EndpointConfig, PeerConfig, PeerId};
use crate::crypto::SecureRng;
use crate::event::{Event, PeerState, Transmit};
use crate::sa::IkeSa;
use crate::sa::context::{Context, EspSpis, IKE_PORT, Notice, Path};
use crate::status::PeerStatus;
use peer::{Peer, same_terms};

/// An IKEv2 endpoint: every peer of one gateway.
///
/// After each call that takes `now`, drain [`Self::poll_event`], then [`Self::poll_transmit`], and look at
/// [`Self::poll_timeout`] again.
pub struct Endpoint {
    config: EndpointConfig,
    rng: Box<dyn SecureRng>,
    peers: BTreeMap<PeerId, Peer>,
    /// By our SPI.
    sas: BTreeMap<u64, IkeSa>,
    esp_spis: EspSpis,
    order: u64,
    events: VecDeque<Event>,
    transmits: VecDeque<Transmit>,
}

impl Endpoint {
    /// An endpoint without peers.
    pub fn new(config: EndpointConfig, rng: Box<dyn SecureRng>) -> Self {
        Self {
            config,
            rng,
            peers: BTreeMap::new(),
            sas: BTreeMap::new(),
            esp_spis: EspSpis::default(),
            order: 0,
            events: VecDeque::new(),
            transmits: VecDeque::new(),
        }
    }

    /// Adds or replaces a peer; the same configuration again changes nothing. The peer starts connecting at once when
    /// `config.initiate` is set, also after [`Self::disconnect`]. When a change touches what was negotiated (addresses,
    /// identities, key, proposals, encapsulation), SAs with the peer are deleted; a change of timers takes effect
    /// without that: that of `dpd_interval` at once, those of lifetimes with the next Child SA.
    pub fn set_peer(&mut self, now: Instant, id: PeerId, config: PeerConfig) {
        let initiate = config.initiate && config.has_addresses();
        match self.peers.get(&id).map(|peer| peer.config.clone()) {
            Some(old) if *old == config => return,
            Some(old) if same_terms(&old, &config) => {}
            Some(_) => self.take_down(now, id, "configuration changed"),
            None => {}
        }
        let peer = self.peers.entry(id).or_insert_with(|| Peer::new(id, config.clone()));
        peer.config = config.into();
        peer.wanted = initiate;
        peer.blocked &= !initiate;
        for sa in self.sas.values_mut().filter(|sa| sa.peer == id) {
            sa.set_config(peer.config.clone());
        }
        if initiate {
            self.start_attempt(now, id, "connecting");
        } else if peer.current.is_none() {
            // An attempt under way may still succeed, but nothing comes after it.
            peer.retry_at = None;
            if peer.attempt.is_none() && peer.state == PeerState::Connecting {
                peer.set_state(&mut self.events, PeerState::NotConnected, "configured not to initiate");
            }
        }
    }

    /// Removes a peer: its SAs are deleted, removal events come out at once.
    pub fn remove_peer(&mut self, now: Instant, id: PeerId) {
        self.take_down(now, id, "peer removed");
        self.peers.remove(&id);
    }

    /// Starts connecting and keeps trying, also after [`Self::disconnect`] and for a peer that is not configured to
    /// initiate. Does nothing while connected, or while one of the two addresses is unspecified.
    pub fn connect(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.blocked = false;
        if peer.config.has_addresses() {
            peer.wanted = true;
            peer.retry_at = None;
            self.start_attempt(now, id, "connecting");
        }
    }

    /// Deletes the SAs with a peer and keeps the connection down, also against attempts of the peer, until
    /// [`Self::connect`].
    pub fn disconnect(&mut self, now: Instant, id: PeerId) {
        self.take_down(now, id, "disconnected");
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.wanted = false;
            peer.blocked = true;
        }
    }

    /// Rekeys the Child SA of a peer as soon as possible, as after a soft lifetime in packets or octets.
    pub fn rekey_child(&mut self, now: Instant, id: PeerId) {
        if let Some(current) = self.peers.get(&id).and_then(|peer| peer.current) {
            self.step(now, current, IkeSa::want_rekey);
        }
    }

    /// Takes a datagram that arrived from `remote` on our `local` address and port: the raw UDP payload. `local` is the
    /// address the datagram was sent to, not the one a socket is bound to; it enters NAT detection. On local port 4500
    /// ESP packets and keep-alives are recognised and ignored.
    pub fn handle_datagram(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr, datagram: &[u8]) {
        self.demultiplex(now, Path { local, remote }, datagram);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let keepalive = self.config.keepalive_interval;
        let is_due = |sa: &IkeSa| sa.next_timeout(keepalive).is_some_and(|at| at <= now);
        let due: Vec<u64> = self.sas.iter().filter(|(_, sa)| is_due(sa)).map(|(spi, _)| *spi).collect();
        for spi in due {
            self.step(now, spi, IkeSa::handle_timeout);
        }
        let mut attempts = Vec::new();
        for (id, peer) in &mut self.peers {
            if peer.handle_timeout(&mut self.events, now) {
                attempts.push(*id);
            }
        }
        for id in attempts {
            self.start_attempt(now, id, "connecting");
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// When [`Self::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let sas = self.sas.values().filter_map(|sa| sa.next_timeout(self.config.keepalive_interval));
        sas.chain(self.peers.values().filter_map(Peer::next_timeout)).min()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The connection with a peer as it is now, `None` for an unknown peer.
    pub fn status(&self, id: PeerId) -> Option<PeerStatus> {
        let peer = self.peers.get(&id)?;
        let current = peer.current.and_then(|spi| self.sas.get(&spi));
        let (ike, child) = current.and_then(IkeSa::status).unzip();
        Some(PeerStatus {
            state: peer.state,
            last_error: peer.last_error.clone(),
            remote: current.map(|sa| sa.path().remote),
            ike,
            child: child.flatten(),
        })
    }

    /// Number of IKE SAs in any state, half-open and ended ones included: what a flood of messages can make grow.
    pub fn ike_sa_count(&self) -> usize {
        self.sas.len()
    }

    /// Starts an attempt to connect unless there is one, or nothing to do. `reason` is for the first one.
    fn start_attempt(&mut self, now: Instant, id: PeerId, reason: &str) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.current.is_some() || peer.attempt.is_some() || !peer.wanted {
            return;
        }
        peer.retry_at = None;
        if peer.state == PeerState::NotConnected {
            peer.set_state(&mut self.events, PeerState::Connecting, reason);
        }
        let config = peer.config.clone();
        let path = Path {
            local: SocketAddr::new(config.local, IKE_PORT),
            remote: SocketAddr::new(config.remote, IKE_PORT),
        };
        let mut ctx = self.context(now, true);
        let started = IkeSa::initiate(&mut ctx, id, config, path);
        match started {
            Ok(sa) => {
                if let Some(peer) = self.peers.get_mut(&id) {
                    peer.attempt = Some(sa.local_spi());
                }
                self.sas.insert(sa.local_spi(), sa);
            }
            Err(reason) => self.peer_failed(now, id, &reason),
        }
    }

    /// The surroundings of a step.
    fn context(&mut self, now: Instant, sole: bool) -> Context<'_> {
        Context {
            now,
            rng: &mut *self.rng,
            config: &self.config,
            esp_spis: &mut self.esp_spis,
            order: &mut self.order,
            sole,
            transmits: &mut self.transmits,
            notices: Vec::new(),
        }
    }

    /// Steps one SA and carries out what it reports.
    fn step(&mut self, now: Instant, spi: u64, action: impl FnOnce(&mut IkeSa, &mut Context<'_>)) {
        if let Some((id, notices)) = self.step_quietly(now, spi, action) {
            for notice in notices {
                self.carry_out(now, id, spi, notice);
            }
        }
    }

    /// Steps one SA; its reports are for the caller.
    fn step_quietly(
        &mut self,
        now: Instant,
        spi: u64,
        action: impl FnOnce(&mut IkeSa, &mut Context<'_>),
    ) -> Option<(PeerId, Vec<Notice>)> {
        let mut sa = self.sas.remove(&spi)?;
        let id = sa.peer;
        let sole = !self.sas.values().any(|other| other.peer == id && other.established().is_some());
        let mut ctx = self.context(now, sole);
        action(&mut sa, &mut ctx);
        let notices = ctx.notices;
        if !sa.is_dead() {
            self.sas.insert(spi, sa);
        }
        Some((id, notices))
    }

    fn carry_out(&mut self, now: Instant, id: PeerId, ike_spi: u64, notice: Notice) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let is_current = peer.current == Some(ike_spi);
        let events = &mut self.events;
        match notice {
            Notice::Established { initial_contact } => self.sa_established(now, id, ike_spi, initial_contact),
            Notice::Confirmed => self.settle(now, id),
            Notice::Ended { reason } => self.sa_ended(now, id, ike_spi, &reason),
            Notice::Problem(reason) => {
                peer.last_error = Some(reason.clone());
                if peer.state != PeerState::Connected {
                    peer.set_state(events, peer.state, &reason);
                }
            }
            Notice::Refused(reason) => peer.refused(events, &reason),
            Notice::InboundReady(sa) => peer.install_inbound(events, sa),
            Notice::InboundRetired(spi) => peer.retire_inbound(spi, now + self.config.inbound_linger),
            Notice::OutboundReady(sa) if is_current => peer.install_outbound(events, sa),
            Notice::OutboundReady(_) => debug!(peer = %id, "outbound SA of a superseded IKE SA"),
            Notice::OutboundMoved { spi, remote } => {
                if peer.outbound == Some(spi) {
                    events.push_back(Event::OutboundMoved { peer: id, spi, remote });
                }
            }
        }
    }

    /// Deletes every SA with a peer, from the data plane too.
    fn take_down(&mut self, now: Instant, id: PeerId, reason: &str) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.clear(&mut self.events);
        peer.set_state(&mut self.events, PeerState::NotConnected, reason);
        let spis: Vec<u64> = self.sas.iter().filter(|(_, sa)| sa.peer == id).map(|(spi, _)| *spi).collect();
        for spi in spis {
            // Its reports are about what was just cleared.
            self.step_quietly(now, spi, |sa, ctx| sa.close(ctx, Vec::new(), reason.to_owned()));
        }
    }

    fn peer_failed(&mut self, now: Instant, id: PeerId, reason: &str) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.failed(&mut self.events, now, self.config.reconnect, &mut *self.rng, reason);
        }
    }
}
