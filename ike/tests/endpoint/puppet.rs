//! A peer made by hand: it authenticates itself to end 0 and then says exactly what a test wants.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use ike::PeerConfig;
use ike::crypto::{DhGroup, DhKeyPair, IkeAead, IkeKeys, KeyExchange, Prf, SkCipher, psk_auth};
use ike::wire::{
    AuthMethod, Authentication, Delete, ExchangeType, Header, IdType, Identification, KeyExchangeData,
    Message, Notify, NotifyType, Payload, Proposal, ProtocolId, SealedMessage, Selector, TrafficSelector,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::sim::{ADDRESSES, PSK, Pair, cheap_config, ike_message};

const PRF: Prf = Prf::HmacSha256;
const CIPHER: IkeAead = IkeAead::Aes128Gcm16;
const GROUP: DhGroup = DhGroup::X25519;
/// The puppet's SPI of its first Child SA.
pub(crate) const FIRST_SPI: u32 = 0x7000_0001;

/// The peer in place of end 1, responder of IKE_SA_INIT.
pub(crate) struct Puppet {
    pub(crate) keys: IkeKeys,
    /// Of messages in the direction to end 0.
    header: Header,
    to_end_0: SkCipher,
    from_end_0: SkCipher,
    next_request: u32,
    sealed: u64,
    /// How much of the trace has been read.
    read: usize,
    inbox: VecDeque<Received>,
    /// The SPI of end 0 for the first Child SA.
    pub(crate) first_child: u32,
}

/// The configuration of end 0, without liveness checks.
pub(crate) fn patient_config() -> PeerConfig {
    PeerConfig { dpd_interval: Duration::from_hours(10), ..cheap_config(0) }
}

/// A message from end 0.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) header: Header,
    pub(crate) payloads: Vec<Payload>,
}

/// A public value and a nonce of the puppet.
pub(crate) struct Contribution {
    pub(crate) key_pair: DhKeyPair,
    pub(crate) nonce: Vec<u8>,
}

impl Puppet {
    /// Connects end 0 with a puppet that accepts everything. End 0 does not ask whether the puppet lives.
    pub(crate) fn connected(seed: u64) -> (Pair, Self) {
        Self::connected_with(seed, patient_config())
    }

    /// As [`Self::connected`], with this configuration of end 0.
    pub(crate) fn connected_with(seed: u64, config: PeerConfig) -> (Pair, Self) {
        Self::answering_auth(seed, config, |offer| {
            vec![
                Payload::SecurityAssociation(vec![chosen_by(offer, &FIRST_SPI.to_be_bytes())]),
                any_selectors()[0].clone(),
                any_selectors()[1].clone(),
            ]
        })
    }

    /// Lets end 0 connect; the puppet's IKE_AUTH has these payloads for the first Child SA, given the request.
    pub(crate) fn answering_auth(
        seed: u64,
        config: PeerConfig,
        child: impl FnOnce(&[Payload]) -> Vec<Payload>,
    ) -> (Pair, Self) {
        let mut pair = Pair::new(seed);
        pair.cut();
        pair.set_peer(0, config);
        let request = Message::parse(&pair.trace[0].1).unwrap();
        let own = Contribution::new(seed);
        let header = Header { spi_r: 0x1234_5678, from_initiator: false, response: true, ..request.header };
        let mut proposal = proposals(&request.payloads)[0].clone();
        proposal.spi = Vec::new();
        let payloads = vec![
            Payload::SecurityAssociation(vec![proposal]),
            own.key_exchange(),
            Payload::Nonce(own.nonce.clone()),
        ];
        let answer = Message { header, payloads }.encode();
        let nonce_i = nonce(&request.payloads);
        let keys = IkeKeys::derive(
            PRF,
            CIPHER,
            &KeyExchange {
                shared: &own.key_pair.agree(&public_value(&request.payloads)).unwrap(),
                nonce_i: &nonce_i,
                nonce_r: &own.nonce,
                spi_i: header.spi_i,
                spi_r: header.spi_r,
            },
        );
        let mut puppet = Self::with_keys(keys, header);
        puppet.read = pair.trace.len();
        pair.receive(0, socket(0), socket(1), &answer);
        let auth = puppet.next(&mut pair);
        assert_eq!(auth.header.exchange, ExchangeType::IKE_AUTH);
        puppet.first_child = esp_spi(&auth.payloads);
        let id = Identification::new(IdType::FQDN, b"peer");
        let mac = psk_auth(PRF, PSK, &puppet.keys.sk_pr, &answer, &nonce_i, id.body()).to_vec();
        let method = AuthMethod::SHARED_KEY;
        let mut payloads =
            vec![Payload::IdResponder(id), Payload::Authentication(Authentication { method, data: mac })];
        payloads.extend(child(&auth.payloads));
        puppet.respond(&mut pair, &auth, payloads);
        (pair, puppet)
    }

    fn with_keys(keys: IkeKeys, header: Header) -> Self {
        let (of_initiator, of_responder) = (keys.initiator_cipher(CIPHER), keys.responder_cipher(CIPHER));
        let (to_end_0, from_end_0) =
            if header.from_initiator { (of_initiator, of_responder) } else { (of_responder, of_initiator) };
        Self {
            to_end_0: to_end_0.unwrap(),
            from_end_0: from_end_0.unwrap(),
            keys,
            header,
            next_request: 0,
            sealed: 0,
            read: 0,
            inbox: VecDeque::new(),
            first_child: 0,
        }
    }

    /// The IKE SA that a rekey makes of this one. `contributions`: nonces and SPIs of the exchange, who asked first.
    pub(crate) fn rekeyed(
        &self,
        pair: &Pair,
        own: &Contribution,
        other: &[Payload],
        (own_spi, other_spi): (u64, u64),
        puppet_asked: bool,
    ) -> Self {
        let shared = own.key_pair.agree(&public_value(other)).unwrap();
        let other_nonce = nonce(other);
        let (nonce_i, nonce_r, spi_i, spi_r) = if puppet_asked {
            (&own.nonce, &other_nonce, own_spi, other_spi)
        } else {
            (&other_nonce, &own.nonce, other_spi, own_spi)
        };
        let exchange = KeyExchange { shared: &shared, nonce_i, nonce_r, spi_i, spi_r };
        let keys = IkeKeys::derive_rekeyed(PRF, &self.keys.sk_d, PRF, CIPHER, &exchange);
        let header = Header { spi_i, spi_r, from_initiator: puppet_asked, ..self.header };
        Self { read: pair.trace.len(), ..Self::with_keys(keys, header) }
    }

    /// The next message of end 0 in this IKE SA.
    #[track_caller]
    pub(crate) fn next(&mut self, pair: &mut Pair) -> Received {
        self.try_next(pair).expect("end 0 has sent something")
    }

    pub(crate) fn try_next(&mut self, pair: &mut Pair) -> Option<Received> {
        for (from, datagram) in &pair.trace[self.read.min(pair.trace.len())..] {
            let Ok(sealed) = SealedMessage::parse(ike_message(datagram)) else { continue };
            let spis = (sealed.header.spi_i, sealed.header.spi_r);
            if *from == 0 && spis == (self.header.spi_i, self.header.spi_r) {
                let payloads = sealed.open(&self.from_end_0).unwrap();
                self.inbox.push_back(Received { header: sealed.header, payloads });
            }
        }
        self.read = pair.trace.len();
        self.inbox.pop_front()
    }

    /// Answers a request of end 0.
    pub(crate) fn respond(&mut self, pair: &mut Pair, request: &Received, payloads: Vec<Payload>) {
        let Header { exchange, message_id, .. } = request.header;
        self.send(pair, Header { exchange, message_id, response: true, ..self.header }, payloads);
    }

    /// Sends a request and returns the response of end 0, which must be the next message.
    #[track_caller]
    pub(crate) fn ask(
        &mut self,
        pair: &mut Pair,
        exchange: ExchangeType,
        payloads: Vec<Payload>,
    ) -> Vec<Payload> {
        let message_id = self.tell(pair, exchange, payloads);
        let response = self.next(pair);
        assert!(response.header.response && response.header.message_id == message_id, "{response:?}");
        response.payloads
    }

    /// Sends a request. Returns its message ID.
    pub(crate) fn tell(&mut self, pair: &mut Pair, exchange: ExchangeType, payloads: Vec<Payload>) -> u32 {
        let message_id = self.next_request;
        self.next_request += 1;
        let header = Header { exchange, message_id, response: false, ..self.header };
        self.send(pair, header, payloads);
        message_id
    }

    /// Deletes Child SAs by the puppet's SPIs.
    #[track_caller]
    pub(crate) fn delete_children(&mut self, pair: &mut Pair, spis: &[u32]) -> Vec<Payload> {
        self.ask(pair, ExchangeType::INFORMATIONAL, vec![delete_esp(spis)])
    }

    pub(crate) fn send(&mut self, pair: &mut Pair, header: Header, payloads: Vec<Payload>) {
        self.sealed += 1;
        let datagram = Message { header, payloads }.seal(&self.to_end_0, self.sealed);
        pair.receive(0, socket(0), socket(1), &datagram);
    }
}

impl Contribution {
    pub(crate) fn new(seed: u64) -> Self {
        Self::with_nonce(seed, vec![seed as u8; 32])
    }

    pub(crate) fn with_nonce(seed: u64, nonce: Vec<u8>) -> Self {
        Self { key_pair: DhKeyPair::generate(GROUP, &mut StdRng::seed_from_u64(seed)), nonce }
    }

    pub(crate) fn key_exchange(&self) -> Payload {
        let data = self.key_pair.public().to_vec();
        Payload::KeyExchange(KeyExchangeData { group: GROUP.id(), data })
    }

    /// What answers a request that carries an offer, with this SPI.
    pub(crate) fn answer(&self, request: &[Payload], spi: &[u8]) -> Vec<Payload> {
        let mut answer = vec![
            Payload::SecurityAssociation(vec![chosen_by(request, spi)]),
            Payload::Nonce(self.nonce.clone()),
            self.key_exchange(),
        ];
        if spi.len() == 4 {
            answer.extend(any_selectors());
        }
        answer
    }

    /// A request for what `like` asks for or agrees on, with this SPI.
    pub(crate) fn request(&self, like: &[Proposal], spi: &[u8]) -> Vec<Payload> {
        let offer = like.iter().map(|proposal| Proposal { spi: spi.to_vec(), ..proposal.clone() }).collect();
        let mut request = vec![
            Payload::SecurityAssociation(offer),
            Payload::Nonce(self.nonce.clone()),
            self.key_exchange(),
        ];
        if spi.len() == 4 {
            request.extend(any_selectors());
        }
        request
    }
}

pub(crate) fn notify(kind: NotifyType) -> Payload {
    Payload::Notify(Notify::new(kind, []))
}

/// The kind of the only notification in a message.
#[track_caller]
pub(crate) fn only_notification(payloads: &[Payload]) -> NotifyType {
    match payloads {
        [Payload::Notify(notify)] => notify.kind,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn delete_esp(spis: &[u32]) -> Payload {
    Payload::Delete(Delete::ChildSas { protocol: ProtocolId::ESP, spis: spis.to_vec() })
}

pub(crate) fn proposals(payloads: &[Payload]) -> &[Proposal] {
    let found = payloads.iter().find_map(|payload| match payload {
        Payload::SecurityAssociation(proposals) => Some(proposals),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no SA payload in {payloads:?}"))
}

pub(crate) fn esp_spi(payloads: &[Payload]) -> u32 {
    u32::from_be_bytes(proposals(payloads)[0].spi.as_slice().try_into().unwrap())
}

pub(crate) fn ike_spi(payloads: &[Payload]) -> u64 {
    u64::from_be_bytes(proposals(payloads)[0].spi.as_slice().try_into().unwrap())
}

pub(crate) fn nonce(payloads: &[Payload]) -> Vec<u8> {
    let found = payloads.iter().find_map(|payload| match payload {
        Payload::Nonce(nonce) => Some(nonce.clone()),
        _ => None,
    });
    found.unwrap()
}

pub(crate) fn any_selectors() -> [Payload; 2] {
    let any = vec![TrafficSelector::Range(Selector::ANY_IPV4)];
    [Payload::SelectorsInitiator(any.clone()), Payload::SelectorsResponder(any)]
}

fn public_value(payloads: &[Payload]) -> Vec<u8> {
    let found = payloads.iter().find_map(|payload| match payload {
        Payload::KeyExchange(exchange) => Some(exchange.data.clone()),
        _ => None,
    });
    found.unwrap()
}

/// The first proposal of an offer, with another SPI. The configuration has one algorithm of each kind.
fn chosen_by(offer: &[Payload], spi: &[u8]) -> Proposal {
    Proposal { spi: spi.to_vec(), ..proposals(offer)[0].clone() }
}

fn socket(index: usize) -> SocketAddr {
    SocketAddr::new(ADDRESSES[index], 500)
}
