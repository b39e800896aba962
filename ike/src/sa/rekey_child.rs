//! CREATE_CHILD_SA: Child SAs and their rekeying in both roles, and its collisions (RFC 7296 §1.3.1, §1.3.3, §2.8, §2.25).
//!
//! No packet is lost: an SA is always ready to receive before the other end may send to it, and stays ready for a while
//! after the other end has stopped. The end that asks moves its traffic when the answer arrives and then deletes the
//! old Child SA; the other end moves when it sees that delete.

use tracing::{debug, info};

use crate::crypto::{DhGroup, DhKeyPair};
use crate::proposal::EspProposal;
use crate::proposal_choice::{ChildExchange, check_esp_answer, choose_esp, describe, esp_offer};
use crate::sa::auth::{esp_spi, why_no_child};
use crate::sa::child::{Child, DeleteProgress, Terms};
use crate::sa::context::{Context, Notice};
use crate::sa::established::{ABANDON_AFTER, Established, Pending};
use crate::sa::init::{Nonces, group_of_notification, key_exchange_payload};
use crate::sa::payloads::Payloads;
use crate::sa::places::{EVERYTHING, resource_info};
use crate::sa::selectors::{ChildSelectors, NO_SELECTORS};
use crate::sa::{IkeSa, Phase};
use crate::wire::{ExchangeType, Notify, NotifyType, Payload, Proposal, ProtocolId};

/// Child SAs of one place at once: the old one and both of a collision.
const MAX_CHILDREN: usize = 3;
/// More rounds of other groups than any honest responder asks for.
const MAX_RESTARTS: u8 = 4;

/// A rekey that waits for its answer.
pub(crate) struct RekeySent {
    /// Our SPI of the Child SA to replace, `None` when a Child SA is asked for because there is none.
    pub(super) replaces: Option<u32>,
    /// Where the new one belongs.
    pub(super) place: usize,
    /// Our SPI of the new one.
    inbound_spi: u32,
    nonce: Vec<u8>,
    key_pair: Option<DhKeyPair>,
    restarts: u8,
}

impl RekeySent {
    /// Another Child SA of a resource is asked for.
    pub(super) fn asks_for_resource(&self) -> bool {
        self.replaces.is_none() && self.place != EVERYTHING
    }
}

impl IkeSa {
    /// Starts to rekey the active Child SA of a place. The window must be free.
    pub(super) fn start_rekey(&mut self, ctx: &mut Context<'_>, place: usize) {
        let Phase::Established(established) = &self.phase else { return };
        let replaces = established.places.get(place).active;
        self.ask_for_child(ctx, Some(replaces), place);
    }

    /// Asks for a Child SA because there is none at this place. The window must be free.
    pub(super) fn start_new_child(&mut self, ctx: &mut Context<'_>, place: usize) {
        self.ask_for_child(ctx, None, place);
    }

    fn ask_for_child(&mut self, ctx: &mut Context<'_>, replaces: Option<u32>, place: usize) {
        let Phase::Established(established) = &self.phase else { return };
        // The peer has accepted the group of the last rekey, or else that of the IKE SA, before.
        let known = replaces.map_or_else(|| established.active(EVERYTHING), |old| established.child(old));
        let last = known.and_then(|child| child.suite.group);
        let known = last.unwrap_or(self.protection().suite.group);
        let mut groups = self.config.esp_proposals.iter().flat_map(|proposal| &proposal.groups).copied();
        let group = if groups.clone().any(|group| group == known) { Some(known) } else { groups.next() };
        self.send_rekey(ctx, (replaces, place), group, 0);
    }

    fn send_rekey(
        &mut self,
        ctx: &mut Context<'_>,
        (replaces, place): (Option<u32>, usize),
        group: Option<DhGroup>,
        restarts: u8,
    ) {
        let Phase::Established(established) = &mut self.phase else { return };
        let key_pair = group.map(|group| DhKeyPair::generate(group, ctx.rng));
        let sent =
            RekeySent { replaces, place, inbound_spi: ctx.esp_spi(), nonce: ctx.nonce(), key_pair, restarts };
        let proposals = established.proposals(&self.config.esp_proposals, replaces, place);
        let offer = esp_offer(&proposals, sent.inbound_spi, ChildExchange::Create(group));
        let rekeyed = replaces.map(|old| Notify::esp(NotifyType::REKEY_SA, old));
        let wants_several = replaces.is_none() && established.places.count() > 1;
        let info = (wants_several || established.places.agreed).then(|| resource_info(place));
        let mut payloads: Vec<_> = rekeyed.into_iter().chain(info).map(Payload::Notify).collect();
        payloads.push(Payload::SecurityAssociation(offer));
        payloads.push(Payload::Nonce(sent.nonce.clone()));
        payloads.extend(sent.key_pair.as_ref().map(key_exchange_payload));
        let first = established.active(EVERYTHING).filter(|_| replaces.is_none() && place != EVERYTHING);
        let selectors =
            first.map_or_else(|| ChildSelectors::wanted(&self.config), |first| first.selectors.clone());
        payloads.extend(selectors.offer());
        debug!(peer = %self.peer, rekey = replaces.is_some(), place, "asking for a Child SA");
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
        let info = found.notification(NotifyType::SA_RESOURCE_INFO);
        let selectors = ChildSelectors::narrowed(found, &self.config);
        let place = match (replaces.and_then(|old| established.child(old)), &selectors) {
            (Some(old), _) => old.place,
            (None, Some(selectors)) => established.place_for(info, selectors)?,
            (None, None) => EVERYTHING,
        };
        let acceptable = established.proposals(&self.config.esp_proposals, replaces, place);
        let offered_group = found.key_exchange().and_then(|exchange| DhGroup::from_id(exchange.group));
        let exchange = ChildExchange::Create(offered_group);
        let choice = choose_esp(proposals, &acceptable, exchange).map_err(|mismatch| {
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
        let Some(selectors) = selectors else {
            ctx.notify(Notice::Problem(format!("{asked} refused: {NO_SELECTORS}")));
            return Err(refuse(NotifyType::TS_UNACCEPTABLE));
        };
        let Phase::Established(established) = &self.phase else {
            return Err(refuse(NotifyType::TEMPORARY_FAILURE));
        };
        if replaces.is_none()
            && place == EVERYTHING
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
                place,
            },
        );
        let mut told = None;
        if let Phase::Established(established) = &mut self.phase {
            let inbound_spi = child.inbound_spi;
            established.await_switch(ctx.now, child);
            if place == EVERYTHING && established.active(EVERYTHING).is_none() {
                established.switch_to(ctx, inbound_spi);
            }
            if replaces.is_none() {
                established.joined(ctx, place, info.is_some(), false);
            }
            told = info.filter(|_| established.places.agreed).map(|_| resource_info(place));
        }
        let mut payloads = vec![Payload::SecurityAssociation(vec![answer]), Payload::Nonce(nonces.responder)];
        payloads.extend(key_pair.as_ref().map(key_exchange_payload));
        payloads.extend(selectors.answer());
        payloads.extend(told.map(Payload::Notify));
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
            let settled =
                established.places.get(sent.place).active != old || established.successor(old).is_some();
            if settled || established.child(old).is_none_or(Child::is_deleting) {
                return self.replace_lost_child(ctx, "peer deleted the Child SA");
            }
        } else if sent.place == EVERYTHING && established.active(EVERYTHING).is_some() {
            return;
        }
        let wish = match sent.replaces {
            Some(_) => &mut established.places.get_mut(sent.place).rekey,
            None if sent.place == EVERYTHING => &mut established.new_child,
            None => &mut established.places.more,
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
                    return self.send_rekey(ctx, (sent.replaces, sent.place), Some(group), sent.restarts + 1);
                }
                wish.ask_later(ctx);
                if sent.asks_for_resource() {
                    established.places.stop();
                }
                ctx.notify(Notice::Problem(
                    "rekeying refused: the peer wants a group we do not offer".to_owned(),
                ));
            }
            error if sent.asks_for_resource() => {
                if let Some(reason) = established.resource_refused(ctx, error) {
                    info!(peer = %self.peer, %reason);
                    ctx.notify(Notice::Problem(reason));
                }
                self.replace_lost_child(ctx, "peer deleted the Child SA");
            }
            NotifyType::TEMPORARY_FAILURE => {
                wish.ask_soon(ctx);
            }
            // There is nothing to delete at the peer (RFC 7296 §2.25).
            NotifyType::CHILD_SA_NOT_FOUND if sent.replaces.is_some() => {
                sent.replaces.into_iter().for_each(|old| established.remove(ctx, old));
                if sent.place != EVERYTHING {
                    return established.places.more.want();
                }
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
                wish.ask_later(ctx);
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
        let Phase::Established(established) = &self.phase else { return Ok(()) };
        let offered = established.proposals(&self.config.esp_proposals, sent.replaces, sent.place);
        let choice =
            check_esp_answer(proposals, &offered, exchange).map_err(|mismatch| mismatch.to_string())?;
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
        let one_of_several = found.notification(NotifyType::SA_RESOURCE_INFO).is_some();
        self.add_rekeyed(
            ctx,
            one_of_several,
            &Terms {
                suite: choice.suite,
                shared: shared.as_ref(),
                nonces: &nonces,
                inbound_spi: sent.inbound_spi,
                outbound_spi,
                ours: true,
                replaces: sent.replaces,
                selectors,
                place: sent.place,
            },
        );
        Ok(())
    }

    /// Puts a Child SA from our rekey into its place. When the peer has rekeyed the same one, the Child SA with the
    /// lowest of the four nonces loses, and who asked for it deletes it (RFC 7296 §2.8.1).
    fn add_rekeyed(&mut self, ctx: &mut Context<'_>, one_of_several: bool, terms: &Terms<'_>) {
        let mut child = self.new_child(ctx, terms);
        let Phase::Established(established) = &mut self.phase else { return };
        let inbound_spi = child.inbound_spi;
        if terms.replaces.is_none()
            && terms.place != EVERYTHING
            && !(one_of_several && established.is_alike(&child))
        {
            info!(peer = %self.peer, "peer does not take the Child SA for one of a single resource, it is deleted");
            established.places.stop();
            child.delete = DeleteProgress::Wanted;
            established.children.push(child);
            return;
        }
        let colliding = |other: &&mut Child| {
            !other.origin.ours
                && other.place == terms.place
                && other.origin.replaces == terms.replaces
                && !other.is_deleting()
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
        } else if established.is_past(terms.replaces, terms.place) {
            debug!(peer = %self.peer, "rekeys collided, and the peer has gone on from its own");
            child.delete = DeleteProgress::Wanted;
            established.children.push(child);
            return;
        }
        established.children.push(child);
        established.switch_to(ctx, inbound_spi);
        if terms.replaces.is_none() {
            established.joined(ctx, terms.place, one_of_several, true);
        }
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
    fn is_past(&self, replaced: Option<u32>, place: usize) -> bool {
        replaced.is_some_and(|old| old != self.places.get(place).active) && self.active(place).is_some()
    }

    /// What is offered and accepted for a Child SA. The first one of a resource is to be like the one for everything
    /// (RFC 9611).
    fn proposals(&self, configured: &[EspProposal], replaces: Option<u32>, place: usize) -> Vec<EspProposal> {
        let first = self.active(EVERYTHING).filter(|_| replaces.is_none() && place != EVERYTHING);
        let Some(suite) = first.map(|first| first.suite) else { return configured.to_vec() };
        let fits = |one: &&EspProposal| one.encryption.contains(&suite.aead) && one.esn.contains(&suite.esn);
        let alike = |one: &EspProposal| EspProposal {
            encryption: vec![suite.aead],
            groups: one.groups.clone(),
            esn: vec![suite.esn],
        };
        configured.iter().filter(fits).map(alike).collect()
    }

    /// Whether a Child SA is for what the one for everything is for.
    fn is_alike(&self, child: &Child) -> bool {
        self.active(EVERYTHING).is_none_or(|first| first.selectors.is_same(&child.selectors))
    }

    /// A Child SA that replaces none is in its place. `one_of_several`: the end that did not ask for it says so, too.
    fn joined(&mut self, ctx: &mut Context<'_>, place: usize, one_of_several: bool, ours: bool) {
        if place != EVERYTHING {
            self.resource_added(ctx, ours);
        } else if one_of_several && self.places.count() > 1 {
            self.places.agreed = true;
        }
    }

    /// Whether the peer may have another Child SA: one that can take the place of the present one, since the data plane
    /// has one outbound SA for everything.
    fn has_room_for(&self, selectors: &ChildSelectors) -> Result<(), String> {
        let Some(active) = self.active(EVERYTHING).filter(|active| !active.is_deleting()) else {
            return Ok(());
        };
        if !selectors.covers(&active.selectors) {
            let (asked, present) = (selectors.describe(), active.selectors.describe());
            return Err(format!(
                "another Child SA of the peer refused: there is one at a time, for {present}; the peer wants {asked} besides"
            ));
        }
        let present = self.count_at(EVERYTHING);
        if present >= MAX_CHILDREN - 1 {
            return Err(format!(
                "another Child SA of the peer refused: it has {present} already and deletes none"
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
        let busy = !self.is_active(child)
            || child.is_deleting()
            || self.successor(spi).is_some()
            || self.count_at(child.place) >= MAX_CHILDREN;
        if busy { Err(Notify::new(NotifyType::TEMPORARY_FAILURE, [])) } else { Ok(spi) }
    }
}
