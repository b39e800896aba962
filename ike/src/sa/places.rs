//! What the Child SAs of an IKE SA are for: one carries everything, others may carry the traffic of one resource each
//! (RFC 9611).
//!
//! The Child SA for everything comes first and stays as what RFC 9611 advises: the one that every resource can use while
//! it has none of its own. Which resource a Child SA belongs to is each end's own affair; a rekey leaves it as it is.

use std::time::{Duration, Instant};

use crate::config::PeerConfig;
use crate::sa::child::{Child, DeleteProgress};
use crate::sa::context::{Context, Notice};
use crate::sa::established::{Established, Pending};
use crate::sa::selectors::ChildSelectors;
use crate::sa::wish::Wish;
use crate::wire::{Notify, NotifyType};

/// The place of the Child SA for everything.
pub(crate) const EVERYTHING: usize = 0;

/// How long the responder of the IKE SA leaves it to the initiator to ask for Child SAs of resources.
const INITIATOR_FIRST: Duration = Duration::from_secs(10);
/// So many TEMPORARY_FAILUREs in a row are a refusal.
const MAX_TEMPORARY_FAILURES: u32 = 6;

/// Every place for a Child SA: the one for everything, then one for each resource.
pub(crate) struct Places {
    list: Vec<Place>,
    /// Both ends want Child SAs of resources.
    pub(super) agreed: bool,
    /// The peer refuses more of them, or deletes them.
    stopped: bool,
    /// To have another one of them.
    pub(super) more: Wish,
}

/// A place for a Child SA, and for its successor while it is rekeyed.
#[derive(Default)]
pub(crate) struct Place {
    /// Our SPI of the Child SA that carries its traffic, or will once its outbound half is released. Zero, the SPI of none, at
    /// first.
    pub(super) active: u32,
    pub(super) rekeys: u64,
    /// To rekey the active Child SA.
    pub(super) rekey: Wish,
}

/// The resource that a place is for, `None` for the one for everything.
pub(crate) fn resource_of(place: usize) -> Option<u32> {
    u32::try_from(place.checked_sub(1)?).ok()
}

impl Places {
    /// With the first Child SA, if there is one. `agreed`: both ends want Child SAs of resources.
    pub(super) fn new(
        ctx: &mut Context<'_>,
        config: &PeerConfig,
        first: Option<&Child>,
        initiator: bool,
        agreed: bool,
    ) -> Self {
        let mut list: Vec<_> = (0..=config.resources()).map(|_| Place::default()).collect();
        list[EVERYTHING].active = first.map_or(0, |child| child.inbound_spi);
        let mut places = Self { list, agreed, stopped: false, more: Wish::default() };
        places.begin_anew(ctx, initiator);
        places
    }

    /// A new IKE SA: what was refused may be asked for again.
    pub(super) fn begin_anew(&mut self, ctx: &mut Context<'_>, initiator: bool) {
        self.stopped = false;
        self.more.fulfilled();
        if initiator {
            self.more.want();
        } else {
            self.leave_to_peer(ctx);
        }
    }

    pub(super) fn get(&self, place: usize) -> &Place {
        &self.list[place]
    }

    pub(super) fn get_mut(&mut self, place: usize) -> &mut Place {
        &mut self.list[place]
    }

    pub(super) fn count(&self) -> usize {
        self.list.len()
    }

    /// Asks for no more Child SAs of resources in this IKE SA.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// The peer asks for Child SAs of resources itself, or soon may.
    fn leave_to_peer(&mut self, ctx: &mut Context<'_>) {
        let jitter = ctx.random_up_to(INITIATOR_FIRST / 2);
        self.more.ask_at(ctx.now + INITIATOR_FIRST + jitter);
    }
}

impl Child {
    /// It belongs to a resource, and has not come out of a rekey.
    pub(super) fn is_first_of_resource(&self) -> bool {
        self.place != EVERYTHING && self.origin.replaces.is_none()
    }
}

impl Established {
    /// The Child SA that carries the traffic of a place.
    pub(super) fn active(&self, place: usize) -> Option<&Child> {
        self.child(self.places.get(place).active)
    }

    /// Those that carry traffic.
    pub(super) fn all_active(&self) -> impl Iterator<Item = &Child> {
        (0..self.places.count()).filter_map(|place| self.active(place))
    }

    pub(super) fn is_active(&self, child: &Child) -> bool {
        self.places.get(child.place).active == child.inbound_spi
    }

    /// How many Child SAs there are at a place, whatever becomes of them.
    pub(super) fn count_at(&self, place: usize) -> usize {
        self.children.iter().filter(|child| child.place == place).count()
    }

    /// When to ask for another Child SA of a resource, and where it goes; `None` while there is no place for it. The Child SA
    /// for everything is in use by then, so that there is no question which IKE SA counts.
    pub(super) fn next_resource(&self) -> Option<(Instant, usize)> {
        if !self.places.agreed || self.places.stopped || !self.is_in_use() {
            return None;
        }
        Some((self.places.more.due_if_wanted(self.since)?, self.free_place()?))
    }

    /// A place for another Child SA that the peer asks for with this notification, which is for what the one for
    /// everything is for.
    pub(super) fn place_for(
        &self,
        info: Option<&Notify>,
        selectors: &ChildSelectors,
    ) -> Result<usize, Notify> {
        let Some(first) = self.active(EVERYTHING).filter(|first| !first.is_deleting()) else {
            return Ok(EVERYTHING);
        };
        if info.is_none() || !self.places.agreed || !selectors.is_same(&first.selectors) {
            return Ok(EVERYTHING);
        }
        self.free_place().ok_or_else(|| {
            // Ours may come to nothing. The two ends ask again at different times.
            let error = if self.asks_for_resource() {
                NotifyType::TEMPORARY_FAILURE
            } else {
                NotifyType::TS_MAX_QUEUE
            };
            Notify::new(error, [])
        })
    }

    /// A Child SA of a resource has come about, whoever asked for it.
    pub(super) fn resource_added(&mut self, ctx: &mut Context<'_>, ours: bool) {
        self.places.more.fulfilled();
        if !ours {
            return self.places.leave_to_peer(ctx);
        }
        self.places.more.want();
        // With the next request the peer knows that we can receive with the Child SA. There is no other one after the last.
        self.probe_wanted |= self.free_place().is_none();
    }

    /// The peer has refused a Child SA of a resource. Returns what a human should know.
    pub(super) fn resource_refused(&mut self, ctx: &mut Context<'_>, error: NotifyType) -> Option<String> {
        match error {
            NotifyType::TEMPORARY_FAILURE if self.places.more.refusals() < MAX_TEMPORARY_FAILURES => {
                self.places.more.ask_soon(ctx);
                None
            }
            // As many as it wants.
            NotifyType::TS_MAX_QUEUE => {
                self.places.stop();
                None
            }
            error => {
                self.places.stop();
                Some(format!("peer refused a Child SA of a single resource: it says {}", error.name()))
            }
        }
    }

    /// The peer's answer has come: Child SAs of resources that it could not receive with before may carry traffic.
    pub(super) fn use_resources(&mut self, ctx: &mut Context<'_>) {
        if !self.is_in_use() {
            return;
        }
        let waits = |child: &&Child| child.is_first_of_resource() && child.switch_at.is_some();
        let spis: Vec<_> = self.children.iter().filter(waits).map(|child| child.inbound_spi).collect();
        for spi in spis {
            self.switch_to(ctx, spi);
        }
    }

    /// Deletes a Child SA of a resource; its traffic goes on with the one for everything.
    pub(super) fn give_up_resource(&mut self, ctx: &mut Context<'_>, inbound_spi: u32) {
        let Some(child) = self.child_mut(inbound_spi) else { return };
        child.delete = DeleteProgress::Wanted;
        let spi = child.outbound_spi;
        ctx.notify(Notice::OutboundRetired(spi));
    }

    /// The Child SA for everything carries traffic, so this IKE SA is the one that counts.
    pub(super) fn is_in_use(&self) -> bool {
        self.active(EVERYTHING).is_some_and(|child| child.outbound.is_none() && !child.is_deleting())
    }

    /// We have asked for a Child SA of a resource.
    fn asks_for_resource(&self) -> bool {
        self.asked_place().is_some_and(|place| place != EVERYTHING)
    }

    /// The first resource without a Child SA, unless we have just asked for it.
    fn free_place(&self) -> Option<usize> {
        let asked = self.asked_place();
        (EVERYTHING + 1..self.places.count())
            .find(|place| self.count_at(*place) == 0 && asked != Some(*place))
    }

    /// The place of a new Child SA that we have asked for.
    fn asked_place(&self) -> Option<usize> {
        match &self.pending {
            Some(Pending::Rekey(sent)) if sent.replaces.is_none() => Some(sent.place),
            _ => None,
        }
    }
}

/// The notification for a Child SA at a place (RFC 9611): the number of the resource, none for everything.
pub(super) fn resource_info(place: usize) -> Notify {
    let number = resource_of(place).map(u32::to_be_bytes);
    Notify::new(NotifyType::SA_RESOURCE_INFO, number.map_or_else(Vec::new, |number| number.to_vec()))
}
