//! Two endpoints and a network between them, in virtual time: everything a run does follows from its seed.

mod network;
mod plane;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

use ike::{
    AddressRange, ConnectionMode, DhGroup, Endpoint, EndpointConfig, EspAead, EspProposal, Event,
    ExportedIkeKeys, IkeAead, IkeProposal, PeerConfig, PeerId, PeerState, PeerStatus, Prf, Psk, Work,
};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

pub(crate) use network::{Conditions, NAT_ADDRESS, Nat};
pub(crate) use plane::Plane;

pub(crate) const PEER: PeerId = PeerId(1);
/// The pre-shared key of [`cheap_config`].
pub(crate) const PSK: &[u8] = b"gLm7cT4tqS2";
/// Addresses of the two ends.
pub(crate) const ADDRESSES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 9, 0, 1)), IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2))];
const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// What travels.
#[derive(Clone)]
pub(crate) enum Cargo {
    Ike(Vec<u8>),
    /// An ESP packet: the SA it was sealed with.
    Esp(ike::EspSa),
}

#[derive(Clone)]
pub(crate) struct Packet {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) cargo: Cargo,
}

/// One end.
pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) plane: Plane,
    /// Every state the peer went through, with the reason.
    pub(crate) states: Vec<(PeerState, String)>,
    /// Every key that was exported.
    pub(crate) keys: Vec<ExportedIkeKeys>,
}

/// Two ends and the network.
pub(crate) struct Pair {
    pub(crate) now: Instant,
    pub(crate) nodes: [Node; 2],
    pub(crate) conditions: Conditions,
    pub(crate) nat: Option<Nat>,
    /// ESP packets that each end sends per interval.
    pub(crate) traffic: Option<Duration>,
    pub(crate) esp_sent: u64,
    pub(crate) esp_lost: u64,
    /// Deliver every request twice and compare the responses.
    pub(crate) repeat_requests: bool,
    /// Every IKE datagram that was sent, with the sender.
    pub(crate) trace: Vec<(usize, Vec<u8>)>,
    pub(crate) rng: StdRng,
    /// How long pieces of work take; none means that each is done at once.
    pub(crate) work_takes: Option<Range<Duration>>,
    next_traffic: Instant,
    in_flight: BTreeMap<(Instant, u64), Packet>,
    packets: u64,
    /// Work under way, by the time at which it is done, with the end it is for.
    at_work: BTreeMap<(Instant, u64), (usize, Work)>,
    pieces_of_work: u64,
}

/// A configuration with one cheap algorithm of each kind, for end `index`, and for IPv4 packets.
pub(crate) fn cheap_config(index: usize) -> PeerConfig {
    PeerConfig {
        ike_proposals: vec![IkeProposal::single(IkeAead::Aes128Gcm16, Prf::HmacSha256, DhGroup::X25519)],
        esp_proposals: vec![EspProposal::single(EspAead::ChaCha20Poly1305, Some(DhGroup::X25519), true)],
        local_selectors: vec![AddressRange::ANY_IPV4],
        remote_selectors: vec![AddressRange::ANY_IPV4],
        ..PeerConfig::new(ADDRESSES[index], ADDRESSES[1 - index], Psk::new(PSK))
    }
}

impl Pair {
    /// Two ends that do not know each other yet, on a perfect network.
    pub(crate) fn new(seed: u64) -> Self {
        Self::with(seed, &EndpointConfig::default())
    }

    /// The same, with limits and timers for both ends.
    pub(crate) fn with(seed: u64, config: &EndpointConfig) -> Self {
        let start = Instant::now();
        Self {
            now: start,
            nodes: [0, 1].map(|index| Node::new(seed.wrapping_mul(2) + index, config.clone())),
            conditions: Conditions::PERFECT,
            nat: None,
            traffic: None,
            esp_sent: 0,
            esp_lost: 0,
            repeat_requests: false,
            trace: Vec::new(),
            rng: StdRng::seed_from_u64(seed ^ 0x5eed),
            work_takes: crate::WORK_TAKES,
            next_traffic: start,
            in_flight: BTreeMap::new(),
            packets: 0,
            at_work: BTreeMap::new(),
            pieces_of_work: 0,
        }
    }

    /// Two ends with cheap configurations, where end 0 initiates.
    pub(crate) fn cheap(seed: u64) -> Self {
        let mut pair = Self::new(seed);
        pair.set_peer(1, PeerConfig { mode: ConnectionMode::Responder, ..cheap_config(1) });
        pair.set_peer(0, cheap_config(0));
        pair
    }

    /// Two ends with cheap configurations that both initiate.
    pub(crate) fn mutual(seed: u64) -> Self {
        let mut pair = Self::new(seed);
        pair.set_peer(0, cheap_config(0));
        pair.set_peer(1, cheap_config(1));
        pair
    }

    /// As [`Self::cheap`], and connected.
    pub(crate) fn connected(seed: u64) -> Self {
        let mut pair = Self::cheap(seed);
        pair.run_for(Duration::from_secs(1));
        pair.assert_converged();
        pair
    }

    pub(crate) fn set_peer(&mut self, index: usize, config: PeerConfig) {
        self.act(index, |endpoint, now| endpoint.set_peer(now, PEER, config));
    }

    /// Loses every IKE datagram from now on, those on the way included.
    pub(crate) fn cut(&mut self) {
        self.conditions = Conditions::CUT;
        self.in_flight.retain(|_, packet| matches!(packet.cargo, Cargo::Esp(_)));
    }

    /// Calls one end and collects what comes out.
    pub(crate) fn act(&mut self, index: usize, action: impl FnOnce(&mut Endpoint, Instant)) {
        action(&mut self.nodes[index].endpoint, self.now);
        if let Some(status) = self.nodes[index].endpoint.status(PEER) {
            let is_up = status.state == PeerState::Connected;
            assert!(!is_up || status.ike.is_some(), "connected, but by no IKE SA");
        }
        self.collect(index);
    }

    /// Replaces one end by one that has lost all state, with the configuration it had.
    pub(crate) fn restart(&mut self, index: usize, seed: u64, config: PeerConfig) {
        self.nodes[index] = Node::new(seed, EndpointConfig::default());
        self.at_work.retain(|_, (at, _)| *at != index);
        self.set_peer(index, config);
    }

    /// Asks one end for a rekey.
    pub(crate) fn rekey(&mut self, index: usize) {
        self.act(index, |endpoint, now| endpoint.rekey_child(now, PEER));
    }

    /// Asks one end for a rekey of the IKE SA.
    pub(crate) fn rekey_ike(&mut self, index: usize) {
        self.act(index, |endpoint, now| endpoint.rekey_ike(now, PEER));
    }

    pub(crate) fn status(&self, index: usize) -> PeerStatus {
        self.nodes[index].endpoint.status(PEER).expect("the peer is configured")
    }

    pub(crate) fn last_error(&self, index: usize) -> String {
        self.status(index).last_error.unwrap_or_default()
    }

    pub(crate) fn state(&self, index: usize) -> PeerState {
        self.status(index).state
    }

    /// Both ends are connected, by the same IKE SA and Child SA, and each end can receive what the other sends.
    pub(crate) fn is_converged(&self) -> bool {
        let [a, b] = [self.status(0), self.status(1)];
        let (Some(ike_a), Some(ike_b)) = (a.ike, b.ike) else { return false };
        let (Some(child_a), Some(child_b)) = (a.child, b.child) else { return false };
        let [plane_a, plane_b] = [&self.nodes[0].plane, &self.nodes[1].plane];
        let outbound_is = |plane: &Plane, spi| plane.outbound.as_ref().is_some_and(|sa| sa.spi == spi);
        a.state == PeerState::Connected
            && b.state == PeerState::Connected
            && (ike_a.spi_i, ike_a.spi_r) == (ike_b.spi_i, ike_b.spi_r)
            && ike_a.initiator != ike_b.initiator
            && child_a.inbound_spi == child_b.outbound_spi
            && child_b.inbound_spi == child_a.outbound_spi
            && outbound_is(plane_a, child_a.outbound_spi)
            && outbound_is(plane_b, child_b.outbound_spi)
            && plane_a.outbound.as_ref().is_some_and(|sa| plane_b.receives(sa))
            && plane_b.outbound.as_ref().is_some_and(|sa| plane_a.receives(sa))
    }

    #[track_caller]
    pub(crate) fn assert_converged(&self) {
        assert!(self.is_converged(), "{:#?}\n{:#?}", self.status(0), self.status(1));
    }

    /// Converged, and nothing is left over from the way there.
    #[track_caller]
    pub(crate) fn assert_settled(&self) {
        self.assert_converged();
        for node in &self.nodes {
            assert_eq!(node.endpoint.ike_sa_count(), 1);
            assert_eq!(node.plane.inbound.len(), 1, "{:?}", node.plane.inbound);
        }
    }

    /// Runs for a time.
    pub(crate) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.step(end) {}
        self.now = end;
    }

    /// Runs until `done`, at most for `limit`. Returns whether it came to that.
    pub(crate) fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if done(self) {
                return true;
            }
            if !self.step(end) {
                self.now = end;
                return done(self);
            }
        }
    }

    /// Does the next thing that happens before `end`.
    fn step(&mut self, end: Instant) -> bool {
        let timeouts = [0, 1].map(|index| self.nodes[index].endpoint.poll_timeout());
        let arrival = self.in_flight.first_key_value().map(|((at, _), _)| *at);
        let traffic = self.traffic.map(|_| self.next_traffic);
        let done = self.at_work.first_key_value().map(|((at, _), _)| *at);
        let next = timeouts.into_iter().flatten().chain(arrival).chain(traffic).chain(done).min();
        let Some(next) = next.filter(|next| *next < end) else { return false };
        self.now = self.now.max(next);
        if done == Some(next) {
            let (_, (index, work)) = self.at_work.pop_first().expect("one is done");
            self.act(index, |endpoint, now| endpoint.handle_done(now, work.run()));
            return true;
        }
        if arrival == Some(next) {
            let (_, packet) = self.in_flight.pop_first().expect("one is due");
            self.deliver(packet);
            return true;
        }
        for index in [0, 1] {
            if timeouts[index].is_some_and(|at| at <= next) {
                self.act(index, Endpoint::handle_timeout);
                let again = self.nodes[index].endpoint.poll_timeout();
                assert!(again.is_none_or(|at| at > self.now), "a timer is due and does nothing");
            }
        }
        if traffic == Some(next) {
            self.send_traffic();
        }
        true
    }

    fn send_traffic(&mut self) {
        self.next_traffic = self.now + self.traffic.expect("traffic runs");
        for index in [0, 1] {
            for sa in self.nodes[index].plane.carrying().cloned().collect::<Vec<_>>() {
                self.esp_sent += 1;
                self.send(Packet { source: sa.local, destination: sa.remote, cargo: Cargo::Esp(sa) });
            }
        }
    }

    fn collect(&mut self, index: usize) {
        while let Some(work) = self.nodes[index].endpoint.poll_work() {
            if let Some(takes) = &self.work_takes {
                let takes = self.rng.random_range(takes.clone());
                self.pieces_of_work += 1;
                self.at_work.insert((self.now + takes, self.pieces_of_work), (index, work));
            } else {
                self.nodes[index].endpoint.handle_done(self.now, work.run());
            }
        }
        while let Some(event) = self.nodes[index].endpoint.poll_event() {
            self.nodes[index].take(event);
        }
        while let Some(transmit) = self.nodes[index].endpoint.poll_transmit() {
            self.trace.push((index, transmit.payload.clone()));
            let cargo = Cargo::Ike(transmit.payload);
            self.send(Packet { source: transmit.local, destination: transmit.remote, cargo });
        }
    }

    /// Puts a packet on the way, through the NAT and subject to the conditions of the network.
    pub(crate) fn send(&mut self, mut packet: Packet) {
        if let Some(nat) = &mut self.nat {
            nat.outgoing(&mut packet);
        }
        let copies = match packet.cargo {
            Cargo::Ike(_) => self.conditions.copies(&mut self.rng),
            // What is measured is loss by wrong keys, not by the network.
            Cargo::Esp(_) => 1,
        };
        for _ in 0..copies {
            let delay = self.rng.random_range(self.conditions.latency.clone());
            self.packets += 1;
            self.in_flight.insert((self.now + delay, self.packets), packet.clone());
        }
    }

    fn deliver(&mut self, mut packet: Packet) {
        let mapped = self.nat.as_ref().is_none_or(|nat| nat.incoming(&mut packet));
        let index = ADDRESSES.iter().position(|address| *address == packet.destination.ip());
        let index = index.filter(|_| mapped);
        match (&packet.cargo, index) {
            (Cargo::Ike(datagram), Some(index)) => {
                let datagram = datagram.clone();
                self.receive(index, packet.destination, packet.source, &datagram);
            }
            (Cargo::Esp(sa), Some(index)) if self.nodes[index].plane.receives(sa) => {}
            (Cargo::Esp(_), _) => self.esp_lost += 1,
            (Cargo::Ike(_), None) => {}
        }
    }

    /// Hands a datagram to one end.
    pub(crate) fn receive(&mut self, index: usize, local: SocketAddr, remote: SocketAddr, datagram: &[u8]) {
        let before = self.trace.len();
        self.act(index, |endpoint, now| endpoint.handle_datagram(now, local, remote, datagram));
        if self.repeat_requests && is_ike(datagram, false) {
            let responses = self.responses_since(before);
            let before = self.trace.len();
            self.act(index, |endpoint, now| endpoint.handle_datagram(now, local, remote, datagram));
            assert_eq!(self.responses_since(before), responses, "the response to a repeated request differs");
        }
    }

    fn responses_since(&self, before: usize) -> Vec<Vec<u8>> {
        let sent = self.trace[before..].iter().map(|(_, datagram)| datagram);
        sent.filter(|datagram| is_ike(datagram, true)).cloned().collect()
    }
}

/// The IKE message in a datagram.
pub(crate) fn ike_message(datagram: &[u8]) -> &[u8] {
    datagram.strip_prefix(&NON_ESP_MARKER).unwrap_or(datagram)
}

/// Whether a datagram is an IKE request or response.
fn is_ike(datagram: &[u8], response: bool) -> bool {
    ike::wire::Header::parse(ike_message(datagram)).is_ok_and(|(header, _)| header.response == response)
}

impl Node {
    fn new(seed: u64, config: EndpointConfig) -> Self {
        let rng = Box::new(StdRng::seed_from_u64(seed));
        let endpoint = Endpoint::new(config, rng);
        Self { endpoint, plane: Plane::default(), states: Vec::new(), keys: Vec::new() }
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::StateChanged { state, reason, .. } => self.states.push((state, reason)),
            Event::IkeKeys { keys, .. } => self.keys.push(keys),
            event => self.plane.apply(event),
        }
    }
}
