//! An initiator that makes one IKE SA with one Child SA and is lean: it shares no code with the responder that is
//! measured, and takes as little time as a complete handshake allows.

use std::net::Ipv4Addr;

use anyhow::{Context as _, Result, bail, ensure};
use ring::agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use ring::rand::{SecureRandom, SystemRandom};

use super::keys::{ICV_LEN, IV_LEN, Keys, prf};
use super::message::{
    GENERIC_LEN, HEADER_LEN, IKE_AUTH, IKE_SA_INIT, Payloads, Response, generic_header, notify, payload,
    proposal, request_header, traffic_selector,
};

/// Port of IKE.
pub(super) const IKE_PORT: u16 = 500;
/// Port of IKE behind a NAT.
pub(super) const NAT_T_PORT: u16 = 4500;

const X25519_GROUP: u16 = 31;
const NONCE_LEN: usize = 32;
const ID_IPV4_ADDR: u8 = 1;
const SHARED_KEY_MIC: u8 = 2;
const KEY_PAD: &[u8] = b"Key Pad for IKEv2";

/// Who connects to whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ends {
    /// Address and identity of the initiator.
    pub(super) local: Ipv4Addr,
    /// Address and identity of the responder.
    pub(super) remote: Ipv4Addr,
    /// Network behind the initiator, 8 addresses from here on.
    pub(super) network: Ipv4Addr,
}

/// What came of a response.
pub(super) enum Progress {
    /// It was none to the request under way.
    Ignored,
    /// There is another request to send.
    Next,
    /// The responder wants its cookie back first; there is another request to send.
    Cookie,
    /// The IKE SA and the Child SA exist.
    Done,
}

/// One handshake.
pub(super) struct Initiator<'p> {
    ends: Ends,
    psk: &'p [u8],
    spi_i: u64,
    nonce: [u8; NONCE_LEN],
    public: Vec<u8>,
    /// Taken when it is used.
    private: Option<EphemeralPrivateKey>,
    /// The request under way, without the non-ESP marker.
    request: Vec<u8>,
    port: u16,
    state: State,
}

enum State {
    Init,
    Auth { keys: Box<Keys>, spi_r: u64, expected_auth: [u8; 32] },
}

impl<'p> Initiator<'p> {
    /// Makes the first request.
    ///
    /// # Errors
    /// There is no randomness.
    pub(super) fn new(random: &SystemRandom, spi_i: u64, ends: Ends, psk: &'p [u8]) -> Result<Self> {
        let private = EphemeralPrivateKey::generate(&X25519, random).ok().context("no randomness")?;
        let public = private.compute_public_key().ok().context("no public value")?.as_ref().to_vec();
        let mut nonce = [0; NONCE_LEN];
        random.fill(&mut nonce).ok().context("no randomness")?;
        let mut initiator = Self {
            ends,
            psk,
            spi_i,
            nonce,
            public,
            private: Some(private),
            request: Vec::new(),
            port: IKE_PORT,
            state: State::Init,
        };
        initiator.request = initiator.init_request(None);
        Ok(initiator)
    }

    /// The request under way and the port that it goes from and to. On [`NAT_T_PORT`] the non-ESP marker is to be added.
    pub(super) fn request(&self) -> (&[u8], u16) {
        (&self.request, self.port)
    }

    /// Address of this initiator.
    pub(super) fn address(&self) -> Ipv4Addr {
        self.ends.local
    }

    /// Takes a response.
    ///
    /// # Errors
    /// The handshake cannot succeed.
    pub(super) fn handle(&mut self, response: &Response<'_>, message: &[u8]) -> Result<Progress> {
        match &self.state {
            State::Init if response.exchange == IKE_SA_INIT && response.message_id == 0 => {
                self.handle_init(response, message)
            }
            State::Auth { keys, spi_r, expected_auth }
                if response.exchange == IKE_AUTH && response.message_id == 1 && response.spi_r == *spi_r =>
            {
                check_auth_response(keys, expected_auth, response, message)?;
                Ok(Progress::Done)
            }
            _ => Ok(Progress::Ignored),
        }
    }

    fn init_request(&self, cookie: Option<&[u8]>) -> Vec<u8> {
        let mut payloads = Payloads::default();
        if let Some(cookie) = cookie {
            payloads.push_notify(notify::COOKIE, cookie);
        }
        // ENCR_AES_GCM_16 with 256 bits, PRF_HMAC_SHA2_256, Curve25519.
        payloads.push(payload::SA, proposal(1, &[], &[(1, 20, Some(256)), (2, 5, None), (4, 31, None)]));
        payloads.push(payload::KE, [&X25519_GROUP.to_be_bytes()[..], &[0, 0], &self.public].concat());
        payloads.push(payload::NONCE, self.nonce.to_vec());
        let source = nat_hash(self.spi_i, 0, self.ends.local);
        payloads.push_notify(notify::NAT_DETECTION_SOURCE_IP, &source);
        let destination = nat_hash(self.spi_i, 0, self.ends.remote);
        payloads.push_notify(notify::NAT_DETECTION_DESTINATION_IP, &destination);
        let (first, chain) = payloads.encode();
        let mut message = request_header(self.spi_i, 0, first, IKE_SA_INIT, 0, chain.len());
        message.extend(chain);
        message
    }

    fn handle_init(&mut self, response: &Response<'_>, message: &[u8]) -> Result<Progress> {
        let payloads = Payloads::decode(response.first, response.body)?;
        if let Some(cookie) = payloads.notification(notify::COOKIE) {
            self.request = self.init_request(Some(cookie));
            return Ok(Progress::Cookie);
        }
        let exchange = payloads.body(payload::KE)?;
        ensure!(exchange.len() == 4 + 32 && exchange[..2] == X25519_GROUP.to_be_bytes(), "another group");
        let nonce_r = payloads.body(payload::NONCE)?;
        let Some(private) = self.private.take() else { bail!("a second answer to IKE_SA_INIT") };
        let spis = [self.spi_i, response.spi_r];
        let keys = agree_ephemeral(private, &UnparsedPublicKey::new(&X25519, &exchange[4..]), |shared| {
            Keys::derive(shared, &self.nonce, nonce_r, spis)
        })
        .ok()
        .context("the responder's public value is invalid")?;
        let expected = nat_hash(self.spi_i, response.spi_r, self.ends.remote);
        let seen = nat_hash(self.spi_i, response.spi_r, self.ends.local);
        let agrees = |kind, hash: &[u8]| payloads.notification(kind).is_none_or(|data| data == hash);
        if !agrees(notify::NAT_DETECTION_SOURCE_IP, &expected)
            || !agrees(notify::NAT_DETECTION_DESTINATION_IP, &seen)
        {
            self.port = NAT_T_PORT;
        }
        let auth_key = prf(self.psk, &[KEY_PAD]);
        let maced_id = prf(&keys.sk_pi, &[&id_body(self.ends.local)]);
        let auth = prf(&auth_key, &[&self.request, nonce_r, &maced_id]);
        let maced_id = prf(&keys.sk_pr, &[&id_body(self.ends.remote)]);
        let expected_auth = prf(&auth_key, &[message, &self.nonce, &maced_id]);
        self.request = self.auth_request(&keys, response.spi_r, &auth);
        self.state = State::Auth { keys: Box::new(keys), spi_r: response.spi_r, expected_auth };
        Ok(Progress::Next)
    }

    fn auth_request(&self, keys: &Keys, spi_r: u64, auth: &[u8]) -> Vec<u8> {
        let mut payloads = Payloads::default();
        payloads.push(payload::ID_I, id_body(self.ends.local));
        payloads.push_notify(notify::INITIAL_CONTACT, &[]);
        payloads.push(payload::AUTH, [&[SHARED_KEY_MIC, 0, 0, 0], auth].concat());
        // ENCR_AES_GCM_16 with 256 bits, no extended sequence numbers.
        let spi = (self.spi_i as u32 | 0x8000_0000).to_be_bytes();
        payloads.push(payload::SA, proposal(3, &spi, &[(1, 20, Some(256)), (5, 0, None)]));
        let last = Ipv4Addr::from_bits(self.ends.network.to_bits() + 7);
        payloads.push(payload::TS_I, traffic_selector(self.ends.network.octets(), last.octets()));
        payloads.push(payload::TS_R, traffic_selector([0; 4], [0xff; 4]));
        let (first, mut text) = payloads.encode();
        // The length of the padding.
        text.push(0);
        let body_len = IV_LEN + text.len() + ICV_LEN;
        let mut message = request_header(self.spi_i, spi_r, payload::SK, IKE_AUTH, 1, GENERIC_LEN + body_len);
        message.extend(generic_header(first, body_len));
        // Each key seals a single message.
        let iv = [0; IV_LEN];
        keys.sealing.seal(iv, &message, &mut text);
        message.extend(iv);
        message.extend(text);
        message
    }
}

/// The Child SA exists when the responder has authenticated itself and named its half.
fn check_auth_response(
    keys: &Keys,
    expected_auth: &[u8],
    response: &Response<'_>,
    message: &[u8],
) -> Result<()> {
    const FRONT: usize = GENERIC_LEN + IV_LEN;
    ensure!(response.first == payload::SK && response.body.len() > FRONT + ICV_LEN, "no encrypted payload");
    let first = response.body[0];
    let iv = response.body[GENERIC_LEN..FRONT].try_into()?;
    let mut text = response.body[FRONT..].to_vec();
    let text = keys.opening.open(iv, &message[..HEADER_LEN + GENERIC_LEN], &mut text)?;
    let padding = usize::from(*text.last().context("an empty payload")?);
    let chain = text.get(..text.len().saturating_sub(padding + 1)).unwrap_or_default();
    let payloads = Payloads::decode(first, chain)?;
    payloads.body(payload::ID_R)?;
    let auth = payloads.body(payload::AUTH)?;
    ensure!(auth[0] == SHARED_KEY_MIC && auth[4..] == *expected_auth, "the responder's AUTH is wrong");
    for kind in [payload::SA, payload::TS_I, payload::TS_R] {
        payloads.body(kind)?;
    }
    Ok(())
}

fn id_body(address: Ipv4Addr) -> Vec<u8> {
    [&[ID_IPV4_ADDR, 0, 0, 0], &address.octets()[..]].concat()
}

/// RFC 7296 section 2.23.
fn nat_hash(spi_i: u64, spi_r: u64, address: Ipv4Addr) -> Vec<u8> {
    let parts =
        [&spi_i.to_be_bytes()[..], &spi_r.to_be_bytes(), &address.octets(), &IKE_PORT.to_be_bytes()].concat();
    digest(&SHA1_FOR_LEGACY_USE_ONLY, &parts).as_ref().to_vec()
}
