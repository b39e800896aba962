//! IKE_AUTH (RFC 7296 §1.2, §2.15).

use tracing::info;

use crate::config::PeerConfig;
use crate::proposal_choice::{ChildExchange, check_esp_answer, choose_esp, describe, esp_offer};
use crate::sa::child::{Carrier, Child, Terms};
use crate::sa::context::{Context, FIRST_ESP_SPI, Notice};
use crate::sa::established::{Established, FirstChild};
use crate::sa::identity;
use crate::sa::init::{HalfOpen, InitMessages, Nonces};
use crate::sa::payloads::Payloads;
use crate::sa::places::{EVERYTHING, resource_info};
use crate::sa::proof::Proof;
use crate::sa::selectors::{ChildSelectors, NO_SELECTORS};
use crate::sa::{IkeSa, Phase, error_payload};
use crate::wire::{ExchangeType, Notify, NotifyType, Payload, Proposal};

/// An initiator that waits for the answer to IKE_AUTH.
pub(crate) struct AuthSent {
    pub(crate) nonces: Nonces,
    pub(crate) messages: InitMessages,
    /// Our SPI for the first Child SA.
    pub(crate) inbound_spi: u32,
}

impl IkeSa {
    pub(super) fn send_auth(&mut self, ctx: &mut Context<'_>, auth: AuthSent) {
        let our_id = identity::identification(&self.config.local_id);
        let proof = self.our_proof(ctx, &auth.messages, &auth.nonces, &our_id, Payloads(&[]));
        let Proof { certificates, auth: our_auth } = match proof {
            Ok(proof) => proof,
            // The peer forgets its half of the SA by itself.
            Err(reason) => return self.discard(ctx, reason),
        };
        let mut payloads = vec![Payload::IdInitiator(our_id)];
        payloads.extend(certificates);
        if ctx.sole {
            payloads.push(Payload::Notify(Notify::new(NotifyType::INITIAL_CONTACT, [])));
        }
        if let Some(remote_id) = &self.config.remote_id {
            payloads.push(Payload::IdResponder(identity::identification(remote_id)));
        }
        let offer = esp_offer(&self.config.esp_proposals, auth.inbound_spi, ChildExchange::Auth);
        payloads.extend([our_auth, Payload::SecurityAssociation(offer)]);
        payloads.extend(ChildSelectors::wanted(&self.config).offer());
        if self.config.resources() > 0 {
            payloads.push(Payload::Notify(resource_info(EVERYTHING)));
        }
        self.phase = Phase::AuthSent(Box::new(auth));
        self.request(ctx, ExchangeType::IKE_AUTH, payloads);
    }

    /// Answers IKE_AUTH as responder.
    pub(super) fn handle_auth_request(
        &mut self,
        ctx: &mut Context<'_>,
        payloads: &[Payload],
    ) -> Vec<Payload> {
        let Phase::HalfOpen(half_open) = std::mem::replace(&mut self.phase, Phase::Dead) else {
            return Vec::new();
        };
        let HalfOpen { nonces, messages, .. } = *half_open;
        let found = Payloads(payloads);
        let Some(peer_id) = found.id_initiator() else {
            self.end(ctx, "authentication of peer failed: no identity".to_owned());
            return vec![error_payload(NotifyType::INVALID_SYNTAX)];
        };
        let our_id = identity::identification(&self.config.local_id);
        let proof = self
            .verify_peer(ctx, &messages, &nonces, peer_id, found)
            .and_then(|()| self.our_proof(ctx, &messages, &nonces, &our_id, found));
        let Proof { certificates, auth } = match proof {
            Ok(proof) => proof,
            Err(reason) => {
                self.end(ctx, reason);
                return vec![error_payload(NotifyType::AUTHENTICATION_FAILED)];
            }
        };
        self.peer_identity = identity::describe(peer_id).into();
        let mut response = vec![Payload::IdResponder(our_id)];
        response.extend(certificates);
        response.push(auth);
        let initial_contact = found.notification(NotifyType::INITIAL_CONTACT).is_some();
        match self.first_child_as_responder(ctx, payloads, &nonces) {
            Ok((child, answer)) => {
                response.extend(answer);
                let child = self.first_child(child, found);
                if child.one_of_several {
                    response.push(Payload::Notify(resource_info(EVERYTHING)));
                }
                self.establish(ctx, Ok(child), &nonces, initial_contact);
            }
            Err((NotifyType::INVALID_SYNTAX, reason)) => {
                response.push(error_payload(NotifyType::INVALID_SYNTAX));
                self.end(ctx, reason);
            }
            // The IKE SA stands all the same (RFC 7296 §2.21.2).
            Err((error, reason)) => {
                response.push(error_payload(error));
                self.establish(ctx, Err(reason), &nonces, initial_contact);
            }
        }
        response
    }

    /// The first Child SA and the payloads that answer for it, or an error for the peer and one for us.
    fn first_child_as_responder(
        &mut self,
        ctx: &mut Context<'_>,
        payloads: &[Payload],
        nonces: &Nonces,
    ) -> Result<(Child, Vec<Payload>), (NotifyType, String)> {
        let found = Payloads(payloads);
        let proposals = found
            .proposals()
            .ok_or_else(|| (NotifyType::INVALID_SYNTAX, "peer asks for no Child SA".to_owned()))?;
        let choice =
            choose_esp(proposals, &self.config.esp_proposals, ChildExchange::Auth).map_err(|mismatch| {
                (NotifyType::NO_PROPOSAL_CHOSEN, format!("we refused the peer's ESP proposal: {mismatch}"))
            })?;
        let selectors = ChildSelectors::narrowed(found, &self.config)
            .ok_or_else(|| (NotifyType::TS_UNACCEPTABLE, NO_SELECTORS.to_owned()))?;
        let mut answer = choice.proposal;
        let outbound_spi = esp_spi(&answer)
            .ok_or_else(|| (NotifyType::INVALID_SYNTAX, "peer sent an invalid SPI".to_owned()))?;
        let inbound_spi = ctx.esp_spi();
        answer.spi = inbound_spi.to_be_bytes().to_vec();
        let terms = Terms {
            suite: choice.suite,
            shared: None,
            nonces,
            inbound_spi,
            outbound_spi,
            ours: false,
            replaces: None,
            selectors: selectors.clone(),
            place: EVERYTHING,
        };
        let mut answer = vec![Payload::SecurityAssociation(vec![answer])];
        answer.extend(selectors.answer());
        Ok((self.new_child(ctx, &terms), answer))
    }

    /// Completes the SA as initiator.
    pub(super) fn handle_auth_response(&mut self, ctx: &mut Context<'_>, payloads: &[Payload]) {
        let Phase::AuthSent(auth) = &self.phase else { return };
        let found = Payloads(payloads);
        let peer_id = found.id_responder();
        if let (None, Some(error)) = (found.authentication(), found.error()) {
            let reason = match error.kind {
                NotifyType::AUTHENTICATION_FAILED => self.why_refused(),
                kind => format!("peer says {} to IKE_AUTH", kind.name()),
            };
            self.end(ctx, reason);
            return;
        }
        let verified = peer_id
            .ok_or_else(|| "authentication of peer failed: no identity".to_owned())
            .and_then(|peer_id| {
                self.verify_peer(ctx, &auth.messages, &auth.nonces, peer_id, found)?;
                Ok(identity::describe(peer_id))
            });
        let (nonces, inbound_spi) = (auth.nonces.clone(), auth.inbound_spi);
        match verified {
            Ok(peer_identity) => self.peer_identity = peer_identity.into(),
            Err(reason) => {
                self.close(ctx, vec![error_payload(NotifyType::AUTHENTICATION_FAILED)], reason);
                return;
            }
        }
        match (self.first_child_as_initiator(ctx, payloads, &nonces, inbound_spi), found.proposals()) {
            (Ok(child), _) => self.establish(ctx, Ok(self.first_child(child, found)), &nonces, false),
            // Refused, but the IKE SA stands (RFC 7296 §1.2).
            (Err(reason), None) if found.error().is_some() => {
                self.establish(ctx, Err(reason), &nonces, false);
            }
            // The peer holds a Child SA that we cannot use.
            (Err(reason), _) => self.close(ctx, Vec::new(), reason),
        }
    }

    fn first_child_as_initiator(
        &mut self,
        ctx: &mut Context<'_>,
        payloads: &[Payload],
        nonces: &Nonces,
        inbound_spi: u32,
    ) -> Result<Child, String> {
        let found = Payloads(payloads);
        let Some(proposals) = found.proposals() else {
            return Err(match found.error() {
                Some(error) => why_no_child(&self.config, error.kind),
                None => "peer made no Child SA".to_owned(),
            });
        };
        let choice = check_esp_answer(proposals, &self.config.esp_proposals, ChildExchange::Auth)
            .map_err(|mismatch| format!("peer chose an ESP proposal we did not offer: {mismatch}"))?;
        let selectors = ChildSelectors::answered(found, &self.config)?;
        let outbound_spi = esp_spi(&choice.proposal).ok_or("peer sent an invalid SPI")?;
        let terms = Terms {
            suite: choice.suite,
            shared: None,
            nonces,
            inbound_spi,
            outbound_spi,
            ours: true,
            replaces: None,
            selectors,
            place: EVERYTHING,
        };
        Ok(self.new_child(ctx, &terms))
    }

    /// Makes a Child SA and reports its inbound half.
    pub(super) fn new_child(&self, ctx: &mut Context<'_>, terms: &Terms<'_>) -> Child {
        let carrier =
            Carrier { config: &self.config, protection: self.protection(), path: self.path, nat: self.nat };
        let (child, inbound) = Child::new(ctx, &carrier, terms);
        ctx.notify(Notice::InboundReady(inbound));
        child
    }

    /// The first Child SA, which is one of several when both ends say so (RFC 9611).
    fn first_child(&self, child: Child, of_peer: Payloads<'_>) -> FirstChild {
        let peer_wants = of_peer.notification(NotifyType::SA_RESOURCE_INFO).is_some();
        FirstChild { child, one_of_several: peer_wants && self.config.resources() > 0 }
    }

    /// Both ends are authenticated. The first Child SA exists, or was refused for the given reason.
    fn establish(
        &mut self,
        ctx: &mut Context<'_>,
        child: Result<FirstChild, String>,
        nonces: &Nonces,
        initial_contact: bool,
    ) {
        info!(
            peer = %self.peer,
            spi_i = %format_args!("{:016x}", self.spi_i),
            spi_r = %format_args!("{:016x}", self.spi_r),
            initiator = self.initiator,
            without_child = child.as_ref().err(),
            "IKE SA established"
        );
        let lowest_nonce = nonces.lowest().to_vec();
        let established = Established::new(ctx, &self.config, lowest_nonce, child, self.initiator);
        self.phase = Phase::Established(Box::new(established));
        ctx.notify(Notice::Established { initial_contact });
    }
}

/// What a human should know when the peer answers a request for a Child SA with this error.
pub(super) fn why_no_child(config: &PeerConfig, error: NotifyType) -> String {
    match error {
        NotifyType::NO_PROPOSAL_CHOSEN => {
            format!("peer refused our ESP proposal; we offered {}", describe(&config.esp_proposals))
        }
        NotifyType::TS_UNACCEPTABLE => {
            let offered = ChildSelectors::wanted(config).describe();
            format!("peer refused our traffic selectors; we offered {offered}")
        }
        NotifyType::SINGLE_PAIR_REQUIRED => {
            "peer wants a Child SA for each pair of addresses, which is not supported".to_owned()
        }
        kind => format!("peer made no Child SA: {}", kind.name()),
    }
}

/// The peer's SPI in a proposal for a Child SA, unless it is a reserved one.
pub(super) fn esp_spi(proposal: &Proposal) -> Option<u32> {
    let spi = proposal.spi.as_slice().try_into().map(u32::from_be_bytes).ok()?;
    (spi >= FIRST_ESP_SPI).then_some(spi)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::ProtocolId;

    #[test]
    fn reserved_spis_are_none() {
        let spi_in = |octets: &[u8]| {
            let (protocol, spi) = (ProtocolId::ESP, octets.to_vec());
            esp_spi(&Proposal { number: 1, protocol, spi, transforms: Vec::new() })
        };
        assert_eq!(spi_in(&[0, 0, 0, 0]), None);
        assert_eq!(spi_in(&[0, 0, 0, 255]), None);
        assert_eq!(spi_in(&[0, 0, 1, 0]), Some(256));
        assert_eq!(spi_in(&[0, 1, 0]), None);
    }
}
