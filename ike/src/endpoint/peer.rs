//! What the endpoint keeps for one peer, and the events about it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::info;

use crate::config::{Backoff, ConnectionMode, PeerConfig, PeerId};
use crate::crypto::SecureRng;
use crate::endpoint::allowance::Allowance;
use crate::event::{EspSa, Event, PeerState};
use crate::sa::context::random_up_to;

/// Most inbound SAs the data plane holds for a peer, and for each resource that has its own.
const MAX_INBOUND: usize = 4;
/// Most different reasons that are reported while the state stays the same.
const MAX_REASONS: usize = 16;
/// Most of them that come from requests nobody vouches for, so that a stranger cannot keep the others from being seen.
const MAX_REFUSALS: usize = 4;

/// Pause between reports to a peer of ESP packets that have no SA here.
const SPI_REPORT_INTERVAL: Duration = Duration::from_secs(10);
/// Attempts that one packet brings about in mode [`ConnectionMode::OnDemand`].
const MAX_DEMANDED_ATTEMPTS: u32 = 3;

pub(super) struct Peer {
    id: PeerId,
    pub(super) config: Arc<PeerConfig>,
    /// Connect, and again whenever the connection is lost.
    pub(super) wanted: bool,
    /// The user has disconnected: the peer's own attempts are not answered.
    pub(super) blocked: bool,
    pub(super) state: PeerState,
    pub(super) last_error: Option<String>,
    /// The reasons of events since the state was entered, so that endless retries do not repeat them.
    reasons: Vec<String>,
    /// How many of the reasons are those of refused requests for an IKE SA.
    refusals: usize,
    /// Attempts in vain since the last success or demand.
    failures: u32,
    pub(super) retry_at: Option<Instant>,
    /// Our SPI of the IKE SA we are initiating.
    pub(super) attempt: Option<u64>,
    /// Our SPI of the established IKE SA whose Child SA carries traffic.
    pub(super) current: Option<u64>,
    /// The installed outbound SA that carries what has no SA of its own.
    outbound: Option<u32>,
    /// Installed outbound SAs of single resources.
    of_resources: BTreeMap<u32, u32>,
    inbound: Vec<Inbound>,
    /// The IKE SA that counts has no Child SA.
    pub(super) is_childless: bool,
    /// Times the peer is told of ESP packets that have no SA here.
    pub(super) spi_reports: Allowance,
}

/// An installed inbound SA.
struct Inbound {
    spi: u32,
    resource: Option<u32>,
    /// Set once nothing new is sent to it.
    remove_at: Option<Instant>,
}

impl Peer {
    pub(super) fn new(id: PeerId, config: Arc<PeerConfig>) -> Self {
        Self {
            id,
            config,
            wanted: false,
            blocked: false,
            state: PeerState::NotConnected,
            last_error: None,
            reasons: Vec::new(),
            refusals: 0,
            failures: 0,
            retry_at: None,
            attempt: None,
            current: None,
            outbound: None,
            of_resources: BTreeMap::new(),
            inbound: Vec::new(),
            is_childless: false,
            spi_reports: Allowance::new(1, SPI_REPORT_INTERVAL),
        }
    }

    /// Moves to `state`; an event comes out when that is new, or the reason is while the state stays.
    pub(super) fn set_state(&mut self, events: &mut VecDeque<Event>, state: PeerState, reason: &str) {
        if self.state != state {
            self.reasons.clear();
            self.refusals = 0;
        }
        let is_new = self.reasons.len() < MAX_REASONS && !self.is_known(reason);
        if self.state != state || is_new {
            info!(peer = %self.id, %state, reason, "connection");
            self.state = state;
            self.reasons.push(reason.to_owned());
            events.push_back(Event::StateChanged { peer: self.id, state, reason: reason.to_owned() });
        }
    }

    /// A request for an IKE SA was refused. It may be a stranger's, and says nothing while the connection is up.
    pub(super) fn refused(&mut self, events: &mut VecDeque<Event>, reason: &str) {
        if self.state == PeerState::Connected {
            return;
        }
        self.last_error = Some(reason.to_owned());
        if self.refusals < MAX_REFUSALS && !self.is_known(reason) {
            self.refusals += 1;
            self.set_state(events, self.state, reason);
        }
    }

    /// Whether the peer's requests for an IKE SA are answered.
    pub(super) fn answers(&self) -> bool {
        !self.blocked && self.config.mode != ConnectionMode::Initiator
    }

    /// The connection is wanted from now on, for as long as the mode says.
    pub(super) fn want(&mut self) {
        if !self.wanted {
            self.wanted = true;
            self.failures = 0;
        }
    }

    fn is_known(&self, reason: &str) -> bool {
        self.reasons.iter().any(|known| known == reason)
    }

    /// The connection is up.
    pub(super) fn connected(&mut self, events: &mut VecDeque<Event>, reason: &str) {
        self.failures = 0;
        self.retry_at = None;
        // When it is lost, the next packet brings it back.
        self.wanted &= self.config.mode.always_connects();
        self.set_state(events, PeerState::Connected, reason);
    }

    /// The connection is down or was not achieved.
    pub(super) fn failed(
        &mut self,
        events: &mut VecDeque<Event>,
        now: Instant,
        backoff: Backoff,
        rng: &mut dyn SecureRng,
        reason: &str,
    ) {
        self.last_error = Some(reason.to_owned());
        self.is_childless = false;
        self.remove_outbound(events);
        if self.wanted {
            if self.attempt.is_none() && self.retry_at.is_none() {
                let pause = backoff.initial.saturating_mul(1 << self.failures.min(16)).min(backoff.max);
                self.failures += 1;
                if self.config.mode == ConnectionMode::OnDemand && self.failures >= MAX_DEMANDED_ATTEMPTS {
                    self.wanted = false;
                    let reason = format!("{reason}; given up until a packet wants out again");
                    return self.set_state(events, PeerState::NotConnected, &reason);
                }
                self.retry_at = Some(now + pause * 3 / 4 + random_up_to(rng, pause / 4));
            }
            self.set_state(events, PeerState::Connecting, reason);
        } else {
            self.set_state(events, PeerState::NotConnected, reason);
        }
    }

    /// The IKE SA stands, but without a Child SA.
    pub(super) fn childless(&mut self, events: &mut VecDeque<Event>, reason: &str) {
        self.last_error = Some(reason.to_owned());
        let peer = self.id;
        // Those of resources still carry theirs.
        events.extend(self.outbound.take().map(|spi| Event::RemoveOutbound { peer, spi }));
        self.is_childless = true;
        self.retry_at = None;
        let asks = self.wanted || self.config.mode.always_connects();
        let state = if asks { PeerState::Connecting } else { PeerState::NotConnected };
        self.set_state(events, state, reason);
    }

    pub(super) fn install_inbound(&mut self, events: &mut VecDeque<Event>, sa: EspSa) {
        let alike = |(_, inbound): &(usize, &Inbound)| inbound.resource == sa.resource;
        if self.inbound.iter().enumerate().filter(alike).count() >= MAX_INBOUND {
            // The one that would go first, or else the oldest.
            let leaving = self
                .inbound
                .iter()
                .enumerate()
                .filter(alike)
                .min_by_key(|(index, inbound)| (inbound.remove_at.is_none(), inbound.remove_at, *index));
            if let Some(index) = leaving.map(|(index, _)| index) {
                let spi = self.inbound.remove(index).spi;
                events.push_back(Event::RemoveInbound { peer: self.id, spi });
            }
        }
        self.inbound.push(Inbound { spi: sa.spi, resource: sa.resource, remove_at: None });
        events.push_back(Event::InstallInbound { peer: self.id, sa });
    }

    pub(super) fn install_outbound(&mut self, events: &mut VecDeque<Event>, sa: EspSa) {
        let peer = self.id;
        let everything = sa.resource.is_none();
        let mut old = match sa.resource {
            Some(resource) => self.of_resources.insert(resource, sa.spi),
            None => self.outbound.replace(sa.spi),
        };
        // A peer that has restarted may come to the same SPI again: the removal must not meet the new SA.
        if let Some(spi) = old.take_if(|old| *old == sa.spi) {
            events.push_back(Event::RemoveOutbound { peer, spi });
        }
        events.push_back(Event::InstallOutbound { peer, sa });
        events.extend(old.map(|spi| Event::RemoveOutbound { peer, spi }));
        if everything {
            self.last_error = None;
            if std::mem::take(&mut self.is_childless) {
                self.connected(events, "a Child SA was agreed on");
            }
        }
    }

    /// The peer does not receive with an outbound SA of a resource any more.
    pub(super) fn retire_outbound(&mut self, events: &mut VecDeque<Event>, spi: u32) {
        let retired = self.of_resources.extract_if(.., |_, other| *other == spi);
        events.extend(retired.map(|(_, spi)| Event::RemoveOutbound { peer: self.id, spi }));
    }

    /// Removes the outbound SAs of single resources: their traffic goes with all the other.
    pub(super) fn remove_resources(&mut self, events: &mut VecDeque<Event>) {
        let spis = std::mem::take(&mut self.of_resources).into_values();
        events.extend(spis.map(|spi| Event::RemoveOutbound { peer: self.id, spi }));
    }

    /// The outbound SAs that carry traffic.
    pub(super) fn outbound_spis(&self) -> Vec<u32> {
        self.outbound.into_iter().chain(self.of_resources.values().copied()).collect()
    }

    /// Nothing new is sent to an inbound SA; it goes at `remove_at`.
    pub(super) fn retire_inbound(&mut self, spi: u32, remove_at: Instant) {
        if let Some(inbound) = self.inbound.iter_mut().find(|inbound| inbound.spi == spi) {
            inbound.remove_at.get_or_insert(remove_at);
        }
    }

    /// Removes every SA from the data plane at once and forgets the IKE SAs.
    pub(super) fn clear(&mut self, events: &mut VecDeque<Event>) {
        self.attempt = None;
        self.current = None;
        self.is_childless = false;
        self.retry_at = None;
        self.failures = 0;
        let peer = self.id;
        self.remove_outbound(events);
        events.extend(self.inbound.drain(..).map(|inbound| Event::RemoveInbound { peer, spi: inbound.spi }));
    }

    fn remove_outbound(&mut self, events: &mut VecDeque<Event>) {
        self.remove_resources(events);
        events.extend(self.outbound.take().map(|spi| Event::RemoveOutbound { peer: self.id, spi }));
    }

    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let removals = self.inbound.iter().filter_map(|inbound| inbound.remove_at);
        removals.chain(self.retry_at).min()
    }

    /// Removes inbound SAs whose time has come. Returns whether a new attempt to connect is due.
    pub(super) fn handle_timeout(&mut self, events: &mut VecDeque<Event>, now: Instant) -> bool {
        let peer = self.id;
        let due = |inbound: &mut Inbound| inbound.remove_at.is_some_and(|at| at <= now);
        let removed = self.inbound.extract_if(.., due);
        events.extend(removed.map(|inbound| Event::RemoveInbound { peer, spi: inbound.spi }));
        self.retry_at.take_if(|at| *at <= now).is_some()
    }
}

/// Whether SAs made under `old` may go on under `new`: only timers, wishes and our own certificate differ.
pub(super) fn same_terms(old: &PeerConfig, new: &PeerConfig) -> bool {
    let auth = if old.auth.trusts_alike(&new.auth) { &new.auth } else { &old.auth };
    let timers_as_in_new = PeerConfig {
        auth: auth.clone(),
        mode: new.mode,
        dpd_interval: new.dpd_interval,
        ike_lifetime: new.ike_lifetime,
        child_lifetime: new.child_lifetime,
        rekey_jitter: new.rekey_jitter,
        rekey_margin: new.rekey_margin,
        ..old.clone()
    };
    timers_as_in_new == *new
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use zeroize::Zeroizing;

    use super::*;
    use crate::config::Psk;
    use crate::crypto::{EspAead, SALT_LEN};

    #[test]
    fn traffic_moves_before_the_old_outbound_sa_goes_unless_both_have_one_spi() {
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut peer = Peer::new(PeerId(1), PeerConfig::new(address, address, Psk::new("key")).into());
        let mut events = VecDeque::new();
        for spi in [300, 400, 400] {
            let sa = EspSa {
                spi,
                aead: EspAead::Aes128Gcm16,
                key: Zeroizing::new(vec![0; 16]),
                salt: Zeroizing::new([0; SALT_LEN]),
                esn: true,
                local: (address, 500).into(),
                remote: (address, 500).into(),
                udp_encapsulation: false,
                behind_nat: false,
                resource: None,
            };
            peer.install_outbound(&mut events, sa);
        }
        let seen: Vec<_> = events
            .into_iter()
            .map(|event| match event {
                Event::InstallOutbound { sa, .. } => ("install", sa.spi),
                Event::RemoveOutbound { spi, .. } => ("remove", spi),
                other => panic!("{other:?}"),
            })
            .collect();
        let expected =
            [("install", 300), ("install", 400), ("remove", 300), ("remove", 400), ("install", 400)];
        assert_eq!(seen, expected);
    }
}
