//! Many peers over one pair of ports: finds the SA a datagram belongs to, decides which SA of a peer counts, retries,
//! and turns the work of the state machines into events and datagrams.

mod config;
mod event;
mod status;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use crate::crypto::SecureRng;

pub use config::{Backoff, EndpointConfig, Identity, PeerConfig, PeerId, Psk, RetransmitPolicy};
pub use event::{EspSa, Event, PeerState, Transmit};
pub use status::{ChildStatus, IkeSaStatus, PeerStatus};

/// An IKEv2 endpoint: every peer of one gateway.
///
/// After each call that takes `now`, drain [`Self::poll_event`], then [`Self::poll_transmit`], and look at
/// [`Self::poll_timeout`] again.
pub struct Endpoint {
    config: EndpointConfig,
    rng: Box<dyn SecureRng>,
    peers: BTreeMap<PeerId, PeerConfig>,
    events: VecDeque<Event>,
    transmits: VecDeque<Transmit>,
}

impl Endpoint {
    /// An endpoint without peers.
    pub fn new(config: EndpointConfig, rng: Box<dyn SecureRng>) -> Self {
        Self { config, rng, peers: BTreeMap::new(), events: VecDeque::new(), transmits: VecDeque::new() }
    }

    /// Adds or replaces a peer. It starts connecting at once when `config.initiate` is set. When a change touches what
    /// was negotiated (addresses, identities, key, proposals, encapsulation), SAs with the peer are deleted; a change
    /// of timers takes effect without that.
    pub fn set_peer(&mut self, now: Instant, id: PeerId, config: PeerConfig) {
        let _ = (now, &self.config, &mut self.rng);
        self.peers.insert(id, config);
    }

    /// Removes a peer: its SAs are deleted, removal events come out at once.
    pub fn remove_peer(&mut self, now: Instant, id: PeerId) {
        let _ = now;
        self.peers.remove(&id);
    }

    /// Starts connecting and keeps trying, also after [`Self::disconnect`] and for a peer that is not configured to
    /// initiate. Does nothing while connected.
    pub fn connect(&mut self, now: Instant, id: PeerId) {
        let _ = (now, id);
    }

    /// Deletes the SAs with a peer and keeps the connection down, also against attempts of the peer, until
    /// [`Self::connect`].
    pub fn disconnect(&mut self, now: Instant, id: PeerId) {
        let _ = (now, id);
    }

    /// Rekeys the Child SA of a peer as soon as possible, as after a soft lifetime in packets or octets.
    pub fn rekey_child(&mut self, now: Instant, id: PeerId) {
        let _ = (now, id);
    }

    /// Takes a datagram that arrived from `remote` on our `local` address and port: the raw UDP payload. On local port
    /// 4500 ESP packets and keep-alives are recognised and ignored.
    pub fn handle_datagram(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr, datagram: &[u8]) {
        let _ = (now, local, remote, datagram);
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// When [`Self::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The connection with a peer as it is now, `None` for an unknown peer.
    pub fn status(&self, id: PeerId) -> Option<PeerStatus> {
        self.peers.get(&id).map(|_| PeerStatus {
            state: PeerState::NotConnected,
            last_error: None,
            remote: None,
            ike: None,
            child: None,
        })
    }
}
