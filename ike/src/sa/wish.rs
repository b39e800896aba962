//! What an IKE SA wants from its peer, and when it asks again after a refusal.

use std::time::{Duration, Instant};

use crate::sa::context::Context;

/// First pause after TEMPORARY_FAILURE; each further one doubles it.
const SOON: Duration = Duration::from_secs(2);
/// Longest such pause is `SOON` doubled this often.
const MAX_DOUBLINGS: u32 = 5;
/// Pause after a refusal that will not go away by itself.
const LATER: Duration = Duration::from_mins(1);

/// A rekey or a Child SA that may be wanted from the peer.
#[derive(Default)]
pub(super) struct Wish {
    wanted: bool,
    not_before: Option<Instant>,
    refusals: u32,
}

impl Wish {
    /// Wanted at once, or as soon as the last refusal permits.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// When to ask: at `otherwise` unless it is wanted before, but not earlier than the last refusal permits.
    pub(super) fn due(&self, wanted_since: Instant, otherwise: Instant) -> Instant {
        let at = if self.wanted { wanted_since } else { otherwise };
        self.not_before.map_or(at, |not_before| at.max(not_before))
    }

    /// When to ask for what is not there by itself; `None` while it is not wanted.
    pub(super) fn due_if_wanted(&self, wanted_since: Instant) -> Option<Instant> {
        self.wanted.then(|| self.due(wanted_since, wanted_since))
    }

    /// The peer is being asked.
    pub(super) fn asked(&mut self) {
        self.wanted = false;
    }

    /// It has come true, whoever asked.
    pub(super) fn fulfilled(&mut self) {
        *self = Self::default();
    }

    /// The peer says TEMPORARY_FAILURE: it is busy with something that may collide (RFC 7296 §2.25). The two ends wait
    /// for different times, so that they do not meet again.
    pub(super) fn ask_soon(&mut self, ctx: &mut Context<'_>) {
        let pause = SOON * (1 << self.refusals.min(MAX_DOUBLINGS));
        self.refusals += 1;
        self.ask_at(ctx.now + pause + ctx.random_up_to(pause));
    }

    /// How often it was put off with TEMPORARY_FAILURE.
    pub(super) fn refusals(&self) -> u32 {
        self.refusals
    }

    /// The peer refuses for a reason that stays.
    pub(super) fn ask_later(&mut self, ctx: &Context<'_>) {
        self.ask_at(ctx.now + LATER);
    }

    /// Wanted, but not before `at`.
    pub(super) fn ask_at(&mut self, at: Instant) {
        self.wanted = true;
        self.not_before = Some(at);
    }
}
