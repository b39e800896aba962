//! Many peers over one pair of ports.
//!
//! - `demux`: which SA a datagram belongs to; `strangers`, `cookie`: what those get for whom there is none;
//! - `slots` and `peers`: all IKE SAs and all peers, found without looking at the others;
//! - `work`: steps of SAs that cost time, detached; `drive`: how they leave and come back;
//! - `settle`: which SA of a peer counts; `peer`: retries, events and SAs of the data plane.

mod allowance;
mod cookie;
mod demux;
mod drive;
mod peer;
mod peers;
mod settle;
mod slots;
mod strangers;
mod work;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::debug;

use crate::config::{ConnectionMode, EndpointConfig, PeerConfig, PeerId};
use crate::crypto::SecureRng;
use crate::event::{Event, PeerState, Transmit};
use crate::sa::clock::WallClock;
use crate::sa::context::{Counters, IKE_PORT, Path};
use crate::sa::{IkeSa, Summary};
use crate::status::PeerStatus;
use allowance::Allowance;
use cookie::Cookies;
use drive::WorkQueue;
use peer::same_terms;
use peers::Peers;
use slots::{Reports, Slots};
pub use work::{Done, Work};
use work::{Input, Job};

/// Unprotected answers that may be sent at once, and the pause after which it is one more.
const ANSWERS_AT_ONCE: u32 = 20;
const ANSWER_INTERVAL: Duration = Duration::from_millis(100);

/// An IKEv2 endpoint: every peer of one gateway.
///
/// After each call that takes `now`, drain [`Self::poll_event`], then [`Self::poll_transmit`], have the work of
/// [`Self::poll_work`] done, and look at [`Self::poll_timeout`] again.
pub struct Endpoint {
    config: Arc<EndpointConfig>,
    rng: Box<dyn SecureRng>,
    clock: WallClock,
    counters: Arc<Counters>,
    peers: Peers,
    /// By our SPI.
    sas: Slots,
    work: WorkQueue,
    cookies: Cookies,
    /// Unprotected answers and notices.
    answers_to_strangers: Allowance,
    events: VecDeque<Event>,
    transmits: VecDeque<Transmit>,
}

impl Endpoint {
    /// An endpoint without peers.
    pub fn new(config: EndpointConfig, mut rng: Box<dyn SecureRng>) -> Self {
        Self {
            counters: Counters::new(&mut *rng).into(),
            rng,
            clock: WallClock::default(),
            peers: Peers::default(),
            sas: Slots::new(config.keepalive_interval),
            config: config.into(),
            work: WorkQueue::default(),
            cookies: Cookies::default(),
            answers_to_strangers: Allowance::new(ANSWERS_AT_ONCE, ANSWER_INTERVAL),
            events: VecDeque::new(),
            transmits: VecDeque::new(),
        }
    }

    /// Adds or replaces a peer; the same configuration again changes nothing. The peer starts connecting at once when
    /// `config.mode` says so, also after [`Self::disconnect`]. When a change touches what was negotiated (addresses,
    /// identities, key, authorities and their revocation lists, proposals, traffic selectors, encapsulation), SAs with the peer are deleted; a change of timers takes effect
    /// without that: that of `dpd_interval` at once, those of lifetimes with the next Child SA, a renewed certificate of
    /// ours with the next IKE SA.
    pub fn set_peer(&mut self, now: Instant, id: PeerId, config: PeerConfig) {
        let initiate = config.mode.always_connects() && config.has_addresses();
        match self.peers.get(id).map(|peer| peer.config.clone()) {
            Some(old) if *old == config => return,
            Some(old) if same_terms(&old, &config) => {}
            Some(_) => self.take_down(now, id, "its configuration was changed here"),
            None => {}
        }
        let peer = self.peers.set(id, config);
        peer.wanted = initiate;
        peer.blocked &= !initiate;
        let config = peer.config.clone();
        for spi in self.sas.of_peer(id) {
            let config = config.clone();
            self.step(now, spi, |sa, _| sa.set_config(config));
        }
        if initiate {
            self.start_attempt(now, id, "connecting");
        } else if let Some(peer) = self.peers.get_mut(id).filter(|peer| peer.current.is_none()) {
            // An attempt under way may still succeed, but nothing comes after it.
            peer.retry_at = None;
            if peer.attempt.is_none() && peer.state == PeerState::Connecting {
                peer.set_state(
                    &mut self.events,
                    PeerState::NotConnected,
                    "not configured to connect by itself",
                );
            }
        }
        self.peers.refresh();
    }

    /// Removes a peer: its SAs are deleted, removal events come out at once.
    pub fn remove_peer(&mut self, now: Instant, id: PeerId) {
        self.take_down(now, id, "removed here");
        self.peers.remove(id);
        self.peers.refresh();
    }

    /// Allows the connection again after [`Self::disconnect`], and starts connecting unless it is up: for as long as in
    /// [`Self::set_peer`], or [`Self::demand`] with [`ConnectionMode::OnDemand`]. In mode [`ConnectionMode::Responder`],
    /// or while one of the two addresses is unspecified, the peer is waited for.
    pub fn connect(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.blocked = false;
        if peer.config.mode != ConnectionMode::Responder && peer.config.has_addresses() {
            peer.want();
            peer.retry_at = None;
            self.start_attempt(now, id, "connecting");
        }
        self.peers.refresh();
    }

    /// A packet for a peer of mode [`ConnectionMode::OnDemand`] finds no connection: a few attempts are made to bring it
    /// up. Has no effect while they are made or the connection stands, after [`Self::disconnect`], and in other modes.
    pub fn demand(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let is_meant = peer.config.mode == ConnectionMode::OnDemand && peer.config.has_addresses();
        let is_down = peer.current.is_none() || peer.is_childless;
        if is_meant && !peer.blocked && !peer.wanted && is_down {
            peer.want();
            self.start_attempt(now, id, "a packet wants out");
        }
        self.peers.refresh();
    }

    /// Deletes the SAs with a peer and keeps the connection down, also against attempts of the peer, until
    /// [`Self::connect`].
    pub fn disconnect(&mut self, now: Instant, id: PeerId) {
        self.take_down(now, id, "disconnected here");
        if let Some(peer) = self.peers.get_mut(id) {
            peer.wanted = false;
            peer.blocked = true;
        }
        self.peers.refresh();
    }

    /// Rekeys the Child SAs of a peer as soon as possible.
    pub fn rekey_child(&mut self, now: Instant, id: PeerId) {
        self.want_rekey(now, id, None);
    }

    /// Rekeys one Child SA of a peer as soon as possible, as after a soft lifetime in packets or octets. `spi` is that of
    /// either direction; nothing is done when no Child SA in use has it.
    pub fn rekey_child_sa(&mut self, now: Instant, id: PeerId, spi: u32) {
        self.want_rekey(now, id, Some(spi));
    }

    fn want_rekey(&mut self, now: Instant, id: PeerId, spi: Option<u32>) {
        if let Some(current) = self.peers.get(id).and_then(|peer| peer.current) {
            self.step(now, current, move |sa, ctx| sa.want_rekey(ctx, spi));
        }
        self.peers.refresh();
    }

    /// Tells the time of day: at `now` it is `since_epoch` after 1970-01-01 00:00 UTC. Certificates are not accepted
    /// without it. It counts on from there; tell it again from time to time, since clocks are set.
    pub fn set_wall_clock(&mut self, now: Instant, since_epoch: Duration) {
        self.clock = WallClock::new(now, since_epoch);
    }

    /// Rekeys the IKE SA of a peer as soon as possible. Its Child SA goes on untouched.
    pub fn rekey_ike(&mut self, now: Instant, id: PeerId) {
        if let Some(current) = self.peers.get(id).and_then(|peer| peer.current) {
            self.step(now, current, IkeSa::want_ike_rekey);
        }
        self.peers.refresh();
    }

    /// Takes a datagram that arrived from `remote` on our `local` address and port: the raw UDP payload. `local` is the
    /// address the datagram was sent to, not the one a socket is bound to; it enters NAT detection. On local port 4500
    /// ESP packets and keep-alives are recognised and ignored.
    pub fn handle_datagram(&mut self, now: Instant, local: SocketAddr, remote: SocketAddr, datagram: &[u8]) {
        self.demultiplex(now, Path { local, remote }, datagram);
        self.peers.refresh();
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        for spi in self.sas.due(now) {
            self.give(now, spi, Input::Timeout);
        }
        for id in self.peers.due(now) {
            let Some(peer) = self.peers.get_mut(id) else { continue };
            if peer.handle_timeout(&mut self.events, now) {
                self.start_attempt(now, id, "connecting");
            }
        }
        self.peers.refresh();
    }

    /// The next piece of work that takes time. It may run on any thread; what it comes to goes to
    /// [`Self::handle_done`]. What concerns connections that stand comes first, so do not take more than can be run.
    pub fn poll_work(&mut self) -> Option<Work> {
        self.work.pop()
    }

    /// Takes the outcome of a piece of work.
    pub fn handle_done(&mut self, now: Instant, done: Done) {
        self.take_back(now, done);
        self.peers.refresh();
    }

    /// Does all work that waits on the calling thread, as a program with few peers may.
    pub fn run_work(&mut self, now: Instant) {
        while let Some(work) = self.poll_work() {
            self.handle_done(now, work.run());
        }
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.transmits.pop_front()
    }

    /// When [`Self::handle_timeout`] must be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.sas.next_timeout().into_iter().chain(self.peers.next_timeout()).min()
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The connection with a peer as it is now, `None` for an unknown peer.
    pub fn status(&self, id: PeerId) -> Option<PeerStatus> {
        let peer = self.peers.get(id)?;
        let current = peer.current.and_then(|spi| self.sas.summary(spi));
        let standing = current.and_then(|summary| summary.standing.as_ref());
        Some(PeerStatus {
            state: peer.state,
            last_error: peer.last_error.clone(),
            remote: current.map(|summary| summary.remote),
            ike: standing.map(|standing| standing.ike.clone()),
            child: standing.and_then(|standing| standing.child.clone()),
            resource_children: standing
                .map(|standing| standing.resource_children.clone())
                .unwrap_or_default(),
        })
    }

    /// Number of IKE SAs in any state, half-open and ended ones included: what a flood of messages can make grow.
    pub fn ike_sa_count(&self) -> usize {
        self.sas.len()
    }

    /// Starts an attempt to connect unless there is one, or nothing to do. `reason` is for the first one.
    fn start_attempt(&mut self, now: Instant, id: PeerId, reason: &str) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let is_up = peer.current.is_some() && !peer.is_childless;
        if is_up || peer.attempt.is_some() || !peer.wanted {
            return;
        }
        peer.retry_at = None;
        if peer.state == PeerState::NotConnected {
            peer.set_state(&mut self.events, PeerState::Connecting, reason);
        }
        match peer.current {
            // All it lacks is a Child SA.
            Some(current) => self.step(now, current, IkeSa::want_child),
            None => self.initiate(now, id),
        }
    }

    /// The peer seems to have lost its state: an attempt is made while the IKE SA still stands. It takes the place of that
    /// one if it succeeds.
    fn connect_beside(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        let may = peer.config.mode != ConnectionMode::Responder && peer.config.has_addresses();
        if may && !peer.blocked && peer.attempt.is_none() {
            debug!(peer = %id, "the peer may have restarted, connecting anew");
            self.initiate(now, id);
        }
    }

    fn initiate(&mut self, now: Instant, id: PeerId) {
        let Some(peer) = self.peers.get(id) else { return };
        let config = peer.config.clone();
        let path = Path {
            local: SocketAddr::new(config.local, IKE_PORT),
            remote: SocketAddr::new(config.remote, IKE_PORT),
        };
        let spi = self.start(now, id, Summary::initiating(path), Job::Initiate { peer: id, config, path });
        if let Some(peer) = self.peers.get_mut(id) {
            peer.attempt = Some(spi);
        }
    }

    /// Deletes every SA with a peer, from the data plane too.
    fn take_down(&mut self, now: Instant, id: PeerId, reason: &str) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.clear(&mut self.events);
        peer.set_state(&mut self.events, PeerState::NotConnected, reason);
        for spi in self.sas.of_peer(id) {
            let Some(slot) = self.sas.get_mut(spi) else { continue };
            if slot.is_new() {
                self.sas.remove(spi);
                continue;
            }
            slot.orphaned = true;
            let reason = reason.to_owned();
            // Its reports are about what was just cleared.
            self.step_with(now, spi, Reports::None, |sa, ctx| sa.close(ctx, Vec::new(), reason));
        }
    }

    fn peer_failed(&mut self, now: Instant, id: PeerId, reason: &str) {
        if let Some(peer) = self.peers.get_mut(id) {
            peer.failed(&mut self.events, now, self.config.reconnect, &mut *self.rng, reason);
        }
    }
}
