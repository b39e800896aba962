//! CREATE_CHILD_SA: rekeying of the IKE SA in both roles and its collisions (RFC 7296 §1.3.2, §2.8.2, §2.18, §2.25.2).
//!
//! The new IKE SA inherits the Child SAs, which go on untouched. The end that asked hands them over when the answer
//! arrives and then deletes the old IKE SA; the other end hands them over when it answers. When both ask at once, they
//! are handed over as soon as both answers are known: of the two new IKE SAs the one with the lowest nonce loses.

use std::time::{Duration, Instant};

use tracing::{debug, info};

use crate::crypto::{DhGroup, DhKeyPair, KeyExchange, SharedSecret};
use crate::proposal_choice::{IkeSuite, check_ike_answer, choose_ike, describe, ike_offer};
use crate::sa::context::{Context, Notice, ike_spi};
use crate::sa::established::{Established, Pending};
use crate::sa::exchange::Window;
use crate::sa::init::{Nonces, group_of_notification, key_exchange_payload};
use crate::sa::payloads::Payloads;
use crate::sa::protection::Protection;
use crate::sa::{Fragments, IkeSa, Phase, delete_ike_sa};
use crate::wire::{ExchangeType, Notify, NotifyType, Payload, Proposal};

/// More rounds of other groups than any honest responder asks for.
const MAX_RESTARTS: u8 = 4;
/// How long an IKE SA without Child SAs waits for the end whose part it is to delete it: longer than common
/// implementations repeat a request, since a delete in the midst of a rekey reads as the end of the connection.
const BARE_FOR: Duration = Duration::from_mins(3);
/// The peer cannot rekey faster than this, which bounds the number of IKE SAs that wait to be deleted.
const MIN_AGE: Duration = Duration::from_secs(1);

/// A rekey of the IKE SA that waits for its answer.
pub(crate) struct IkeRekeySent {
    /// Our SPI of the new IKE SA.
    spi: u64,
    nonce: Vec<u8>,
    key_pair: DhKeyPair,
    restarts: u8,
    /// The peer has asked for the same meanwhile.
    rival: Option<Rival>,
}

/// An IKE SA that a rekey of the peer has made while ours is under way.
struct Rival {
    /// Our SPI of it.
    spi: u64,
    lowest_nonce: Vec<u8>,
}

/// A completed rekey of our own.
struct Rekeyed {
    sa: IkeSa,
    lowest_nonce: Vec<u8>,
}

/// What both ends agreed on for the new IKE SA.
struct Terms<'a> {
    suite: IkeSuite,
    shared: &'a SharedSecret,
    nonces: &'a Nonces,
    spi_i: u64,
    spi_r: u64,
    /// We asked, so we are the original initiator of the new IKE SA.
    ours: bool,
}

impl IkeSa {
    /// Starts to rekey this IKE SA. The window must be free.
    pub(super) fn start_ike_rekey(&mut self, ctx: &mut Context<'_>) {
        // The peer has accepted the group of this IKE SA before.
        let known = self.protection().suite.group;
        let mut groups = self.config.ike_proposals.iter().flat_map(|proposal| &proposal.groups).copied();
        let group = if groups.clone().any(|group| group == known) { Some(known) } else { groups.next() };
        if let Some(group) = group {
            self.send_ike_rekey(ctx, group, 0);
        }
    }

    fn send_ike_rekey(&mut self, ctx: &mut Context<'_>, group: DhGroup, restarts: u8) {
        let Phase::Established(established) = &mut self.phase else { return };
        let sent = IkeRekeySent {
            spi: ike_spi(ctx.rng),
            nonce: ctx.nonce(),
            key_pair: DhKeyPair::generate(group, ctx.rng),
            restarts,
            rival: None,
        };
        let mut offer = ike_offer(&self.config.ike_proposals);
        for proposal in &mut offer {
            proposal.spi = sent.spi.to_be_bytes().to_vec();
        }
        let payloads = vec![
            Payload::SecurityAssociation(offer),
            Payload::Nonce(sent.nonce.clone()),
            key_exchange_payload(&sent.key_pair),
        ];
        debug!(peer = %self.peer, "rekeying the IKE SA");
        established.pending = Some(Pending::RekeyIke(Box::new(sent)));
        self.request(ctx, ExchangeType::CREATE_CHILD_SA, payloads);
    }

    /// Answers a request to rekey this IKE SA.
    pub(super) fn ike_rekey_as_responder(
        &mut self,
        ctx: &mut Context<'_>,
        payloads: &[Payload],
    ) -> Result<Vec<Payload>, Notify> {
        let found = Payloads(payloads);
        let refuse = |kind| Notify::new(kind, []);
        let Phase::Established(established) = &self.phase else {
            return Err(refuse(NotifyType::TEMPORARY_FAILURE));
        };
        if !established.lets_peer_rekey_ike(ctx.now) {
            return Err(refuse(NotifyType::TEMPORARY_FAILURE));
        }
        let invalid = || refuse(NotifyType::INVALID_SYNTAX);
        let (Some(proposals), Some(nonce), Some(exchange)) =
            (found.proposals(), found.nonce(), found.key_exchange())
        else {
            return Err(invalid());
        };
        let offered: Vec<_> = proposals.iter().filter_map(without_spi).collect();
        let plain: Vec<_> = offered.iter().map(|(proposal, _)| proposal.clone()).collect();
        let choice = choose_ike(&plain, &self.config.ike_proposals, DhGroup::from_id(exchange.group))
            .map_err(|mismatch| {
                info!(peer = %self.peer, %mismatch, "IKE proposal refused");
                ctx.notify(Notice::Problem(format!(
                    "rekeying of the IKE SA by the peer refused: {mismatch}"
                )));
                refuse(NotifyType::NO_PROPOSAL_CHOSEN)
            })?;
        let chosen = offered.iter().find(|(proposal, _)| proposal.number == choice.proposal.number);
        let spi_i = chosen.map(|(_, spi)| *spi).ok_or_else(invalid)?;
        let group = choice.suite.group;
        if group.id() != exchange.group {
            return Err(Notify::new(NotifyType::INVALID_KE_PAYLOAD, group.id().to_be_bytes()));
        }
        let key_pair = DhKeyPair::generate(group, ctx.rng);
        let shared = key_pair.agree(&exchange.data).map_err(|_| invalid())?;
        let spi_r = ike_spi(ctx.rng);
        let nonces = Nonces { initiator: nonce.to_vec(), responder: ctx.nonce() };
        let terms =
            Terms { suite: choice.suite, shared: &shared, nonces: &nonces, spi_i, spi_r, ours: false };
        let sa = self.rekeyed(ctx, &terms).ok_or_else(invalid)?;
        ctx.notify(Notice::Successor(Box::new(sa)));
        let lowest_nonce = nonces.lowest().to_vec();
        match &mut self.phase {
            Phase::Established(established) if established.rekeys_ike() => {
                debug!(peer = %self.peer, "both ends rekey the IKE SA");
                established.set_rival(Rival { spi: spi_r, lowest_nonce });
            }
            _ => self.hand_over(ctx, spi_r, Phase::Bare { until: ctx.now + BARE_FOR }),
        }
        let answer = Proposal { spi: spi_r.to_be_bytes().to_vec(), ..choice.proposal };
        Ok(vec![
            Payload::SecurityAssociation(vec![answer]),
            Payload::Nonce(nonces.responder),
            key_exchange_payload(&key_pair),
        ])
    }

    /// Takes the answer to our rekey of this IKE SA.
    pub(super) fn handle_ike_rekey_response(
        &mut self,
        ctx: &mut Context<'_>,
        sent: &IkeRekeySent,
        payloads: &[Payload],
    ) {
        if let Some(error) = Payloads(payloads).error() {
            match &sent.rival {
                // The peer was faster, and does not rekey what it has replaced.
                Some(rival) => self.hand_over(ctx, rival.spi, Phase::Bare { until: ctx.now + BARE_FOR }),
                None => self.ike_rekey_refused(ctx, sent, error),
            }
            return;
        }
        match (self.complete_ike_rekey(ctx, sent, payloads), &sent.rival) {
            (Ok(rekeyed), Some(rival)) if rival.lowest_nonce > rekeyed.lowest_nonce => {
                debug!(peer = %self.peer, "rekeys of the IKE SA collided, the peer's wins");
                delete_unused(ctx, rekeyed.sa);
                self.hand_over(ctx, rival.spi, Phase::Bare { until: ctx.now + BARE_FOR });
            }
            (Ok(rekeyed), _) => {
                let heir = rekeyed.sa.local_spi();
                ctx.notify(Notice::Successor(Box::new(rekeyed.sa)));
                let deleting = Phase::Closing { told: false, message: vec![delete_ike_sa()], rekey: None };
                self.hand_over(ctx, heir, deleting);
            }
            (Err(_), Some(rival)) => {
                self.hand_over(ctx, rival.spi, Phase::Bare { until: ctx.now + BARE_FOR });
            }
            // The peer holds an IKE SA that we cannot use.
            (Err(reason), None) => {
                self.close(ctx, Vec::new(), format!("rekeying of the IKE SA failed: {reason}"));
            }
        }
    }

    /// The answer to a rekey that was under way when this IKE SA was given up: what it has made must go too.
    pub(super) fn delete_rekeyed(
        &mut self,
        ctx: &mut Context<'_>,
        sent: &IkeRekeySent,
        payloads: &[Payload],
    ) {
        if Payloads(payloads).error().is_none()
            && let Ok(rekeyed) = self.complete_ike_rekey(ctx, sent, payloads)
        {
            delete_unused(ctx, rekeyed.sa);
        }
    }

    /// This IKE SA ends while a rekey of the peer has made another: the Child SAs go there. Returns whether it is so.
    pub(super) fn hand_over_to_rival(&mut self, ctx: &mut Context<'_>, then: Phase) -> bool {
        let Phase::Established(established) = &self.phase else { return false };
        let Some(Pending::RekeyIke(sent)) = &established.pending else { return false };
        let Some(rival) = sent.rival.as_ref().map(|rival| rival.spi) else { return false };
        self.hand_over(ctx, rival, then);
        true
    }

    /// Takes the Child SAs of the IKE SA that this one replaces.
    pub(crate) fn inherit(&mut self, ctx: &mut Context<'_>, mut estate: Box<Established>) {
        if matches!(self.phase, Phase::Bare { .. }) {
            info!(
                peer = %self.peer,
                spi_i = %format_args!("{:016x}", self.spi_i),
                spi_r = %format_args!("{:016x}", self.spi_r),
                "IKE SA rekeyed"
            );
            estate.begin_anew(ctx, &self.config, self.initiator);
            self.phase = Phase::Established(estate);
            self.pump(ctx);
        } else {
            estate.retire(ctx);
            ctx.notify(Notice::Ended { reason: "peer deleted the IKE SA".to_owned() });
        }
    }

    /// Whether this IKE SA has been replaced, or replaces another from which it has not inherited.
    pub(super) fn is_bare(&self) -> bool {
        matches!(self.phase, Phase::Bare { .. })
    }

    /// Deletes an IKE SA without Child SAs, which the peer has not done in time.
    pub(super) fn give_up_bare(&mut self) {
        self.phase = Phase::Closing { told: false, message: vec![delete_ike_sa()], rekey: None };
    }

    fn hand_over(&mut self, ctx: &mut Context<'_>, heir: u64, then: Phase) {
        let before = self.summary().standing.map(Box::new);
        if let Phase::Established(estate) = std::mem::replace(&mut self.phase, then) {
            ctx.notify(Notice::Inherit { heir, estate, before });
        }
    }

    fn ike_rekey_refused(&mut self, ctx: &mut Context<'_>, sent: &IkeRekeySent, error: &Notify) {
        let Phase::Established(established) = &mut self.phase else { return };
        match error.kind {
            NotifyType::INVALID_KE_PAYLOAD => {
                let offered = |group: &DhGroup| {
                    self.config.ike_proposals.iter().any(|ours| ours.groups.contains(group))
                };
                let wanted = group_of_notification(&error.data).filter(offered);
                let other = wanted.filter(|group| *group != sent.key_pair.group());
                if let Some(group) = other
                    && sent.restarts < MAX_RESTARTS
                {
                    return self.send_ike_rekey(ctx, group, sent.restarts + 1);
                }
                established.ike_rekey.ask_later(ctx);
                ctx.notify(Notice::Problem(
                    "rekeying of the IKE SA refused: the peer wants a group we do not offer".to_owned(),
                ));
            }
            NotifyType::TEMPORARY_FAILURE => established.ike_rekey.ask_soon(ctx),
            kind => {
                established.ike_rekey.ask_later(ctx);
                let offered = describe(&self.config.ike_proposals);
                let reason = format!(
                    "rekeying of the IKE SA refused: peer says {}; we offered {offered}",
                    kind.name()
                );
                info!(peer = %self.peer, %reason);
                ctx.notify(Notice::Problem(reason));
            }
        }
    }

    fn complete_ike_rekey(
        &self,
        ctx: &mut Context<'_>,
        sent: &IkeRekeySent,
        payloads: &[Payload],
    ) -> Result<Rekeyed, String> {
        let found = Payloads(payloads);
        let proposals = found.proposals().ok_or("no proposal")?;
        let nonce = found.nonce().ok_or("no nonce")?;
        let exchange = found.key_exchange().ok_or("no public value")?;
        let (answer, spis): (Vec<_>, Vec<_>) = proposals.iter().filter_map(without_spi).unzip();
        let spi_r = *spis.first().ok_or("no SPI")?;
        let suite =
            check_ike_answer(&answer, &self.config.ike_proposals).map_err(|mismatch| mismatch.to_string())?;
        if suite.group != sent.key_pair.group() || suite.group.id() != exchange.group {
            return Err("the peer's public value does not fit the chosen group".to_owned());
        }
        let shared = sent.key_pair.agree(&exchange.data).map_err(|error| error.to_string())?;
        let nonces = Nonces { initiator: sent.nonce.clone(), responder: nonce.to_vec() };
        let terms = Terms { suite, shared: &shared, nonces: &nonces, spi_i: sent.spi, spi_r, ours: true };
        let sa = self.rekeyed(ctx, &terms).ok_or("no keys")?;
        Ok(Rekeyed { sa, lowest_nonce: nonces.lowest().to_vec() })
    }

    /// The IKE SA that replaces this one, still without Child SAs.
    fn rekeyed(&self, ctx: &mut Context<'_>, terms: &Terms<'_>) -> Option<Self> {
        let exchange = KeyExchange {
            shared: terms.shared,
            nonce_i: &terms.nonces.initiator,
            nonce_r: &terms.nonces.responder,
            spi_i: terms.spi_i,
            spi_r: terms.spi_r,
        };
        let protection = Protection::rekeyed(self.protection(), terms.suite, terms.ours, &exchange).ok()?;
        let sa = Self {
            peer: self.peer,
            config: self.config.clone(),
            initiator: terms.ours,
            spi_i: terms.spi_i,
            spi_r: terms.spi_r,
            path: self.path,
            first_remote: None,
            nat: self.nat,
            window: Window::rekeyed(),
            peer_identity: self.peer_identity.clone(),
            fragmentation: self.fragmentation,
            fragments: Fragments::default(),
            protection: Some(protection),
            phase: Phase::Bare { until: ctx.now + BARE_FOR },
            created: self.created,
            pump_at: None,
        };
        sa.export_keys(ctx);
        Some(sa)
    }
}

impl Established {
    /// Our own rekey of the IKE SA is under way.
    pub(super) fn rekeys_ike(&self) -> bool {
        matches!(self.pending, Some(Pending::RekeyIke(_)))
    }

    /// Nothing is under way that a rekey of the IKE SA by the peer would tear apart (RFC 7296 §2.25.1).
    fn lets_peer_rekey_ike(&self, now: Instant) -> bool {
        let unhurried = self.ike_rekeys == 0 || self.since + MIN_AGE <= now;
        unhurried
            && match &self.pending {
                None | Some(Pending::Liveness) => true,
                Some(Pending::RekeyIke(sent)) => sent.rival.is_none(),
                Some(Pending::Rekey(_) | Pending::Delete(_)) => false,
            }
    }

    fn set_rival(&mut self, rival: Rival) {
        if let Some(Pending::RekeyIke(sent)) = &mut self.pending {
            sent.rival = Some(rival);
        }
    }
}

/// Puts an IKE SA into the world that only deletes itself at the peer.
fn delete_unused(ctx: &mut Context<'_>, mut sa: IkeSa) {
    sa.phase = Phase::Closing { told: false, message: vec![delete_ike_sa()], rekey: None };
    sa.pump(ctx);
    ctx.notify(Notice::Successor(Box::new(sa)));
}

/// A proposal for an IKE SA and the sender's SPI of it: here it stands in the proposal, in IKE_SA_INIT in the header
/// (RFC 7296 §3.3.1).
fn without_spi(proposal: &Proposal) -> Option<(Proposal, u64)> {
    let spi = u64::from_be_bytes(proposal.spi.as_slice().try_into().ok()?);
    (spi != 0).then(|| (Proposal { spi: Vec::new(), ..proposal.clone() }, spi))
}
