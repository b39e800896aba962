//! Which IKE SA with a peer counts.
//!
//! There is one, except for moments: both ends may connect at once, and a peer that has restarted connects while its
//! old SA still stands. Both ends come to the same choice from what both know (RFC 7296 §2.8.1, §2.4).

use std::time::Instant;

use tracing::{debug, info};

use crate::config::PeerId;
use crate::endpoint::Endpoint;
use crate::endpoint::slots::Reports;
use crate::event::PeerState;
use crate::sa::established::Established;
use crate::sa::{IkeSa, Standing};

/// An established IKE SA as far as the choice needs it.
struct Candidate {
    spi: u64,
    initiator: bool,
    confirmed: bool,
    /// When it came into being and when it was established, in the order of the endpoint.
    created: u64,
    established: u64,
    lowest_nonce: Vec<u8>,
    /// There has been a Child SA.
    had_child: bool,
}

impl Candidate {
    /// Neither stood when the other began.
    fn collides_with(&self, other: &Self) -> bool {
        self.established > other.created && other.established > self.created
    }

    /// One whose Child SA was refused loses. Of two that collided the one with the lowest nonce loses, else the earlier
    /// one.
    fn beats(&self, other: &Self) -> bool {
        if self.had_child != other.had_child {
            self.had_child
        } else if self.collides_with(other) {
            self.lowest_nonce > other.lowest_nonce
        } else {
            self.created > other.created
        }
    }
}

impl Endpoint {
    /// An IKE SA has been established.
    pub(super) fn sa_established(&mut self, now: Instant, id: PeerId, spi: u64, initial_contact: bool) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.attempt == Some(spi) {
            peer.attempt = None;
        }
        // Our own attempt is superfluous when the peer cannot have heard our authentication yet.
        let standing = self.sas.summary(spi).and_then(|sa| sa.standing.as_ref());
        let has_child = standing.is_some_and(|standing| standing.had_child);
        let attempt = peer
            .attempt
            .filter(|_| has_child)
            .filter(|attempt| self.sas.summary(*attempt).is_some_and(|sa| sa.unauthenticated_attempt));
        if let Some(attempt) = attempt {
            peer.attempt = None;
            self.sas.remove(attempt);
        }
        if initial_contact {
            self.forget_older(now, id, spi);
        }
        // What is wrong with the new SA itself comes out when it is put to use.
        if let Some(peer) = self.peers.get_mut(id).filter(|peer| peer.state != PeerState::Connected) {
            peer.last_error = None;
        }
        self.settle(now, id);
        let Some(peer) = self.peers.get_mut(id) else { return };
        let current = peer.current.and_then(|current| self.sas.summary(current));
        let standing = current.and_then(|summary| summary.standing.as_ref());
        if let Some(Standing { ike, .. }) = standing.filter(|standing| standing.child.is_some()) {
            let by = if ike.initiator { "us" } else { "the peer" };
            let reason = format!("{} established by {by}", ike.proposal);
            if peer.state != PeerState::Connected {
                peer.connected(&mut self.events, &reason);
            }
        }
    }

    /// The peer says it has no other IKE SA with us: older ones are gone over there.
    fn forget_older(&mut self, now: Instant, id: PeerId, newest: u64) {
        let candidates = self.candidates(id);
        let Some(created) = candidates.iter().find(|one| one.spi == newest).map(|one| one.created) else {
            return;
        };
        for old in candidates.iter().filter(|one| one.established < created) {
            info!(peer = %id, "peer has restarted, its old IKE SA is forgotten");
            if let Some(peer) = self.peers.get_mut(id) {
                peer.current.take_if(|current| *current == old.spi);
            }
            // The connection goes on with the new one, so its end is no event.
            self.step_with(now, old.spi, Reports::OfChildren, |sa, ctx| sa.discard(ctx, String::new()));
        }
    }

    /// Chooses among the established IKE SAs with a peer and gets rid of the others.
    pub(super) fn settle(&mut self, now: Instant, id: PeerId) {
        let candidates = self.candidates(id);
        let Some(winner) = candidates.iter().reduce(|best, one| if one.beats(best) { one } else { best })
        else {
            return;
        };
        let Some(peer) = self.peers.get_mut(id) else { return };
        let rival = candidates.iter().find(|one| peer.current == Some(one.spi) && one.spi != winner.spi);
        // While another SA works, traffic stays there until the peer is known to hold the winner: a delete that overtakes our
        // IKE_AUTH response would leave the peer with nothing.
        let sure = winner.confirmed;
        if peer.current != Some(winner.spi) && (rival.is_none() || sure) {
            peer.current = Some(winner.spi);
            // Those there are belong to another IKE SA, which goes. One outbound SA is enough to bridge that.
            peer.remove_resources(&mut self.events);
            let in_use = peer.outbound_spis();
            self.step(now, winner.spi, move |sa, ctx| sa.release_outbound(ctx, &in_use));
        }
        for loser in candidates.iter().filter(|one| one.spi != winner.spi) {
            if !sure {
                debug!(peer = %id, "two IKE SAs at once, asking whether the peer holds the one to keep");
                self.step(now, winner.spi, IkeSa::probe);
            } else if loser.initiator || !winner.collides_with(loser) {
                debug!(peer = %id, "closing a superseded IKE SA");
                let reason = "superseded by another IKE SA".to_owned();
                self.step(now, loser.spi, |sa, ctx| sa.close(ctx, Vec::new(), reason));
            } else {
                // Who asked for it deletes it; we do when that takes too long.
                self.step(now, loser.spi, |sa, ctx| sa.abandon(ctx.now));
            }
        }
    }

    /// A rekey has replaced an IKE SA by another one, which takes over its Child SAs and its place.
    pub(super) fn sa_replaced(
        &mut self,
        now: Instant,
        id: PeerId,
        old: u64,
        heir: u64,
        estate: Box<Established>,
        before: Option<Box<Standing>>,
    ) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        if let Some(current) = peer.current.as_mut().filter(|current| **current == old) {
            *current = heir;
        }
        if let Some(slot) = self.sas.get_mut(heir) {
            // What is known while the heir is away and cannot inherit yet.
            slot.summary.standing = before.map(|before| *before);
            self.step(now, heir, |sa, ctx| sa.inherit(ctx, estate));
            return;
        }
        for spi in estate.inbound_spis() {
            peer.retire_inbound(spi, now + self.config.inbound_linger);
        }
        self.sa_ended(now, id, heir, "peer deleted the IKE SA");
    }

    /// An IKE SA is of no more use, whether it was established or not.
    pub(super) fn sa_ended(&mut self, now: Instant, id: PeerId, spi: u64, reason: &str) {
        let Some(peer) = self.peers.get_mut(id) else { return };
        peer.attempt.take_if(|attempt| *attempt == spi);
        if peer.current.take_if(|current| *current == spi).is_some() {
            self.settle(now, id);
        }
        let standing = self.peers.get(id).is_some_and(|peer| peer.current.is_some());
        if standing {
            debug!(peer = %id, reason, "an IKE SA beside the one in use has ended");
        } else {
            self.peer_failed(now, id, reason);
        }
    }

    fn candidates(&self, id: PeerId) -> Vec<Candidate> {
        let candidate = |spi: u64| {
            let summary = self.sas.summary(spi)?;
            let standing = summary.standing.as_ref()?;
            Some(Candidate {
                spi,
                initiator: summary.initiator,
                confirmed: standing.confirmed,
                created: summary.created,
                established: standing.order,
                lowest_nonce: standing.lowest_nonce.clone(),
                had_child: standing.had_child,
            })
        };
        self.sas.of_peer(id).into_iter().filter_map(candidate).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ike_sa_whose_child_sa_was_refused_takes_no_place() {
        let working = Candidate {
            spi: 1,
            initiator: true,
            confirmed: true,
            created: 1,
            established: 2,
            lowest_nonce: vec![1],
            had_child: true,
        };
        let newer = |had_child| Candidate {
            spi: 2,
            created: 3,
            established: 4,
            lowest_nonce: vec![2],
            had_child,
            ..working
        };
        assert!(newer(true).beats(&working) && !working.beats(&newer(true)));
        assert!(working.beats(&newer(false)) && !newer(false).beats(&working));
    }
}
