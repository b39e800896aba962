//! How IKE SAs are stepped: at once when nothing is to be computed, else by a [`Work`] that takes the SA with it.

use std::collections::VecDeque;
use std::time::Instant;

use chacha20::ChaCha20Rng;
use rand_core::SeedableRng;
use tracing::debug;
use zeroize::Zeroizing;

use crate::config::PeerId;
use crate::endpoint::Endpoint;
use crate::endpoint::slots::Reports;
use crate::endpoint::work::{Done, Input, Job, Outcome, Work};
use crate::event::{Event, PeerState};
use crate::sa::context::{Context, Notice, ike_spi};
use crate::sa::{IkeSa, Summary};

/// Work that nobody has taken yet: at most one piece for each IKE SA.
#[derive(Default)]
pub(super) struct WorkQueue {
    /// By urgency.
    waiting: [VecDeque<Work>; 3],
}

/// Who goes first.
#[derive(Clone, Copy)]
enum Urgency {
    /// A connection that stands.
    Standing,
    /// A connection that comes up, where we have done something for it already or begin it ourselves.
    Connecting,
    /// A request that anybody may have sent.
    Stranger,
}

impl WorkQueue {
    fn push(&mut self, urgency: Urgency, work: Work) {
        self.waiting[urgency as usize].push_back(work);
    }

    pub(super) fn pop(&mut self) -> Option<Work> {
        self.waiting.iter_mut().find_map(VecDeque::pop_front)
    }
}

impl Endpoint {
    /// Begins an SA, which comes when the job is done. Returns our SPI.
    pub(super) fn start(&mut self, now: Instant, id: PeerId, summary: Summary, job: Job) -> u64 {
        let mut spi = ike_spi(&mut *self.rng);
        while self.sas.get(spi).is_some() {
            spi = ike_spi(&mut *self.rng);
        }
        let urgency = if summary.initiator { Urgency::Connecting } else { Urgency::Stranger };
        self.sas.reserve(spi, id, summary);
        let work = self.work_for(now, spi, true, job);
        self.work.push(urgency, work);
        spi
    }

    /// Gives an SA what has arrived for it, now or when it is back.
    pub(super) fn give(&mut self, now: Instant, spi: u64, input: Input) {
        if let Some(slot) = self.sas.get_mut(spi) {
            slot.push_input(input);
            self.dispatch(now, spi);
        }
    }

    /// Steps an SA without computing anything, now or when it is back.
    pub(super) fn step(
        &mut self,
        now: Instant,
        spi: u64,
        action: impl FnOnce(&mut IkeSa, &mut Context<'_>) + Send + 'static,
    ) {
        self.step_with(now, spi, Reports::All, action);
    }

    /// As [`Self::step`], where only some of what the SA reports counts.
    pub(super) fn step_with(
        &mut self,
        now: Instant,
        spi: u64,
        reports: Reports,
        action: impl FnOnce(&mut IkeSa, &mut Context<'_>) + Send + 'static,
    ) {
        let Some(mut sa) = self.sas.check_out(spi) else {
            if let Some(slot) = self.sas.get_mut(spi) {
                slot.push_action(reports, Box::new(action));
            }
            return;
        };
        let mut ctx = Context {
            now,
            clock: self.clock,
            rng: &mut *self.rng,
            config: &self.config,
            counters: &self.counters,
            sole: false,
            light: true,
            transmits: Vec::new(),
            notices: Vec::new(),
        };
        action(&mut sa, &mut ctx);
        let Context { transmits, notices, .. } = ctx;
        let id = sa.peer;
        self.sas.check_in(spi, sa);
        self.carry_out_all(now, id, spi, reports, notices);
        self.transmits.extend(transmits);
        // What it has to send now needs computing after all.
        if self.sas.is_due(spi, now) {
            self.give(now, spi, Input::Timeout);
        }
    }

    /// Puts an SA back after its work, and sees to what has come up for it meanwhile.
    pub(super) fn take_back(&mut self, now: Instant, done: Done) {
        let Done { spi, outcome, transmits, notices } = done;
        // An SA that has been given up altogether is dropped with all it has to say.
        let Some(slot) = self.sas.get_mut(spi) else { return };
        let id = slot.peer;
        let reports = if slot.orphaned { Reports::None } else { Reports::All };
        let actions = slot.take_actions();
        let mut failure = None;
        match outcome {
            Outcome::Sa(sa) => self.sas.check_in(spi, sa),
            Outcome::NoSa => self.sas.remove(spi),
            Outcome::NotInitiated(reason) => {
                self.sas.remove(spi);
                failure = Some(Notice::Ended { reason });
            }
        }
        self.carry_out_all(now, id, spi, reports, notices.into_iter().chain(failure));
        self.transmits.extend(transmits);
        for (reports, action) in actions {
            self.step_with(now, spi, reports, action);
        }
        self.dispatch(now, spi);
    }

    /// Makes work of what waits for an SA, if it is here.
    fn dispatch(&mut self, now: Instant, spi: u64) {
        let Some((sa, inputs)) = self.sas.check_out_for_work(spi) else { return };
        let is_other = |other: &u64| *other != spi;
        let stands = |spi: u64| self.sas.summary(spi).is_some_and(|summary| summary.standing.is_some());
        let sole = !self.sas.of_peer(sa.peer).into_iter().filter(is_other).any(stands);
        let urgency = if stands(spi) { Urgency::Standing } else { Urgency::Connecting };
        let work = self.work_for(now, spi, sole, Job::Step { sa, inputs });
        self.work.push(urgency, work);
    }

    fn work_for(&mut self, now: Instant, spi: u64, sole: bool, job: Job) -> Work {
        let mut seed = Zeroizing::new([0; 32]);
        self.rng.fill(&mut *seed);
        Work {
            spi,
            now,
            clock: self.clock,
            sole,
            rng: ChaCha20Rng::from_seed(*seed),
            config: self.config.clone(),
            counters: self.counters.clone(),
            job,
        }
    }

    fn carry_out_all(
        &mut self,
        now: Instant,
        id: PeerId,
        spi: u64,
        reports: Reports,
        notices: impl IntoIterator<Item = Notice>,
    ) {
        for notice in notices {
            let counts = match reports {
                Reports::All => true,
                Reports::OfChildren => !matches!(notice, Notice::Ended { .. }),
                Reports::None => false,
            };
            match (notice, counts) {
                // What comes of an SA that does not count goes down with it, but the peer has to be told.
                (Notice::Successor(sa), false) => self.adopt(now, sa, true),
                (notice, true) => self.carry_out(now, id, spi, notice),
                (_, false) => {}
            }
        }
    }

    /// Takes an IKE SA that a rekey has made.
    fn adopt(&mut self, now: Instant, sa: Box<IkeSa>, orphaned: bool) {
        let spi = sa.local_spi();
        self.sas.reserve(spi, sa.peer, sa.summary());
        self.sas.check_in(spi, sa);
        if orphaned && let Some(slot) = self.sas.get_mut(spi) {
            slot.orphaned = true;
            self.step_with(now, spi, Reports::None, |sa, ctx| sa.close(ctx, Vec::new(), String::new()));
        }
    }

    fn carry_out(&mut self, now: Instant, id: PeerId, ike_spi: u64, notice: Notice) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        let is_current = peer.current == Some(ike_spi);
        let events = &mut self.events;
        match notice {
            Notice::Established { initial_contact } => self.sa_established(now, id, ike_spi, initial_contact),
            Notice::Confirmed => self.settle(now, id),
            Notice::Silent if is_current => self.connect_beside(now, id),
            Notice::Childless { reason } if is_current => peer.childless(events, &reason),
            Notice::Silent | Notice::Childless { .. } => {}
            Notice::Successor(sa) => self.adopt(now, sa, false),
            Notice::Inherit { heir, estate, before } => {
                self.sa_replaced(now, id, ike_spi, heir, estate, before);
            }
            Notice::Ended { reason } => self.sa_ended(now, id, ike_spi, &reason),
            Notice::Problem(reason) => {
                peer.last_error = Some(reason.clone());
                if peer.state != PeerState::Connected {
                    peer.set_state(events, peer.state, &reason);
                }
            }
            Notice::Refused(reason) => peer.refused(events, &reason),
            Notice::Keys(keys) => events.push_back(Event::IkeKeys { peer: id, keys }),
            Notice::InboundReady(sa) => peer.install_inbound(events, sa),
            Notice::InboundRetired(spi) => peer.retire_inbound(spi, now + self.config.inbound_linger),
            Notice::OutboundReady(sa) if is_current => peer.install_outbound(events, sa),
            Notice::OutboundReady(_) => debug!(peer = %id, "outbound SA of a superseded IKE SA"),
            Notice::OutboundRetired(spi) => peer.retire_outbound(events, spi),
            Notice::OutboundMoved { spi, remote } => {
                if peer.outbound_spis().contains(&spi) {
                    events.push_back(Event::OutboundMoved { peer: id, spi, remote });
                }
            }
        }
    }
}
