//! One Child SA.

use std::time::Instant;

use crate::config::PeerConfig;
use crate::crypto::{ChildKeys, EspKey, SharedSecret};
use crate::event::EspSa;
use crate::proposal_choice::EspSuite;
use crate::sa::context::{Context, NAT_PORT, Path};
use crate::sa::init::Nonces;
use crate::sa::nat::Nat;
use crate::sa::places::resource_of;
use crate::sa::protection::Protection;
use crate::sa::selectors::ChildSelectors;

/// A Child SA of an established IKE SA.
pub(crate) struct Child {
    /// Our SPI.
    pub(crate) inbound_spi: u32,
    /// The peer's SPI.
    pub(crate) outbound_spi: u32,
    pub(crate) suite: EspSuite,
    pub(crate) created: Instant,
    pub(crate) rekey_at: Instant,
    pub(crate) expires_at: Instant,
    /// The outbound half while it is not installed. It leaves at most once, so that no sequence number repeats.
    pub(crate) outbound: Option<EspSa>,
    /// Who asked for it, and what it replaces.
    pub(crate) origin: Origin,
    pub(crate) selectors: ChildSelectors,
    /// What a human should know of its traffic selectors.
    pub(crate) restriction: Option<String>,
    pub(crate) delete: DeleteProgress,
    /// When traffic moves here at the latest, though the peer has not deleted the old SA yet.
    pub(crate) switch_at: Option<Instant>,
    /// Made by a request of the peer, which may still wait for our answer and not know it until then. Cleared by the next
    /// request.
    pub(crate) unknown_until: Option<Instant>,
    /// When we delete it ourselves, though that is the peer's part.
    pub(crate) abandon_at: Option<Instant>,
    /// Where it belongs: an index of [`crate::sa::places::Places`].
    pub(crate) place: usize,
}

/// How a Child SA came about.
pub(crate) struct Origin {
    /// We sent the request.
    pub(crate) ours: bool,
    /// Our SPI of the Child SA it replaces.
    pub(crate) replaces: Option<u32>,
    /// The lower one of its two nonces (RFC 7296 §2.8.1).
    pub(crate) lowest_nonce: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeleteProgress {
    None,
    /// A delete waits for the window.
    Wanted,
    /// The peer has been told.
    Sent,
}

/// What was agreed on for a Child SA.
pub(crate) struct Terms<'a> {
    pub(crate) suite: EspSuite,
    /// The result of the exchange's own key exchange.
    pub(crate) shared: Option<&'a SharedSecret>,
    pub(crate) nonces: &'a Nonces,
    pub(crate) inbound_spi: u32,
    pub(crate) outbound_spi: u32,
    /// We sent the request.
    pub(crate) ours: bool,
    /// Our SPI of the Child SA it replaces.
    pub(crate) replaces: Option<u32>,
    pub(crate) selectors: ChildSelectors,
    /// Where it belongs.
    pub(crate) place: usize,
}

/// The IKE SA around it.
pub(crate) struct Carrier<'a> {
    pub(crate) config: &'a PeerConfig,
    pub(crate) protection: &'a Protection,
    pub(crate) path: Path,
    pub(crate) nat: Nat,
}

impl Child {
    /// A Child SA and its inbound half.
    pub(crate) fn new(ctx: &mut Context<'_>, carrier: &Carrier<'_>, terms: &Terms<'_>) -> (Self, EspSa) {
        let Carrier { config, protection, .. } = carrier;
        let Terms { suite, nonces, .. } = terms;
        let keys = ChildKeys::derive(
            protection.suite.prf,
            &protection.keys.sk_d,
            suite.aead,
            terms.shared,
            &nonces.initiator,
            &nonces.responder,
        );
        let (outbound_key, inbound_key) = if terms.ours {
            (keys.initiator_to_responder, keys.responder_to_initiator)
        } else {
            (keys.responder_to_initiator, keys.initiator_to_responder)
        };
        let inbound = carrier.half(terms, terms.inbound_spi, inbound_key);
        let outbound = carrier.half(terms, terms.outbound_spi, outbound_key);
        let jitter = ctx.random_up_to(config.jitter_of(config.child_lifetime));
        let child = Self {
            inbound_spi: terms.inbound_spi,
            outbound_spi: terms.outbound_spi,
            suite: *suite,
            created: ctx.now,
            rekey_at: ctx.now + config.child_lifetime.saturating_sub(jitter),
            expires_at: ctx.now + config.child_lifetime + config.rekey_margin,
            outbound: Some(outbound),
            origin: Origin {
                ours: terms.ours,
                replaces: terms.replaces,
                lowest_nonce: nonces.lowest().to_vec(),
            },
            restriction: terms.selectors.restriction(config),
            selectors: terms.selectors.clone(),
            delete: DeleteProgress::None,
            switch_at: None,
            unknown_until: None,
            abandon_at: None,
            place: terms.place,
        };
        (child, inbound)
    }

    pub(crate) fn is_deleting(&self) -> bool {
        self.delete != DeleteProgress::None
    }
}

impl Carrier<'_> {
    fn half(&self, terms: &Terms<'_>, spi: u32, key: EspKey) -> EspSa {
        let suite = terms.suite;
        let Path { mut local, mut remote } = self.path;
        // A peer that has not moved to port 4500 itself can only mean that one (RFC 7296 §2.23).
        if self.nat.encapsulation && local.port() != NAT_PORT {
            local.set_port(NAT_PORT);
            remote.set_port(NAT_PORT);
        }
        EspSa {
            spi,
            aead: suite.aead,
            key: key.key,
            salt: key.salt,
            esn: suite.esn,
            local,
            remote,
            udp_encapsulation: self.nat.encapsulation,
            behind_nat: self.nat.local,
            resource: resource_of(terms.place),
        }
    }
}
