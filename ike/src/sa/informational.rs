//! INFORMATIONAL exchanges (RFC 7296 §1.4): deletes, liveness, late errors.

use tracing::info;

use crate::sa::child::{Child, DeleteProgress};
use crate::sa::context::Context;
use crate::sa::established::Pending;
use crate::sa::payloads::Payloads;
use crate::sa::places::EVERYTHING;
use crate::sa::{CLOSED_LINGER, IkeSa, Phase};
use crate::wire::{Delete, NotifyType, Payload, ProtocolId};

impl IkeSa {
    pub(super) fn handle_informational_request(
        &mut self,
        ctx: &mut Context<'_>,
        payloads: &[Payload],
    ) -> Vec<Payload> {
        let found = Payloads(payloads);
        if found.notification(NotifyType::AUTHENTICATION_FAILED).is_some() {
            let reason = self.why_refused();
            self.end(ctx, reason);
            return Vec::new();
        }
        if found.deletes().any(|delete| *delete == Delete::IkeSa) {
            let closed = Phase::Closed { until: ctx.now + CLOSED_LINGER };
            // Ours was not answered: the peer has rekeyed it and never saw our own wish (RFC 7296 §2.8.2).
            if self.hand_over_to_rival(ctx, closed) {
                self.window.complete();
                return Vec::new();
            }
            if !self.is_bare() {
                info!(peer = %self.peer, "peer deleted the IKE SA");
            }
            self.end(ctx, self.why_ended("peer deleted the IKE SA"));
            return Vec::new();
        }
        self.take_invalid_spi(found);
        let mut deleted = Vec::new();
        for delete in found.deletes() {
            if let Delete::ChildSas { protocol: ProtocolId::ESP, spis } = delete {
                deleted.extend(spis.iter().filter_map(|spi| self.child_deleted_by_peer(ctx, *spi)));
            }
        }
        if deleted.is_empty() {
            return Vec::new();
        }
        self.replace_lost_child(ctx, "peer deleted the Child SA");
        vec![Payload::Delete(Delete::ChildSas { protocol: ProtocolId::ESP, spis: deleted })]
    }

    /// The peer says that it has no SA for our ESP packets. If it is right, a rekey finds that out (RFC 7296 §2.25).
    fn take_invalid_spi(&mut self, found: Payloads<'_>) {
        let Some(invalid) = found.notification(NotifyType::INVALID_SPI) else { return };
        let Phase::Established(established) = &mut self.phase else { return };
        let is_meant = |child: &&Child| child.outbound_spi.to_be_bytes()[..] == invalid.data;
        let meant = established.all_active().find(is_meant).map(|child| child.place);
        if let Some(place) = meant {
            established.places.get_mut(place).rekey.want();
        }
    }

    /// The peer deletes the Child SA with this SPI of its own. Returns our SPI to delete in turn, unless we are just
    /// deleting it ourselves (RFC 7296 §1.4.1).
    fn child_deleted_by_peer(&mut self, ctx: &mut Context<'_>, outbound_spi: u32) -> Option<u32> {
        let Phase::Established(established) = &mut self.phase else { return None };
        let child = established.children.iter().find(|child| child.outbound_spi == outbound_spi)?;
        if child.delete == DeleteProgress::Sent {
            return None;
        }
        let (spi, place) = (child.inbound_spi, child.place);
        if established.is_active(child) {
            let waiting = |child: &&Child| {
                child.inbound_spi != spi
                    && child.place == place
                    && child.outbound.is_some()
                    && !child.is_deleting()
            };
            let any = || established.children.iter().find(waiting).map(|child| child.inbound_spi);
            if let Some(successor) = established.successor(spi).or_else(any) {
                established.switch_to(ctx, successor);
            }
        }
        established.remove(ctx, spi);
        // The peer has no use for it, so it is not asked for another one.
        if place != EVERYTHING && established.count_at(place) == 0 {
            established.places.stop();
        }
        Some(spi)
    }

    /// When no Child SA is left that could carry everything, asks for another one, unless our own request may still bring one
    /// (RFC 7296 §1.3.1). An end that is not to be connected at all times waits for the peer, or for a packet.
    pub(super) fn replace_lost_child(&mut self, ctx: &mut Context<'_>, reason: &str) {
        let always_connects = self.config.mode.always_connects();
        let Phase::Established(established) = &mut self.phase else { return };
        let asking = matches!(&established.pending, Some(Pending::Rekey(sent)) if sent.place == EVERYTHING);
        if established.active(EVERYTHING).is_some() || asking {
            return;
        }
        let usable =
            |child: &&Child| child.place == EVERYTHING && child.outbound.is_some() && !child.is_deleting();
        if let Some(other) = established.children.iter().find(usable).map(|child| child.inbound_spi) {
            return established.switch_to(ctx, other);
        }
        if always_connects {
            established.new_child.want();
        }
        established.lacks_child(ctx, reason.to_owned());
    }

    /// The outstanding request of an established SA has been answered.
    pub(super) fn handle_established_response(&mut self, ctx: &mut Context<'_>, payloads: &[Payload]) {
        let Phase::Established(established) = &mut self.phase else { return };
        match established.pending.take() {
            Some(Pending::Rekey(sent)) => self.handle_rekey_response(ctx, &sent, payloads),
            Some(Pending::RekeyIke(sent)) => self.handle_ike_rekey_response(ctx, &sent, payloads),
            Some(Pending::Delete(spis)) => {
                for spi in spis {
                    established.remove(ctx, spi);
                }
            }
            Some(Pending::Liveness) | None => {}
        }
    }
}
