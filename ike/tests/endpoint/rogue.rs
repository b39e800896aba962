//! An end made by hand, with the keys of the IKE SA at its command.

use std::net::SocketAddr;

use ike::PeerConfig;
use ike::crypto::{
    DhGroup, DhKeyPair, IkeAead, IkeKeys, KeyExchange, Prf, SkCipher, psk_auth, signed_octets,
};
use ike::wire::{
    AuthMethod, Authentication, ExchangeType, Header, IdType, Identification, KeyExchangeData, Message,
    Payload, Proposal, ProtocolId, SealedMessage, Selector, TrafficSelector, Transform, TransformType,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::sim::{ADDRESSES, PSK, Pair, cheap_config};

/// A responder made by hand, up to the keys of the IKE SA; without the pre-shared key unless it is told.
pub(crate) struct Rogue {
    pub(crate) header: Header,
    keys: IkeKeys,
    /// Seals what it sends.
    pub(crate) cipher: SkCipher,
    answer: Vec<u8>,
    nonce_i: Vec<u8>,
}

impl Rogue {
    /// Answers the last IKE_SA_INIT of end 0.
    pub(crate) fn answer_init(pair: &mut Pair) -> Self {
        Self::answer_init_with(pair, Vec::new())
    }

    /// The same, with more payloads in the answer.
    pub(crate) fn answer_init_with(pair: &mut Pair, more: Vec<Payload>) -> Self {
        let from_end_0 =
            |(from, datagram): &(usize, Vec<u8>)| Message::parse(datagram).ok().filter(|_| *from == 0);
        let request = pair.trace.iter().rev().find_map(from_end_0).unwrap();
        let (mut public, mut nonce_i, mut proposals) = (None, None, None);
        for payload in request.payloads {
            match payload {
                Payload::KeyExchange(exchange) => public = Some(exchange.data),
                Payload::Nonce(nonce) => nonce_i = Some(nonce),
                Payload::SecurityAssociation(offered) => proposals = Some(offered),
                _ => {}
            }
        }
        let key_pair = DhKeyPair::generate(DhGroup::X25519, &mut StdRng::seed_from_u64(77));
        let header = Header { spi_r: 0x1234, from_initiator: false, response: true, ..request.header };
        let nonce_r = vec![5; 32];
        let data = key_pair.public().to_vec();
        let mut payloads = vec![
            Payload::SecurityAssociation(proposals.unwrap()),
            Payload::KeyExchange(KeyExchangeData { group: DhGroup::X25519.id(), data }),
            Payload::Nonce(nonce_r.clone()),
        ];
        payloads.extend(more);
        let answer = Message { header, payloads }.encode();
        let nonce_i = nonce_i.unwrap();
        let keys = IkeKeys::derive(
            Prf::HmacSha256,
            IkeAead::Aes128Gcm16,
            &KeyExchange {
                shared: &key_pair.agree(&public.unwrap()).unwrap(),
                nonce_i: &nonce_i,
                nonce_r: &nonce_r,
                spi_i: header.spi_i,
                spi_r: header.spi_r,
            },
        );
        pair.receive(0, socket(0), socket(1), &answer);
        let cipher = keys.responder_cipher(IkeAead::Aes128Gcm16).unwrap();
        Self { header, keys, cipher, answer, nonce_i }
    }

    /// Answers IKE_AUTH of end 0 as one that knows the key, with these traffic selectors for itself.
    pub(crate) fn authenticate(&self, pair: &mut Pair, selector: Selector) {
        let (_, request) = pair.trace.iter().rfind(|(from, _)| *from == 0).unwrap();
        let open = self.keys.initiator_cipher(IkeAead::Aes128Gcm16).unwrap();
        let offered = SealedMessage::parse(request).unwrap().open(&open).unwrap();
        let chosen = offered.into_iter().find_map(|payload| match payload {
            Payload::SecurityAssociation(proposals) => Some(proposals),
            _ => None,
        });
        let id = Identification::new(IdType::FQDN, b"peer");
        let (sk_p, message) = (&self.keys.sk_pr, &self.answer);
        let data = psk_auth(Prf::HmacSha256, PSK, sk_p, message, &self.nonce_i, id.body()).to_vec();
        let payloads = vec![
            Payload::IdResponder(id),
            Payload::Authentication(Authentication { method: AuthMethod::SHARED_KEY, data }),
            Payload::SecurityAssociation(chosen.unwrap()),
            Payload::SelectorsInitiator(vec![TrafficSelector::Range(Selector::ANY_IPV4)]),
            Payload::SelectorsResponder(vec![TrafficSelector::Range(selector)]),
        ];
        self.respond(pair, ExchangeType::IKE_AUTH, 1, payloads);
    }

    /// What it has to sign as this identity.
    pub(crate) fn signed_octets(&self, id: &Identification) -> Vec<u8> {
        signed_octets(Prf::HmacSha256, &self.keys.sk_pr, &self.answer, &self.nonce_i, id.body())
    }

    /// Sends end 0 a response with the keys of the SA.
    pub(crate) fn respond(
        &self,
        pair: &mut Pair,
        exchange: ExchangeType,
        message_id: u32,
        payloads: Vec<Payload>,
    ) {
        self.send(pair, Header { exchange, message_id, ..self.header }, payloads);
    }

    pub(crate) fn send(&self, pair: &mut Pair, header: Header, payloads: Vec<Payload>) {
        let number = u64::from(header.response) << 32 | u64::from(header.message_id);
        let datagram = Message { header, payloads }.seal(&self.cipher, number);
        pair.receive(0, socket(0), socket(1), &datagram);
    }
}

/// An initiator that knows the key connects to end 1, and answers nothing from then on.
pub(crate) fn visit(pair: &mut Pair, spi_i: u64) {
    let proposal = |protocol, spi, transforms| {
        Payload::SecurityAssociation(vec![Proposal { number: 1, protocol, spi, transforms }])
    };
    let key_pair = DhKeyPair::generate(DhGroup::X25519, &mut StdRng::seed_from_u64(spi_i));
    let exchange = ExchangeType::IKE_SA_INIT;
    let header = Header { spi_i, spi_r: 0, exchange, from_initiator: true, response: false, message_id: 0 };
    let (group, nonce_i) = (DhGroup::X25519.id(), vec![7; 32]);
    let transforms = vec![
        Transform::new(TransformType::ENCR, 20, Some(128)),
        Transform::new(TransformType::PRF, 5, None),
        Transform::new(TransformType::DH, group, None),
    ];
    let payloads = vec![
        proposal(ProtocolId::IKE, Vec::new(), transforms),
        Payload::KeyExchange(KeyExchangeData { group, data: key_pair.public().to_vec() }),
        Payload::Nonce(nonce_i.clone()),
    ];
    let request = Message { header, payloads }.encode();
    pair.trace.clear();
    pair.receive(1, socket(1), socket(0), &request);
    let Some((_, answer)) = pair.trace.pop() else { return };
    let answer = Message::parse(&answer).unwrap();
    let (mut public, mut nonce_r) = (Vec::new(), Vec::new());
    for payload in answer.payloads {
        match payload {
            Payload::KeyExchange(exchange) => public = exchange.data,
            Payload::Nonce(nonce) => nonce_r = nonce,
            _ => {}
        }
    }
    let shared = key_pair.agree(&public).unwrap();
    let spi_r = answer.header.spi_r;
    let exchange = KeyExchange { shared: &shared, nonce_i: &nonce_i, nonce_r: &nonce_r, spi_i, spi_r };
    let keys = IkeKeys::derive(Prf::HmacSha256, IkeAead::Aes128Gcm16, &exchange);
    let id = Identification::new(IdType::FQDN, b"peer");
    let data = psk_auth(Prf::HmacSha256, PSK, &keys.sk_pi, &request, &nonce_r, id.body()).to_vec();
    let esp =
        vec![Transform::new(TransformType::ENCR, 28, None), Transform::new(TransformType::ESN, 1, None)];
    let payloads = vec![
        Payload::IdInitiator(id),
        Payload::Authentication(Authentication { method: AuthMethod::SHARED_KEY, data }),
        proposal(ProtocolId::ESP, vec![9, 9, 9, 9], esp),
        Payload::SelectorsInitiator(vec![TrafficSelector::Range(Selector::ANY_IPV4)]),
        Payload::SelectorsResponder(vec![TrafficSelector::Range(Selector::ANY_IPV4)]),
    ];
    let header = Header { spi_r, exchange: ExchangeType::IKE_AUTH, message_id: 1, ..header };
    let cipher = keys.initiator_cipher(IkeAead::Aes128Gcm16).unwrap();
    pair.receive(1, socket(1), socket(0), &Message { header, payloads }.seal(&cipher, 1));
}

pub(crate) fn socket(index: usize) -> SocketAddr {
    SocketAddr::new(ADDRESSES[index], 500)
}

/// End 0 has asked for an SA on a network that loses everything.
pub(crate) fn waiting() -> Pair {
    waiting_with(cheap_config(0))
}

/// The same, with this configuration of its peer.
pub(crate) fn waiting_with(config: PeerConfig) -> Pair {
    let mut pair = Pair::new(1);
    pair.cut();
    pair.set_peer(0, config);
    pair
}
