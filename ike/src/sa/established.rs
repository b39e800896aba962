//! An established IKE SA: its Child SAs, what it does by itself, its timers.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tracing::{debug, info};

use crate::config::PeerConfig;
use crate::sa::child::{Child, DeleteProgress};
use crate::sa::context::{Context, NAT_PORT, Notice};
use crate::sa::hints::Hints;
use crate::sa::places::{EVERYTHING, Places, resource_of};
use crate::sa::rekey_child::RekeySent;
use crate::sa::rekey_ike::IkeRekeySent;
use crate::sa::wish::Wish;
use crate::sa::{IkeSa, Phase};
use crate::status::{ChildStatus, IkeSaStatus};
use crate::wire::{ExchangeType, Notify, NotifyType, Payload};

/// After a rekey by the peer, traffic moves this much later when the peer does not delete the old Child SA.
const SWITCH_FALLBACK: Duration = Duration::from_secs(5);
/// How long a rekey by the peer is taken to be unanswered while its request is repeated: longer than common
/// implementations repeat one, so that a replayed request does not keep traffic on the old Child SA for ever.
const REPEATS_LAST: Duration = Duration::from_mins(3);
/// A Child SA or IKE SA that the peer should delete is deleted by us after this long.
pub(crate) const ABANDON_AFTER: Duration = Duration::from_secs(15);

/// How long a Child SA is left to the peer to delete after another one, which is no rekey of it, has taken its place.
const SUPERSEDED_FOR: Duration = Duration::from_mins(5);
/// How long an IKE SA stays without a Child SA.
const CHILDLESS_FOR: Duration = Duration::from_mins(5);

/// The state of an IKE SA once both ends are authenticated.
pub(crate) struct Established {
    pub(crate) since: Instant,
    /// When that was, in the order of [`IkeSa::created`]. A rekey of the IKE SA leaves it as it was.
    pub(crate) order: u64,
    /// The lower one of the nonces of IKE_SA_INIT.
    pub(crate) lowest_nonce: Vec<u8>,
    /// The peer has shown that it holds the SA as established too.
    pub(crate) confirmed: bool,
    pub(crate) last_received: Instant,
    pub(super) children: Vec<Child>,
    /// What they are for.
    pub(super) places: Places,
    /// There has been a Child SA.
    pub(crate) had_child: bool,
    /// Set while there is no Child SA to carry everything.
    lack: Option<Lack>,
    /// The outstanding request, `None` when the window is free.
    pub(super) pending: Option<Pending>,
    /// To have a Child SA for everything, when there is none.
    pub(super) new_child: Wish,
    /// To rekey the IKE SA.
    pub(super) ike_rekey: Wish,
    ike_rekey_at: Instant,
    ike_expires_at: Instant,
    /// How often the IKE SA was replaced.
    pub(super) ike_rekeys: u64,
    /// Check the peer's liveness now.
    pub(super) probe_wanted: bool,
    pub(super) hints: Hints,
    last_keepalive: Instant,
    /// Deleted at this time, unless the peer does it, because another IKE SA won.
    abandon_at: Option<Instant>,
}

/// The first Child SA.
pub(super) struct FirstChild {
    pub(super) child: Child,
    /// Both ends want others for single resources beside it.
    pub(super) one_of_several: bool,
}

/// That there is no Child SA.
struct Lack {
    /// Why, for a human.
    reason: String,
    /// The IKE SA is closed at this time if there is none by then.
    until: Instant,
}

/// What an outstanding request of an established SA is about.
pub(super) enum Pending {
    Rekey(Box<RekeySent>),
    RekeyIke(Box<IkeRekeySent>),
    /// Deletes of Child SAs, by our SPIs.
    Delete(Vec<u32>),
    Liveness,
}

impl Pending {
    /// The rekey of the IKE SA, if it is that.
    pub(super) fn ike_rekey(self) -> Option<Box<IkeRekeySent>> {
        if let Self::RekeyIke(sent) = self { Some(sent) } else { None }
    }
}

impl Established {
    /// With the first Child SA, or the reason why it was refused. In that case who initiated asks again after a while
    /// (RFC 7296 §1.2, §2.21.2), and so does an end that is to be connected at all times.
    pub(super) fn new(
        ctx: &mut Context<'_>,
        config: &PeerConfig,
        lowest_nonce: Vec<u8>,
        child: Result<FirstChild, String>,
        initiator: bool,
    ) -> Self {
        let now = ctx.now;
        let (ike_rekey_at, ike_expires_at) = ike_lifetime(ctx, config);
        let mut new_child = Wish::default();
        if child.is_err() && (initiator || config.mode.always_connects()) {
            new_child.ask_later(ctx);
        }
        let (child, agreed, lack) = match child {
            Ok(FirstChild { child, one_of_several }) => (Some(child), one_of_several, None),
            Err(reason) => (None, false, Some(Lack { reason, until: now + CHILDLESS_FOR })),
        };
        let places = Places::new(ctx, config, child.as_ref(), initiator, agreed);
        Self {
            since: now,
            order: ctx.next_order(),
            lowest_nonce,
            confirmed: initiator,
            last_received: now,
            places,
            had_child: child.is_some(),
            lack,
            children: child.into_iter().collect(),
            pending: None,
            new_child,
            ike_rekey: Wish::default(),
            ike_rekey_at,
            ike_expires_at,
            ike_rekeys: 0,
            probe_wanted: false,
            hints: Hints::default(),
            last_keepalive: now,
            abandon_at: None,
        }
    }

    /// The life of a new IKE SA begins, with what its predecessor leaves.
    pub(super) fn begin_anew(&mut self, ctx: &mut Context<'_>, config: &PeerConfig, initiator: bool) {
        self.since = ctx.now;
        self.last_received = ctx.now;
        self.pending = None;
        self.ike_rekey.fulfilled();
        (self.ike_rekey_at, self.ike_expires_at) = ike_lifetime(ctx, config);
        self.ike_rekeys += 1;
        self.places.begin_anew(ctx, initiator);
    }

    /// Nothing new is sent to the Child SAs.
    pub(crate) fn retire(&mut self, ctx: &mut Context<'_>) {
        for child in self.children.drain(..) {
            ctx.notify(Notice::InboundRetired(child.inbound_spi));
        }
    }

    /// The Child SA is being rekeyed.
    fn rekeys(&self, inbound_spi: u32) -> bool {
        let asked = |pending: &Pending| match pending {
            Pending::Rekey(sent) => sent.replaces == Some(inbound_spi),
            _ => false,
        };
        self.pending.as_ref().is_some_and(asked) || self.successor(inbound_spi).is_some()
    }

    /// Our SPIs of the Child SAs.
    pub(crate) fn inbound_spis(&self) -> impl Iterator<Item = u32> {
        self.children.iter().map(|child| child.inbound_spi)
    }

    pub(super) fn child(&self, inbound_spi: u32) -> Option<&Child> {
        self.children.iter().find(|child| child.inbound_spi == inbound_spi)
    }

    pub(super) fn child_mut(&mut self, inbound_spi: u32) -> Option<&mut Child> {
        self.children.iter_mut().find(|child| child.inbound_spi == inbound_spi)
    }

    /// The Child SA that traffic will move to once `inbound_spi` is deleted.
    pub(super) fn successor(&self, inbound_spi: u32) -> Option<u32> {
        let succeeds = |child: &&Child| {
            child.origin.replaces == Some(inbound_spi)
                && child.outbound.is_some()
                && child.abandon_at.is_none()
                && !child.is_deleting()
        };
        self.children.iter().find(succeeds).map(|child| child.inbound_spi)
    }

    /// Moves traffic to a Child SA.
    pub(super) fn switch_to(&mut self, ctx: &mut Context<'_>, inbound_spi: u32) {
        let Some(child) = self.child_mut(inbound_spi) else { return };
        child.switch_at = None;
        child.abandon_at = None;
        let Some(outbound) = child.outbound.take() else { return };
        ctx.notify(Notice::OutboundReady(outbound));
        if let Some(restriction) = &child.restriction {
            ctx.notify(Notice::Problem(restriction.clone()));
        }
        let (replaces, at) = (child.origin.replaces, child.place);
        if at == EVERYTHING {
            self.new_child.fulfilled();
            self.had_child = true;
            self.lack = None;
        }
        let place = self.places.get_mut(at);
        if place.active == inbound_spi {
            return;
        }
        let before = std::mem::replace(&mut place.active, inbound_spi);
        if replaces.is_some() {
            place.rekeys += 1;
            // Whoever asked, the Child SA that was to be replaced is.
            place.rekey.fulfilled();
        }
        if replaces != Some(before)
            && let Some(superseded) = self.child_mut(before)
        {
            superseded.abandon_at.get_or_insert(ctx.now + SUPERSEDED_FOR);
        }
    }

    /// There is no Child SA to carry traffic, for this reason.
    pub(super) fn lacks_child(&mut self, ctx: &mut Context<'_>, reason: String) {
        let until = self.lack.as_ref().map_or(ctx.now + CHILDLESS_FOR, |lack| lack.until);
        self.lack = Some(Lack { reason: reason.clone(), until });
        ctx.notify(Notice::Childless { reason });
    }

    /// Forgets a Child SA.
    pub(super) fn remove(&mut self, ctx: &mut Context<'_>, inbound_spi: u32) {
        let Some(index) = self.children.iter().position(|child| child.inbound_spi == inbound_spi) else {
            return;
        };
        let child = self.children.remove(index);
        ctx.notify(Notice::InboundRetired(inbound_spi));
        if child.place != EVERYTHING && self.is_active(&child) {
            ctx.notify(Notice::OutboundRetired(child.outbound_spi));
        }
    }

    /// The peer's address changed.
    pub(super) fn moved(&mut self, ctx: &mut Context<'_>, remote: SocketAddr) {
        for child in &mut self.children {
            match &mut child.outbound {
                Some(waiting) => waiting.remote = remote,
                None if self.places.get(child.place).active == child.inbound_spi => {
                    ctx.notify(Notice::OutboundMoved { spi: child.outbound_spi, remote });
                }
                None => {}
            }
        }
    }

    /// When a rekey is due next, and at which place; `None` while all have to wait for something else.
    fn rekey_due(&self) -> Option<(Instant, usize)> {
        let due = |place: usize| {
            let active = self.active(place)?;
            if active.is_deleting()
                || self.successor(active.inbound_spi).is_some()
                || self.count_at(place) > 2
            {
                return None;
            }
            let due = self.places.get(place).rekey.due(self.since, active.rekey_at);
            // A peer that does not know it yet would say that it does not exist.
            Some((active.unknown_until.map_or(due, |until| due.max(until)), place))
        };
        (0..self.places.count()).filter_map(due).min()
    }

    /// When to ask for a new Child SA for everything; `None` while there is one.
    fn new_child_due(&self) -> Option<Instant> {
        self.new_child.due_if_wanted(self.since).filter(|_| self.active(EVERYTHING).is_none())
    }

    /// When a rekey of the IKE SA is due; `None` while it has to wait for something else: what concerns the Child SAs
    /// is finished first.
    fn ike_rekey_due(&self) -> Option<Instant> {
        let moving = |child: &Child| child.is_deleting() || child.switch_at.is_some();
        if self.abandon_at.is_some() || self.children.iter().any(moving) {
            return None;
        }
        Some(self.ike_rekey.due(self.since, self.ike_rekey_at))
    }
}

impl IkeSa {
    /// The keep-alive timer runs: we are behind a NAT.
    fn keeps_nat_alive(&self) -> bool {
        self.nat.local && self.path.local.port() == NAT_PORT
    }

    pub(super) fn established_timeout(&self, keepalive: Duration) -> Option<Instant> {
        let Phase::Established(established) = &self.phase else { return None };
        let mut due: Vec<Instant> = established.abandon_at.into_iter().collect();
        for child in &established.children {
            due.extend(child.switch_at);
            due.extend(child.abandon_at.filter(|_| !child.is_deleting()));
        }
        due.push(established.ike_expires_at);
        due.extend(established.lack.as_ref().map(|lack| lack.until));
        let expiring = |child: &&Child| child.place == EVERYTHING || !child.is_deleting();
        due.extend(established.all_active().filter(expiring).map(|child| child.expires_at));
        if self.keeps_nat_alive() {
            due.push(established.last_keepalive + keepalive);
        }
        if self.window.is_free() {
            due.extend(established.rekey_due().map(|(at, _)| at));
            due.extend(established.new_child_due());
            due.extend(established.next_resource().map(|(at, _)| at));
            due.extend(established.ike_rekey_due());
            due.push(established.last_received + self.config.dpd_interval);
        }
        due.into_iter().min()
    }

    pub(super) fn established_timers(&mut self, ctx: &mut Context<'_>) {
        let keeps_alive = self.keeps_nat_alive();
        let path = self.path;
        let Phase::Established(established) = &mut self.phase else { return };
        let due = |at: Instant| at <= ctx.now;
        if established.abandon_at.is_some_and(due) {
            return self.close(ctx, Vec::new(), "superseded by another IKE SA".to_owned());
        }
        if established.active(EVERYTHING).is_some_and(|child| due(child.expires_at)) {
            return self.close(ctx, Vec::new(), "Child SA expired without being rekeyed".to_owned());
        }
        if established.lack.as_ref().is_some_and(|lack| due(lack.until)) {
            let reason = self.why_ended("no Child SA came about");
            return self.close(ctx, Vec::new(), reason);
        }
        if due(established.ike_expires_at) {
            return self.close(ctx, Vec::new(), "IKE SA expired without being rekeyed".to_owned());
        }
        if keeps_alive && due(established.last_keepalive + ctx.config.keepalive_interval) {
            established.last_keepalive = ctx.now;
            ctx.transmit_keepalive(path);
        }
        for spi in established.children.iter().map(|child| child.inbound_spi).collect::<Vec<_>>() {
            established.child_timers(ctx, spi);
        }
    }

    pub(super) fn pump_established(&mut self, ctx: &mut Context<'_>) {
        let dpd_interval = self.config.dpd_interval;
        let Phase::Established(established) = &mut self.phase else { return };
        let wanted = |child: &&mut Child| child.delete == DeleteProgress::Wanted;
        let mut spis = Vec::new();
        for child in established.children.iter_mut().filter(wanted) {
            child.delete = DeleteProgress::Sent;
            spis.push(child.inbound_spi);
        }
        if !spis.is_empty() {
            established.pending = Some(Pending::Delete(spis.clone()));
            self.request(ctx, ExchangeType::INFORMATIONAL, vec![Payload::Delete(delete_of(spis))]);
        } else if let Some((_, place)) = established.rekey_due().filter(|(at, _)| *at <= ctx.now) {
            established.places.get_mut(place).rekey.asked();
            self.start_rekey(ctx, place);
        } else if established.new_child_due().is_some_and(|at| at <= ctx.now) {
            established.new_child.asked();
            self.start_new_child(ctx, EVERYTHING);
        } else if let Some((_, place)) = established.next_resource().filter(|(at, _)| *at <= ctx.now) {
            established.places.more.asked();
            self.start_new_child(ctx, place);
        } else if let Some(spi) = established.hints.take_report() {
            let notify = Notify::new(NotifyType::INVALID_SPI, spi.to_be_bytes());
            established.pending = Some(Pending::Liveness);
            self.request(ctx, ExchangeType::INFORMATIONAL, vec![Payload::Notify(notify)]);
        } else if established.ike_rekey_due().is_some_and(|at| at <= ctx.now) {
            established.ike_rekey.asked();
            self.start_ike_rekey(ctx);
        } else if established.probe_wanted || established.last_received + dpd_interval <= ctx.now {
            debug!(peer = %self.peer, "checking whether the peer lives");
            established.probe_wanted = false;
            established.pending = Some(Pending::Liveness);
            self.request(ctx, ExchangeType::INFORMATIONAL, Vec::new());
        }
    }

    /// Moves traffic to the Child SAs of this IKE SA, or rekeys those whose outbound half was in use before:
    /// `in_use` are the SPIs of the outbound SAs that carry traffic now.
    pub(crate) fn release_outbound(&mut self, ctx: &mut Context<'_>, in_use: &[u32]) {
        let Phase::Established(established) = &mut self.phase else { return };
        if established.active(EVERYTHING).is_none() {
            if let Some(Lack { reason, .. }) = &established.lack {
                ctx.notify(Notice::Childless { reason: reason.clone() });
            }
            return;
        }
        for place in 0..established.places.count() {
            let Some(child) = established.active(place) else { continue };
            let spi = child.inbound_spi;
            if child.outbound.is_some() {
                established.switch_to(ctx, spi);
            } else if !in_use.contains(&child.outbound_spi) && !established.rekeys(spi) {
                established.places.get_mut(place).rekey.want();
            }
        }
        self.pump(ctx);
    }

    /// The user wants a rekey: of the Child SA with this SPI, ours or the peer's, or of all.
    pub(crate) fn want_rekey(&mut self, ctx: &mut Context<'_>, spi: Option<u32>) {
        let Phase::Established(established) = &mut self.phase else { return };
        for place in 0..established.places.count() {
            let Some(child) = established.active(place) else { continue };
            let meant = spi.is_none_or(|spi| spi == child.inbound_spi || spi == child.outbound_spi);
            if meant && !established.rekeys(child.inbound_spi) {
                established.places.get_mut(place).rekey.want();
            }
        }
        self.pump(ctx);
    }

    /// A Child SA is wanted, if there is none.
    pub(crate) fn want_child(&mut self, ctx: &mut Context<'_>) {
        if let Phase::Established(established) = &mut self.phase
            && established.lack.is_some()
        {
            established.new_child.want();
            self.pump(ctx);
        }
    }

    /// Why this IKE SA has ended, with what was wrong before: an IKE SA without a Child SA does not end without a cause.
    pub(super) fn why_ended(&self, reason: &str) -> String {
        match self.established().and_then(|established| established.lack.as_ref()) {
            Some(lack) => format!("{}; {reason}", lack.reason),
            None => reason.to_owned(),
        }
    }

    /// The user wants a rekey of the IKE SA.
    pub(crate) fn want_ike_rekey(&mut self, ctx: &mut Context<'_>) {
        if let Phase::Established(established) = &mut self.phase
            && !established.rekeys_ike()
        {
            established.ike_rekey.want();
            self.pump(ctx);
        }
    }

    /// Asks the peer whether it holds this SA as established.
    pub(crate) fn probe(&mut self, ctx: &mut Context<'_>) {
        if let Phase::Established(established) = &mut self.phase
            && established.pending.is_none()
        {
            established.probe_wanted = true;
            self.pump(ctx);
        }
    }

    /// Another IKE SA with the peer won; the peer is to delete this one.
    pub(crate) fn abandon(&mut self, now: Instant) {
        if let Phase::Established(established) = &mut self.phase {
            established.abandon_at.get_or_insert(now + ABANDON_AFTER);
        }
    }

    /// The IKE SA and its Child SAs for a human, first of all the one for everything.
    pub(crate) fn status(&self) -> Option<(IkeSaStatus, Option<ChildStatus>, Vec<ChildStatus>)> {
        let established = self.established()?;
        let ike = IkeSaStatus {
            spi_i: self.spi_i,
            spi_r: self.spi_r,
            proposal: self.protection().suite.to_string(),
            peer_identity: self.peer_identity.to_string(),
            authentication: self.config.auth.name(),
            established: established.since,
            rekey_at: established.ike_rekey_at,
            rekeys: established.ike_rekeys,
            initiator: self.initiator,
            nat_detected: self.nat.detected(),
            udp_encapsulation: self.nat.encapsulation,
            fragmentation: self.fragmentation,
            resource_children: established.places.agreed,
        };
        let status = |child: &Child| ChildStatus {
            inbound_spi: child.inbound_spi,
            outbound_spi: child.outbound_spi,
            proposal: child.suite.to_string(),
            local_selectors: child.selectors.local.clone(),
            remote_selectors: child.selectors.remote.clone(),
            established: child.created,
            rekey_at: child.rekey_at,
            rekeys: established.places.get(child.place).rekeys,
            resource: resource_of(child.place),
        };
        let of_resources = established.all_active().filter(|child| child.place != EVERYTHING);
        Some((ike, established.active(EVERYTHING).map(status), of_resources.map(status).collect()))
    }
}

impl Established {
    fn child_timers(&mut self, ctx: &mut Context<'_>, spi: u32) {
        let now = ctx.now;
        let Some(child) = self.child(spi) else { return };
        let carries = self.is_active(child);
        let rekeying = matches!(&self.pending, Some(Pending::Rekey(sent)) if sent.place == child.place);
        let early = child.is_first_of_resource() && !self.is_in_use();
        let Some(child) = self.child_mut(spi) else { return };
        if carries && child.place != EVERYTHING && child.expires_at <= now && !child.is_deleting() {
            info!(spi = %format_args!("{spi:08x}"), "Child SA of a resource expired without being rekeyed");
            self.give_up_resource(ctx, spi);
        } else if child.switch_at.is_some_and(|at| at <= now) {
            if rekeying || early {
                // Our own rekey collides with the peer's. Which one wins is known when it is answered.
                child.switch_at = Some(now + SWITCH_FALLBACK);
            } else {
                info!(spi = %format_args!("{spi:08x}"), "peer has not deleted the old Child SA, moving on");
                let replaced = child.origin.replaces;
                self.switch_to(ctx, spi);
                if let Some(replaced) = replaced.and_then(|replaced| self.child_mut(replaced)) {
                    replaced.abandon_at = Some(now + ABANDON_AFTER);
                }
            }
        } else if child.abandon_at.is_some_and(|at| at <= now) && !child.is_deleting() {
            child.delete = DeleteProgress::Wanted;
        }
    }

    /// A Child SA made by a rekey of the peer: traffic moves there when the peer deletes the old one.
    pub(super) fn await_switch(&mut self, now: Instant, mut child: Child) {
        child.switch_at = Some(now + SWITCH_FALLBACK);
        child.unknown_until = Some(now + REPEATS_LAST);
        self.children.push(child);
    }

    /// The peer asks for something else, so it has our last answer.
    pub(super) fn peer_has_answer(&mut self, ctx: &mut Context<'_>) {
        for child in &mut self.children {
            child.unknown_until = None;
        }
        self.use_resources(ctx);
    }

    /// The peer repeats its request. If that was a rekey, it cannot receive with the new Child SA yet, and may be slow
    /// to ask again.
    pub(super) fn peer_still_waits(&mut self, ctx: &Context<'_>) {
        let waits = |child: &&mut Child| child.switch_at.is_some() && ctx.now < child.created + REPEATS_LAST;
        for child in self.children.iter_mut().filter(waits) {
            child.switch_at = Some(ctx.now + ctx.config.retransmit.max + SWITCH_FALLBACK);
        }
    }
}

/// When an IKE SA that begins now is rekeyed, and when it ends.
fn ike_lifetime(ctx: &mut Context<'_>, config: &PeerConfig) -> (Instant, Instant) {
    let jitter = ctx.random_up_to(config.jitter_of(config.ike_lifetime));
    let rekeyed_after = config.ike_lifetime.saturating_sub(jitter);
    (ctx.now + rekeyed_after, ctx.now + config.ike_lifetime + config.rekey_margin)
}

fn delete_of(spis: Vec<u32>) -> crate::wire::Delete {
    crate::wire::Delete::ChildSas { protocol: crate::wire::ProtocolId::ESP, spis }
}
