//! Messages that belong to no SA or are not protected as they should be. They prove nothing: what is told to strangers is
//! rare, shorter than what they sent, and never an answer to an answer; what they tell is a hint at most, upon which a
//! peer is asked whether it still lives (RFC 7296 §1.5, §2.4, §2.5, §2.21.4).

use std::net::IpAddr;
use std::time::Instant;

use tracing::debug;

use crate::endpoint::Endpoint;
use crate::endpoint::cookie::{COOKIE_LEN, Claim};
use crate::endpoint::slots::Slot;
use crate::sa::context::{IKE_PORT, Path, datagram};
use crate::sa::{IkeSa, unprotected_answer};
use crate::wire::{
    ExchangeType, Header, Message, Notify, NotifyType, Outline, Payload, PayloadType, SealedMessage,
};

/// Shortest nonce (RFC 7296 §3.9).
const MIN_NONCE_LEN: usize = 16;

impl Endpoint {
    /// Whether an IKE_SA_INIT request may cost state and a key exchange. If not, its sender is asked to prove its address
    /// (RFC 7296 §2.6).
    pub(super) fn is_affordable(
        &mut self,
        now: Instant,
        path: Path,
        header: &Header,
        message: &[u8],
    ) -> bool {
        let (all, same_source) = self.sas.half_open(path.remote.ip());
        // A forged source must not use up what the true one may have.
        let pressed = all >= self.config.cookie_threshold
            || same_source >= self.config.max_half_open_per_source.div_ceil(2);
        if !pressed {
            return true;
        }
        let nonce =
            Outline::of(message).body(PayloadType::NONCE).filter(|nonce| nonce.len() >= MIN_NONCE_LEN);
        let Some(nonce) = nonce else { return false };
        let claim = Claim { nonce, spi_i: header.spi_i, remote: path.remote };
        let cookie = Outline::of(message).notification(NotifyType::COOKIE);
        if cookie.is_some_and(|cookie| self.cookies.accept(now, claim, cookie)) {
            return true;
        }
        let cookie: [u8; COOKIE_LEN] = self.cookies.bake(now, &mut *self.rng, claim);
        self.answer_shortly(path, header, message, Notify::new(NotifyType::COOKIE, cookie));
        false
    }

    /// A message with SPIs that are not, or no longer, those of an SA.
    pub(super) fn handle_unknown_spi(&mut self, now: Instant, path: Path, header: &Header, message: &[u8]) {
        if header.response {
            return;
        }
        if !is_protected(message) {
            return self.handle_notice_of_stranger(now, path, header, message);
        }
        // Of fragments there may be many, and a peer that needs to know sends something short again.
        let whole = SealedMessage::parse(message).is_ok();
        if whole && self.peers.known_at(path).is_some() && self.answers_to_strangers.take(now) {
            debug!(remote = %path.remote, "request for an unknown IKE SA");
            self.answer_shortly(path, header, message, Notify::new(NotifyType::INVALID_IKE_SPI, []));
        }
    }

    /// A message of a newer major version.
    pub(super) fn handle_newer_version(&mut self, now: Instant, path: Path, header: &Header, message: &[u8]) {
        if !header.response && self.peers.known_at(path).is_some() && self.answers_to_strangers.take(now) {
            self.answer_shortly(path, header, message, Notify::new(NotifyType::INVALID_MAJOR_VERSION, []));
        }
    }

    /// An unprotected message with the SPIs of an SA, which allows protected ones only.
    pub(super) fn handle_unprotected(&mut self, now: Instant, spi: u64, path: Path, message: &[u8]) {
        let Some(slot) = self.sas.get(spi) else { return };
        let from_peer = slot.summary.remote.ip() == path.remote.ip();
        if from_peer && Outline::of(message).notification(NotifyType::INVALID_IKE_SPI).is_some() {
            debug!(peer = %slot.peer, "somebody says that the peer does not know the IKE SA");
            self.hint(now, spi);
        }
    }

    /// An ESP packet with an SPI that is no inbound SA's has come from `remote`. If that is a peer, it is told, in the IKE
    /// SA when there is one (RFC 7296 §1.5): a peer whose SAs were lost here finds out. Few of these calls have an effect.
    pub fn unknown_esp_spi(&mut self, now: Instant, remote: IpAddr, spi: u32) {
        let Some(id) = self.peers.known_from(remote) else { return };
        let Some(peer) = self.peers.get_mut(id) else { return };
        if peer.blocked || !peer.spi_reports.take(now) {
            return;
        }
        if let Some(current) = peer.current {
            self.step(now, current, move |sa, ctx| sa.report_invalid_spi(ctx, spi));
        } else if peer.config.has_addresses() && self.answers_to_strangers.take(now) {
            let path = Path {
                local: (peer.config.local, IKE_PORT).into(),
                remote: (peer.config.remote, IKE_PORT).into(),
            };
            // There is no IKE SA to name. Nobody answers this.
            let header = Header {
                spi_i: 0,
                spi_r: 0,
                exchange: ExchangeType::INFORMATIONAL,
                from_initiator: true,
                response: false,
                message_id: 0,
            };
            let notify = Notify::new(NotifyType::INVALID_SPI, spi.to_be_bytes());
            let message = Message { header, payloads: vec![Payload::Notify(notify)] }.encode();
            self.transmits.push_back(datagram(path, &message));
        }
    }

    /// Somebody says that the peer got an ESP packet from us that it has no SA for.
    fn handle_notice_of_stranger(&mut self, now: Instant, path: Path, header: &Header, message: &[u8]) {
        if header.exchange != ExchangeType::INFORMATIONAL {
            return;
        }
        let Some(spi) = Outline::of(message).notification(NotifyType::INVALID_SPI) else { return };
        let Some(peer) = self.peers.known_at(path).and_then(|id| self.peers.get(id)) else { return };
        let is_ours = peer.outbound_spis().iter().any(|outbound| spi == outbound.to_be_bytes());
        if let Some(current) = peer.current.filter(|_| is_ours) {
            self.hint(now, current);
        }
    }

    /// Gives an SA a hint of somebody. One that is away, and so at work with its peer, does without: hints come in any number,
    /// and must not pile up.
    fn hint(&mut self, now: Instant, spi: u64) {
        if self.sas.get(spi).is_some_and(Slot::is_here) {
            self.step(now, spi, IkeSa::take_hint);
        }
    }

    /// Answers without leaving state, unless the answer would be longer than the request.
    fn answer_shortly(&mut self, path: Path, request: &Header, message: &[u8], notify: Notify) {
        let answer = unprotected_answer(request, notify);
        if answer.len() < message.len() {
            self.transmits.push_back(datagram(path, &answer));
        }
    }
}

/// Whether a message has the form of a protected one.
pub(super) fn is_protected(message: &[u8]) -> bool {
    let first = Header::parse(message).map(|(_, first)| first);
    first.is_ok_and(|first| first == PayloadType::SK || first == PayloadType::SKF)
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::config::{EndpointConfig, PeerConfig, PeerId, Psk};

    #[test]
    fn hints_do_not_pile_up_while_an_sa_is_away() {
        let rng = rand::rngs::StdRng::seed_from_u64(1);
        let mut endpoint = Endpoint::new(EndpointConfig::default(), Box::new(rng));
        let (now, id) = (Instant::now(), PeerId(1));
        let [local, remote] = ["192.0.2.1", "192.0.2.2"].map(|address| address.parse::<IpAddr>().unwrap());
        endpoint.set_peer(now, id, PeerConfig::new(local, remote, Psk::new("key")));
        // Its first request is being made.
        let spi = endpoint.peers.get(id).and_then(|peer| peer.attempt).unwrap();
        let header = Header {
            spi_i: spi,
            spi_r: 0,
            exchange: ExchangeType::INFORMATIONAL,
            from_initiator: false,
            response: true,
            message_id: 0,
        };
        let notify = Notify::new(NotifyType::INVALID_IKE_SPI, []);
        let message = Message { header, payloads: vec![Payload::Notify(notify)] }.encode();
        let path = Path { local: (local, IKE_PORT).into(), remote: (remote, IKE_PORT).into() };
        for _ in 0..1000 {
            endpoint.handle_unprotected(now, spi, path, &message);
        }
        assert_eq!(endpoint.sas.get_mut(spi).unwrap().take_actions().len(), 0);
    }
}
