//! CREATE_CHILD_SA: rekeying of Child SAs in both roles and its collisions (RFC 7296 §1.3.3, §2.8, §2.25).
//!
//! No packet is lost: an SA is always ready to receive before the other end may send to it, and stays ready for a while
//! after the other end has stopped. The end that asks moves its traffic when the answer arrives and then deletes the
//! old Child SA; the other end moves when it sees that delete.

use tracing::{debug, info};

use crate::crypto::{DhGroup, DhKeyPair};
use crate::proposal_choice::{ChildExchange, check_esp_answer, choose_esp, describe, esp_offer};
use crate::sa::auth::{esp_spi, why_no_child};
use crate::sa::child::{Child, DeleteProgress, Terms};
use crate::sa::context::{Context, Notice};
use crate::sa::established::{ABANDON_AFTER, Established, Pending};
use crate::sa::init::{Nonces, group_of_notification, key_exchange_payload};
use crate::sa::payloads::Payloads;
use crate::sa::selectors::{ChildSelectors, NO_SELECTORS};
use crate::sa::{IkeSa, Phase};
use crate::wire::{ExchangeType, Notify, NotifyType, Payload, Proposal, ProtocolId};

/// Child SAs of one IKE SA at once: the old one and both of a collision.
const MAX_CHILDREN: usize = 3;
/// More rounds of other groups than any honest responder asks for.
const MAX_RESTARTS: u8 = 4;

/// A rekey that waits for its answer.
pub(crate) struct RekeySent {
    /// Our SPI of the Child SA to replace, `None` when a Child SA is asked for because there is none.
    replaces: Option<u32>,
    /// Our SPI of the new one.
    inbound_spi: u32,
    nonce: Vec<u8>,
    key_pair: Option<DhKeyPair>,
    restarts: u8,
}

impl IkeSa {
    /// Starts to rekey the active Child SA. The window must be free.
    pub(super) fn start_rekey(&mut self, ctx: &mut Context<'_>) {
        let Phase::Established(established) = &self.phase else { return };
        let replaces = established.active;
        self.ask_for_child(ctx, Some(replaces));
    }

    /// Asks for a Child SA because there is none. The window must be free.
    pub(super) fn start_new_child(&mut self, ctx: &mut Context<'_>) {
        self.ask_for_child(ctx, None);
    }

    fn ask_for_child(&mut self, ctx: &mut Context<'_>, replaces: Option<u32>) {
        let Phase::Established(established) = &self.phase else { return };
        // The peer has accepted the group of the last rekey, or else that of the IKE SA, before.
        let last = replaces.and_then(|old| established.child(old)).and_then(|child| child.suite.group);
        let known = last.unwrap_or(self.protection().suite.group);
        let mut groups = self.config.esp_proposals.iter().flat_map(|proposal| &proposal.groups).copied();
        let group = if groups.clone().any(|group| group == known) { Some(known) } else { groups.next() };
        self.send_rekey(ctx, replaces, group, 0);
    }

    fn send_rekey(
        &mut self,
        ctx: &mut Context<'_>,
        replaces: Option<u32>,
        group: Option<DhGroup>,
        restarts: u8,
    ) {
        let Phase::Established(established) = &mut self.phase else { return };
        let key_pair = group.map(|group| DhKeyPair::generate(group, ctx.rng));
        let sent = RekeySent { replaces, inbound_spi: ctx.esp_spi(), nonce: ctx.nonce(), key_pair, restarts };
        let exchange = ChildExchange::Create(group);
        let offer = esp_offer(&self.config.esp_proposals, sent.inbound_spi, exchange);
        let rekeyed = replaces.map(|old| Payload::Notify(Notify::esp(NotifyType::REKEY_SA, old)));
        let mut payloads: Vec<_> = rekeyed.into_iter().collect();
        payloads.push(Payload::SecurityAssociation(offer));
        payloads.push(Payload::Nonce(sent.nonce.clone()));
        payloads.extend(sent.key_pair.as_ref().map(key_exchange_payload));
        payloads.extend(ChildSelectors::wanted(&self.config).offer());
        debug!(peer = %self.peer, rekey = replaces.is_some(), "asking for a Child SA");
        established.pending = Some(Pending::Rekey(Box::new(sent)));
        self.request(ctx, ExchangeType::CREATE_CHILD_SA, payloads);
    }

    /// Answers CREATE_CHILD_SA.
    pub(super) fn handle_rekey_request(
        &mut self,
        ctx: &mut Context<'_>,
        payloads: &[Payload],
    ) -> Vec<Payload> {
        let about_ike = |proposals: &[Proposal]| proposals.iter().any(|one| one.protocol == ProtocolId::IKE);
        let answer = if Payloads(payloads).proposals().is_some_and(about_ike) {
            self.ike_rekey_as_responder(ctx, payloads)
        } else {
            self.rekey_as_responder(ctx, payloads)
        };
        match answer {
            Ok(answer) => answer,
            Err(refusal) => {
                debug!(peer = %self.peer, error = refusal.kind.name(), "CREATE_CHILD_SA refused");
                vec![Payload::Notify(refusal)]
            }
        }
    }

    fn rekey_as_responder(
        &mut self,
        ctx: &mut Context<'_>,
        payloads: &[Payload],
    ) -> Result<Vec<Payload>, Notify> {
        let found = Payloads(payloads);
        let refuse = |kind| Notify::new(kind, []);
        let Phase::Established(established) = &self.phase else {
            return Err(refuse(NotifyType::TEMPORARY_FAILURE));
        };
        // What comes of the rekey of the IKE SA would not have the new Child SA (RFC 7296 §2.25.2).
        if established.rekeys_ike() {
            return Err(refuse(NotifyType::TEMPORARY_FAILURE));
        }
        let proposals = found.proposals().ok_or(refuse(NotifyType::INVALID_SYNTAX))?;
        let nonce = found.nonce().ok_or(refuse(NotifyType::INVALID_SYNTAX))?;
        // The peer names the SA by the SPI it receives with: our outbound one.
        let rekeyed = found.notification(NotifyType::REKEY_SA).and_then(Notify::esp_spi);
        let replaces = rekeyed.map(|outbound_spi| established.rekeyable(outbound_spi)).transpose()?;
        let asked = if replaces.is_some() { "rekeying by the peer" } else { "a Child SA of the peer" };
        let offered_group = found.key_exchange().and_then(|exchange| DhGroup::from_id(exchange.group));
        let exchange = ChildExchange::Create(offered_group);
        let choice = choose_esp(proposals, &self.config.esp_proposals, exchange).map_err(|mismatch| {
            info!(peer = %self.peer, %mismatch, "ESP proposal refused");
            ctx.notify(Notice::Problem(format!("{asked} refused: {mismatch}")));
            refuse(NotifyType::NO_PROPOSAL_CHOSEN)
        })?;
        let key_pair = choice.suite.group.map(|group| DhKeyPair::generate(group, ctx.rng));
        let shared = match (&key_pair, found.key_exchange()) {
            (None, _) => None,
            (Some(pair), Some(exchange)) if exchange.group == pair.group().id() => {
                let agreed = pair.agree(&exchange.data).map_err(|_| refuse(NotifyType::INVALID_SYNTAX))?;
                Some(agreed)
            }
            (Some(pair), _) => {
                let wanted = pair.group().id().to_be_bytes();
                return Err(Notify::new(NotifyType::INVALID_KE_PAYLOAD, wanted));
            }
        };
        let Some(selectors) = ChildSelectors::narrowed(found, &self.config) else {
            ctx.notify(Notice::Problem(format!("{asked} refused: {NO_SELECTORS}")));
            return Err(refuse(NotifyType::TS_UNACCEPTABLE));
        };
        let Phase::Established(established) = &self.phase else {
            return Err(refuse(NotifyType::TEMPORARY_FAILURE));
        };
        if replaces.is_none()
            && let Err(reason) = established.has_room_for(&selectors)
        {
            ctx.notify(Notice::Problem(reason));
            return Err(refuse(NotifyType::NO_ADDITIONAL_SAS));
        }
        let mut answer = choice.proposal;
        let outbound_spi = esp_spi(&answer).ok_or(refuse(NotifyType::INVALID_SYNTAX))?;
        let inbound_spi = ctx.esp_spi();
        answer.spi = inbound_spi.to_be_bytes().to_vec();
        let nonces = Nonces { initiator: nonce.to_vec(), responder: ctx.nonce() };
        let child = self.new_child(
            ctx,
            &Terms {
                suite: choice.suite,
                shared: shared.as_ref(),
                nonces: &nonces,
                inbound_spi,
                outbound_spi,
                ours: false,
                replaces,
                selectors: selectors.clone(),
            },
        );
        if let Phase::Established(established) = &mut self.phase {
            let inbound_spi = child.inbound_spi;
            established.await_switch(ctx.now, child);
            if established.child(established.active).is_none() {
                established.switch_to(ctx, inbound_spi);
            }
        }
        let mut payloads = vec![Payload::SecurityAssociation(vec![answer]), Payload::Nonce(nonces.responder)];
        payloads.extend(key_pair.as_ref().map(key_exchange_payload));
        payloads.extend(selectors.answer());
        Ok(payloads)
    }

    /// Takes the answer to our rekey.
    pub(super) fn handle_rekey_response(
        &mut self,
        ctx: &mut Context<'_>,
        sent: &RekeySent,
        payloads: &[Payload],
    ) {
        let found = Payloads(payloads);
        let error = found.error();
        // An error is the end of a request, also one that is unknown here (RFC 7296 §3.10.1).
        if found.proposals().is_none() || error.is_some() {
            let kind = error.map_or(NotifyType::INVALID_SYNTAX, |error| error.kind);
            let wanted = error.and_then(|error| group_of_notification(&error.data));
            self.rekey_refused(ctx, sent, kind, wanted);
            return;
        }
        match self.complete_rekey(ctx, sent, payloads) {
            Ok(()) => self.replace_lost_child(ctx, "peer deleted the Child SA"),
            // The peer holds a Child SA that we cannot use.
            Err(reason) => self.close(ctx, Vec::new(), format!("rekeying failed: {reason}")),
        }
    }

    fn rekey_refused(
        &mut self,
        ctx: &mut Context<'_>,
        sent: &RekeySent,
        error: NotifyType,
        wanted_group: Option<DhGroup>,
    ) {
        let Phase::Established(established) = &mut self.phase else { return };
        // The peer has rekeyed or deleted the old one meanwhile: nothing is left to do.
        if let Some(old) = sent.replaces {
            let settled = established.active != old || established.successor(old).is_some();
            if settled || established.child(old).is_none_or(Child::is_deleting) {
                return self.replace_lost_child(ctx, "peer deleted the Child SA");
            }
        } else if established.child(established.active).is_some() {
            return;
        }
        let wish = match sent.replaces {
            Some(_) => &mut established.child_rekey,
            None => &mut established.new_child,
        };
        match error {
            NotifyType::INVALID_KE_PAYLOAD => {
                let offered = |group: &DhGroup| {
                    self.config.esp_proposals.iter().any(|ours| ours.groups.contains(group))
                };
                let tried = sent.key_pair.as_ref().map(DhKeyPair::group);
                let acceptable = wanted_group.filter(offered).filter(|group| Some(*group) != tried);
                if let Some(group) = acceptable
                    && sent.restarts < MAX_RESTARTS
                {
                    return self.send_rekey(ctx, sent.replaces, Some(group), sent.restarts + 1);
                }
                wish.ask_later(ctx);
                ctx.notify(Notice::Problem(
                    "rekeying refused: the peer wants a group we do not offer".to_owned(),
                ));
            }
            NotifyType::TEMPORARY_FAILURE => {
                wish.ask_soon(ctx);
            }
            // There is nothing to delete at the peer (RFC 7296 §2.25).
            NotifyType::CHILD_SA_NOT_FOUND if sent.replaces.is_some() => {
                sent.replaces.into_iter().for_each(|old| established.remove(ctx, old));
                // The peer may not see what is wrong, so another one is asked for in any mode.
                established.new_child.want();
                self.replace_lost_child(ctx, "peer does not know the Child SA any more");
            }
            // With terms that fit later, or an answer of the peer that is not for ever.
            kind if sent.replaces.is_none()
                && !established.had_child
                && kind != NotifyType::NO_ADDITIONAL_SAS =>
            {
                wish.ask_later(ctx);
                established.lacks_child(ctx, why_no_child(&self.config, kind));
            }
            kind if sent.replaces.is_none() => {
                // With a new IKE SA comes a Child SA, perhaps on terms that the peer accepts.
                let offered = describe(&self.config.esp_proposals);
                let said = kind.name();
                let reason = format!("peer refused another Child SA: it says {said}; we offered {offered}");
                self.close(ctx, Vec::new(), reason);
            }
            kind => {
                let offered = describe(&self.config.esp_proposals);
                established.child_rekey.ask_later(ctx);
                let reason = format!("rekeying refused: peer says {}; we offered {offered}", kind.name());
                info!(peer = %self.peer, %reason);
                ctx.notify(Notice::Problem(reason));
            }
        }
    }

    fn complete_rekey(
        &mut self,
        ctx: &mut Context<'_>,
        sent: &RekeySent,
        payloads: &[Payload],
    ) -> Result<(), String> {
        let found = Payloads(payloads);
        let proposals = found.proposals().ok_or("no proposal")?;
        let nonce = found.nonce().ok_or("no nonce")?;
        let tried = sent.key_pair.as_ref().map(DhKeyPair::group);
        let exchange = ChildExchange::Create(tried);
        let choice = check_esp_answer(proposals, &self.config.esp_proposals, exchange)
            .map_err(|mismatch| mismatch.to_string())?;
        let shared = match (choice.suite.group, &sent.key_pair, found.key_exchange()) {
            (None, _, _) => None,
            (Some(group), Some(pair), Some(public))
                if group == pair.group() && group.id() == public.group =>
            {
                Some(pair.agree(&public.data).map_err(|error| error.to_string())?)
            }
            _ => return Err("the peer's public value does not fit the chosen group".to_owned()),
        };
        let selectors = ChildSelectors::answered(found, &self.config)?;
        let outbound_spi = esp_spi(&choice.proposal).ok_or("invalid SPI")?;
        let nonces = Nonces { initiator: sent.nonce.clone(), responder: nonce.to_vec() };
        self.add_rekeyed(
            ctx,
            &Terms {
                suite: choice.suite,
                shared: shared.as_ref(),
                nonces: &nonces,
                inbound_spi: sent.inbound_spi,
                outbound_spi,
                ours: true,
                replaces: sent.replaces,
                selectors,
            },
        );
        Ok(())
    }

    /// Puts a Child SA from our rekey into its place. When the peer has rekeyed the same one, the Child SA with the
    /// lowest of the four nonces loses, and who asked for it deletes it (RFC 7296 §2.8.1).
    fn add_rekeyed(&mut self, ctx: &mut Context<'_>, terms: &Terms<'_>) {
        let mut child = self.new_child(ctx, terms);
        let Phase::Established(established) = &mut self.phase else { return };
        let inbound_spi = child.inbound_spi;
        let colliding = |other: &&mut Child| {
            !other.origin.ours && other.origin.replaces == terms.replaces && !other.is_deleting()
        };
        if let Some(rival) = established.children.iter_mut().find(colliding) {
            if rival.origin.lowest_nonce > child.origin.lowest_nonce {
                debug!(peer = %self.peer, "rekeys collided, the peer's wins");
                child.delete = DeleteProgress::Wanted;
                established.children.push(child);
                return;
            }
            debug!(peer = %self.peer, "rekeys collided, ours wins");
            rival.switch_at = None;
            rival.abandon_at = Some(ctx.now + ABANDON_AFTER);
        } else if established.is_past(terms.replaces) {
            debug!(peer = %self.peer, "rekeys collided, and the peer has gone on from its own");
            child.delete = DeleteProgress::Wanted;
            established.children.push(child);
            return;
        }
        established.children.push(child);
        established.switch_to(ctx, inbound_spi);
        if let Some(old) = terms.replaces.and_then(|old| established.child_mut(old))
            && old.delete == DeleteProgress::None
        {
            old.delete = DeleteProgress::Wanted;
        }
    }
}

impl Established {
    /// Whether the Child SA that was to be replaced is gone and another one carries traffic: the peer's rekey of it has won,
    /// and what came of that may have been rekeyed in turn, before the answer to ours arrived.
    fn is_past(&self, replaced: Option<u32>) -> bool {
        replaced.is_some_and(|old| old != self.active) && self.child(self.active).is_some()
    }

    /// Whether the peer may have another Child SA: one that can take the place of the present one, since the data plane
    /// has one outbound SA.
    fn has_room_for(&self, selectors: &ChildSelectors) -> Result<(), String> {
        let Some(active) = self.child(self.active).filter(|active| !active.is_deleting()) else {
            return Ok(());
        };
        if !selectors.covers(&active.selectors) {
            let (asked, present) = (selectors.describe(), active.selectors.describe());
            return Err(format!(
                "another Child SA of the peer refused: there is one at a time, for {present}; the peer wants {asked} besides"
            ));
        }
        if self.children.len() >= MAX_CHILDREN - 1 {
            return Err(format!(
                "another Child SA of the peer refused: it has {} already and deletes none",
                self.children.len()
            ));
        }
        Ok(())
    }

    /// Our SPI of the Child SA the peer wants to rekey, or why not (RFC 7296 §2.25.1).
    fn rekeyable(&self, outbound_spi: u32) -> Result<u32, Notify> {
        let child = self
            .children
            .iter()
            .find(|child| child.outbound_spi == outbound_spi)
            .ok_or(Notify::esp(NotifyType::CHILD_SA_NOT_FOUND, outbound_spi))?;
        let spi = child.inbound_spi;
        let busy = spi != self.active
            || child.is_deleting()
            || self.successor(spi).is_some()
            || self.children.len() >= MAX_CHILDREN;
        if busy { Err(Notify::new(NotifyType::TEMPORARY_FAILURE, [])) } else { Ok(spi) }
    }
}
