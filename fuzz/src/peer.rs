//! The other side of the endpoint: an initiator made by hand.

use std::net::SocketAddr;

use ike::crypto::{DhGroup, DhKeyPair, IkeAead, IkeKeys, KeyExchange, Prf, SkCipher, psk_auth};
use ike::wire::{
    AuthMethod, Authentication, ExchangeType, Header, IdType, Identification, KeyExchangeData, Message,
    Notify, NotifyType, Payload, PayloadType, Proposal, ProtocolId, Selector, TrafficSelector, Transform,
    TransformType,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::piece::Content;
use crate::world::{PSK, THERE, World};

const AEAD: IkeAead = IkeAead::Aes128Gcm16;
const PRF: Prf = Prf::HmacSha256;
const GROUP: DhGroup = DhGroup::X25519;
/// Identifiers of the transforms above and of ChaCha20-Poly1305.
const ENCR_AES_GCM_16: u16 = 20;
const ENCR_CHACHA20_POLY1305: u16 = 28;
const PRF_HMAC_SHA2_256: u16 = 5;
const ESN: u16 = 1;
const NONCE: [u8; 32] = [3; 32];

/// Where the peer sends from.
pub(crate) const SOURCE: SocketAddr = SocketAddr::new(THERE, 500);

/// An initiator with the keys of an IKE SA.
pub(crate) struct Peer {
    header: Header,
    cipher: SkCipher,
    sealed: u64,
    /// Message ID of its next request.
    next_id: u32,
}

/// A key pair, the same each time.
pub(crate) fn key_pair() -> DhKeyPair {
    DhKeyPair::generate(GROUP, &mut StdRng::seed_from_u64(2))
}

/// What the peer offers for an IKE SA.
pub(crate) fn ike_proposal(spi: Vec<u8>) -> Proposal {
    let transforms = vec![
        Transform::new(TransformType::ENCR, ENCR_AES_GCM_16, Some(128)),
        Transform::new(TransformType::PRF, PRF_HMAC_SHA2_256, None),
        Transform::new(TransformType::DH, GROUP.id(), None),
    ];
    Proposal { number: 1, protocol: ProtocolId::IKE, spi, transforms }
}

/// What the peer offers for a Child SA, with a group when it is a new one.
pub(crate) fn esp_proposal(spi: u32, group: bool) -> Proposal {
    let mut transforms = vec![Transform::new(TransformType::ENCR, ENCR_CHACHA20_POLY1305, None)];
    transforms.extend(group.then(|| Transform::new(TransformType::DH, GROUP.id(), None)));
    transforms.push(Transform::new(TransformType::ESN, ESN, None));
    Proposal { number: 1, protocol: ProtocolId::ESP, spi: spi.to_be_bytes().to_vec(), transforms }
}

/// A public value that fits.
pub(crate) fn key_exchange() -> KeyExchangeData {
    KeyExchangeData { group: GROUP.id(), data: key_pair().public().to_vec() }
}

/// An IKE_SA_INIT request that the endpoint accepts, with a cookie it has given.
pub(crate) fn init_request(spi_i: u64, cookie: Option<&[u8]>) -> Vec<u8> {
    let header = Header {
        spi_i,
        spi_r: 0,
        exchange: ExchangeType::IKE_SA_INIT,
        from_initiator: true,
        response: false,
        message_id: 0,
    };
    let cookie = cookie.map(|cookie| Payload::Notify(Notify::new(NotifyType::COOKIE, cookie)));
    let request = [
        Payload::SecurityAssociation(vec![ike_proposal(Vec::new())]),
        Payload::KeyExchange(key_exchange()),
        Payload::Nonce(NONCE.to_vec()),
        Payload::Notify(Notify::new(NotifyType::IKEV2_FRAGMENTATION_SUPPORTED, [])),
    ];
    let payloads = cookie.into_iter().chain(request).collect();
    Message { header, payloads }.encode()
}

impl Peer {
    /// Completes IKE_SA_INIT with the endpoint, and IKE_AUTH when it knows the pre-shared key.
    pub(crate) fn connect(world: &mut World, knows_key: bool) -> Self {
        let request = init_request(0x1111, None);
        let response = world.deliver(SOURCE, 500, &request).pop().expect("IKE_SA_INIT is answered");
        let answer = Message::parse(&response).expect("the answer is well formed");
        let (mut public, mut nonce_r) = (Vec::new(), Vec::new());
        for payload in answer.payloads {
            match payload {
                Payload::KeyExchange(exchange) => public = exchange.data,
                Payload::Nonce(nonce) => nonce_r = nonce,
                _ => {}
            }
        }
        let header = Header { from_initiator: true, response: false, ..answer.header };
        let exchange = KeyExchange {
            shared: &key_pair().agree(&public).expect("the endpoint's public value is good"),
            nonce_i: &NONCE,
            nonce_r: &nonce_r,
            spi_i: header.spi_i,
            spi_r: header.spi_r,
        };
        let keys = IkeKeys::derive(PRF, AEAD, &exchange);
        let cipher = keys.initiator_cipher(AEAD).expect("derived keys have the right length");
        let mut peer = Self { header, cipher, sealed: 0, next_id: 1 };
        if knows_key {
            world.trusted = true;
            let id = Identification::new(IdType::FQDN, b"peer");
            let data = psk_auth(PRF, PSK, &keys.sk_pi, &request, &nonce_r, id.body()).to_vec();
            let payloads = vec![
                Payload::IdInitiator(id),
                Payload::Authentication(Authentication { method: AuthMethod::SHARED_KEY, data }),
                Payload::SecurityAssociation(vec![esp_proposal(0x1000, false)]),
                Payload::SelectorsInitiator(vec![TrafficSelector::Range(Selector::ANY_IPV4)]),
                Payload::SelectorsResponder(vec![TrafficSelector::Range(Selector::ANY_IPV4)]),
            ];
            let request = peer.request(ExchangeType::IKE_AUTH, &Content::of(&payloads));
            peer.deliver(world, &request);
            assert!(world.is_connected(), "an honest peer is not let in");
        }
        peer
    }

    /// The next request, sealed.
    pub(crate) fn request(&mut self, exchange: ExchangeType, content: &Content) -> Vec<u8> {
        let header = Header { exchange, message_id: self.next_id, ..self.header };
        self.seal(header, content)
    }

    /// A response to the last request of the endpoint.
    pub(crate) fn response(&mut self, world: &World, content: &Content) -> Option<Vec<u8>> {
        let asked = world.asked.filter(|asked| asked.spi_i == self.header.spi_i)?;
        Some(self.seal(Header { response: true, from_initiator: true, ..asked }, content))
    }

    /// A message with this header, except for the SPIs, which are right.
    pub(crate) fn seal(&mut self, header: Header, content: &Content) -> Vec<u8> {
        self.seal_as(header, PayloadType::SK, &[], content.first, &content.octets)
    }

    /// A fragment of the next request.
    pub(crate) fn fragment(&mut self, exchange: ExchangeType, position: [u16; 2], part: &Content) -> Vec<u8> {
        let header = Header { exchange, message_id: self.next_id, ..self.header };
        let fields = position.map(u16::to_be_bytes).concat();
        self.seal_as(header, PayloadType::SKF, &fields, part.first, &part.octets)
    }

    fn seal_as(
        &mut self,
        header: Header,
        kind: PayloadType,
        fields: &[u8],
        first: PayloadType,
        content: &[u8],
    ) -> Vec<u8> {
        let header = Header { spi_i: self.header.spi_i, spi_r: self.header.spi_r, ..header };
        let mut out = Message { header, payloads: Vec::new() }.encode();
        let body_len = self.cipher.algorithms().body_len(content.len());
        let payload_len = 4 + fields.len() + body_len;
        out[16] = kind.0;
        let total = (out.len() + payload_len) as u32;
        out[24..28].copy_from_slice(&total.to_be_bytes());
        out.extend([first.0, 0]);
        out.extend((payload_len as u16).to_be_bytes());
        out.extend(fields);
        let body = self.cipher.seal(self.sealed, &out, content);
        self.sealed += 1;
        out.extend(body);
        out
    }

    /// Delivers a message; when the next request is answered, another message ID follows.
    pub(crate) fn deliver(&mut self, world: &mut World, message: &[u8]) -> Vec<Vec<u8>> {
        let sent = world.deliver(SOURCE, 500, message);
        let answers = |message: &Vec<u8>| {
            Header::parse(message).is_ok_and(|(header, _)| {
                header.response && header.spi_i == self.header.spi_i && header.message_id == self.next_id
            })
        };
        if sent.iter().any(answers) {
            self.next_id += 1;
        }
        sent
    }
}
