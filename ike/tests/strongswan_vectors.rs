//! `ike::crypto` against conversations of a foreign implementation: every key is derived anew from the captured
//! nonces, SPIs and shared secrets and must equal what strongSwan printed; every captured SK payload must open; both
//! AUTH payloads must verify.

use std::collections::HashMap;
use std::net::SocketAddr;

use ike::crypto::{
    ChildKeys, CryptoError, DhGroup, DhKeyPair, EspAead, EspKey, IkeAead, IkeCbc, IkeKeys, Integrity,
    KeyExchange, Prf, SharedSecret, SkAlgorithms, SkCipher, nat_detection_hash, psk_auth, verify_psk_auth,
};
use rand::SeedableRng;
use rand::rngs::StdRng;
use zeroize::Zeroizing;

const X25519: &str = include_str!("data/strongswan-x25519.txt");
const ECP384: &str = include_str!("data/strongswan-ecp384.txt");
const MODP2048: &str = include_str!("data/strongswan-modp2048.txt");
const MODP3072: &str = include_str!("data/strongswan-modp3072.txt");
const MODP4096: &str = include_str!("data/strongswan-modp4096.txt");
const ECP521: &str = include_str!("data/strongswan-ecp521.txt");

const KE: u8 = 34;
const ID_I: u8 = 35;
const ID_R: u8 = 36;
const AUTH: u8 = 39;
const NONCE: u8 = 40;
const NOTIFY: u8 = 41;

const NAT_DETECTION_DESTINATION_IP: u16 = 16389;

fn conversations() -> [Conversation; 6] {
    [
        Conversation::parse(
            X25519,
            DhGroup::X25519,
            Prf::HmacSha256,
            SkAlgorithms::Aead(IkeAead::Aes128Gcm16),
            EspAead::Aes128Gcm16,
        ),
        Conversation::parse(
            ECP384,
            DhGroup::Ecp384,
            Prf::HmacSha384,
            SkAlgorithms::Aead(IkeAead::Aes256Gcm16),
            EspAead::Aes256Gcm16,
        ),
        Conversation::parse(
            MODP2048,
            DhGroup::Modp2048,
            Prf::HmacSha512,
            SkAlgorithms::Aead(IkeAead::Aes256Gcm16),
            EspAead::ChaCha20Poly1305,
        ),
        Conversation::parse(
            MODP3072,
            DhGroup::Modp3072,
            Prf::HmacSha256,
            SkAlgorithms::Cbc(IkeCbc::Aes256, Integrity::HmacSha256),
            EspAead::Aes256Gcm16,
        ),
        Conversation::parse(
            MODP4096,
            DhGroup::Modp4096,
            Prf::HmacSha512,
            SkAlgorithms::Cbc(IkeCbc::Aes128, Integrity::HmacSha384),
            EspAead::ChaCha20Poly1305,
        ),
        Conversation::parse(
            ECP521,
            DhGroup::Ecp521,
            Prf::HmacSha384,
            SkAlgorithms::Aead(IkeAead::ChaCha20Poly1305),
            EspAead::Aes256Gcm16,
        ),
    ]
}

#[test]
fn ike_keys_equal_those_of_strongswan() {
    for conversation in conversations() {
        assert_ike_keys(&conversation.ike_keys(), &conversation, "");
    }
}

#[test]
fn public_values_of_strongswan_are_accepted() {
    for conversation in conversations() {
        let pair = DhKeyPair::generate(conversation.group, &mut StdRng::seed_from_u64(1));
        for message in ["init_request", "init_response"] {
            // Group number and two reserved octets lead.
            let key_exchange = payload(&conversation.clear_payloads(message), KE);
            let shared = pair.agree(&key_exchange[4..]).unwrap();
            assert_eq!(shared.as_bytes().len(), conversation.bytes("shared").len());
        }
    }
}

#[test]
fn both_auth_payloads_verify() {
    for conversation in conversations() {
        let keys = conversation.ike_keys();
        let (nonce_i, nonce_r) = conversation.init_nonces();
        let sides = [
            ("auth_request", Sender::Initiator, &keys.sk_pi, "init_request", &nonce_r, ID_I),
            ("auth_response", Sender::Responder, &keys.sk_pr, "init_response", &nonce_i, ID_R),
        ];
        for (message, sender, sk_p, signed, peer_nonce, id_type) in sides {
            let payloads = conversation.open(message, &keys, sender);
            let identity = payload(&payloads, id_type);
            // Authentication method 2 (shared key) and three reserved octets lead.
            let auth = payload(&payloads, AUTH);
            assert_eq!(auth[..4], [2, 0, 0, 0]);
            let signed = conversation.bytes(signed);
            let psk = conversation.bytes("psk");
            let prf = conversation.prf;
            assert_eq!(*psk_auth(prf, &psk, sk_p, &signed, peer_nonce, &identity), auth[4..]);
            let verify = |psk: &[u8], received: &[u8]| {
                verify_psk_auth(prf, psk, sk_p, &signed, peer_nonce, &identity, received)
            };
            assert_eq!(verify(&psk, &auth[4..]), Ok(()));
            assert_eq!(verify(b"another key", &auth[4..]), Err(CryptoError::AuthenticationFailed));
            assert_eq!(verify(&psk, &auth[4..auth.len() - 1]), Err(CryptoError::AuthenticationFailed));
            assert_eq!(verify(&psk, &[]), Err(CryptoError::AuthenticationFailed));
        }
    }
}

#[test]
fn captured_messages_open_only_unmodified_and_with_their_own_key() {
    for conversation in conversations() {
        let keys = conversation.ike_keys();
        let message = conversation.bytes("auth_request");
        let (own, other) =
            (conversation.cipher(&keys, Sender::Initiator), conversation.cipher(&keys, Sender::Responder));
        assert!(open_sk(&own, &message).is_ok());
        assert!(open_sk(&other, &message).is_err());
        for index in 0..message.len() {
            let mut modified = message.clone();
            modified[index] ^= 0x10;
            let error = open_sk(&own, &modified).unwrap_err();
            assert_eq!(error, CryptoError::IntegrityCheckFailed, "octet {index}");
        }
    }
}

#[test]
fn sealing_with_aead_ciphers_reproduces_the_captured_messages() {
    // With AES-CBC the IV and the octets of the padding are the sender's.
    let aead = |conversation: &Conversation| matches!(conversation.algorithms, SkAlgorithms::Aead(_));
    for conversation in conversations().into_iter().filter(aead) {
        let keys = conversation.ike_keys();
        for (name, sender) in [("auth_request", Sender::Initiator), ("auth_response", Sender::Responder)] {
            let message = conversation.bytes(name);
            let cipher = conversation.cipher(&keys, sender);
            let content = open_sk(&cipher, &message).unwrap();
            let (aad, body) = split_sk(&message);
            let number = u64::from_be_bytes(body[..8].try_into().unwrap());
            assert_eq!(cipher.seal(number, aad, &content), body);
        }
    }
}

#[test]
fn first_child_keys_equal_those_of_strongswan() {
    for conversation in conversations() {
        let (nonce_i, nonce_r) = conversation.init_nonces();
        let sk_d = conversation.bytes("sk_d");
        let keys =
            ChildKeys::derive(conversation.prf, &sk_d, conversation.esp_aead, None, &nonce_i, &nonce_r);
        assert_child_keys(&keys, &conversation, "child");
    }
}

#[test]
fn rekeyed_child_keys_with_forward_secrecy_equal_those_of_strongswan() {
    for conversation in conversations() {
        let keys = conversation.ike_keys();
        // The responder of the IKE SA is the initiator of this exchange.
        let nonce_i = payload(&conversation.open("rekey_child_request", &keys, Sender::Responder), NONCE);
        let nonce_r = payload(&conversation.open("rekey_child_response", &keys, Sender::Initiator), NONCE);
        let shared = conversation.shared("rekey_child_shared");
        let child = ChildKeys::derive(
            conversation.prf,
            &keys.sk_d,
            conversation.esp_aead,
            Some(&shared),
            &nonce_i,
            &nonce_r,
        );
        assert_child_keys(&child, &conversation, "rekey_child");
    }
}

#[test]
fn rekeyed_ike_keys_equal_those_of_strongswan_and_open_its_messages() {
    for conversation in conversations() {
        let old = conversation.ike_keys();
        let nonce_i = payload(&conversation.open("rekey_ike_request", &old, Sender::Initiator), NONCE);
        let nonce_r = payload(&conversation.open("rekey_ike_response", &old, Sender::Responder), NONCE);
        let shared = conversation.shared("rekey_ike_shared");
        let (spi_i, spi_r) = spis(&conversation.bytes("rekey_ike_spis"));
        let (prf, algorithms) = (conversation.prf, conversation.algorithms);
        let exchange = KeyExchange { shared: &shared, nonce_i: &nonce_i, nonce_r: &nonce_r, spi_i, spi_r };
        let new = IkeKeys::derive_rekeyed(prf, &old.sk_d, prf, algorithms, &exchange);
        assert_ike_keys(&new, &conversation, "rekey_ike_");
        conversation.open("informational_request", &new, Sender::Initiator);
        conversation.open("informational_response", &new, Sender::Responder);
    }
}

#[test]
fn nat_detection_hash_equals_that_of_strongswan() {
    for conversation in conversations() {
        let responder: SocketAddr = "192.0.2.2:500".parse().unwrap();
        let initiator: SocketAddr = "192.0.2.1:500".parse().unwrap();
        for (message, destination) in [("init_request", responder), ("init_response", initiator)] {
            let (spi_i, spi_r) = spis(&conversation.bytes(message));
            let expected = nat_detection_hash(spi_i, spi_r, destination);
            let found = conversation.clear_payloads(message).into_iter().any(|(kind, body)| {
                kind == NOTIFY
                    && body[2..4] == NAT_DETECTION_DESTINATION_IP.to_be_bytes()
                    && body[4..] == expected
            });
            assert!(found, "{message}");
        }
    }
}

/// Which end of the IKE SA a message is from.
#[derive(Clone, Copy)]
enum Sender {
    Initiator,
    Responder,
}

/// A fixture file and the algorithms its conversation negotiated.
struct Conversation {
    fields: HashMap<&'static str, &'static str>,
    group: DhGroup,
    prf: Prf,
    algorithms: SkAlgorithms,
    esp_aead: EspAead,
}

impl Conversation {
    fn parse(
        text: &'static str,
        group: DhGroup,
        prf: Prf,
        algorithms: SkAlgorithms,
        esp_aead: EspAead,
    ) -> Self {
        let fields: HashMap<_, _> = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.is_empty())
            .map(|line| line.split_once(" = ").expect("a fixture line is `name = value`"))
            .collect();
        assert_eq!(fields["dh_group"], group.name());
        assert_eq!(fields["prf"], prf.name());
        assert_eq!(fields["ike_cipher"], algorithms.to_string());
        assert_eq!(fields["esp_aead"], esp_aead.name());
        Self { fields, group, prf, algorithms, esp_aead }
    }

    fn bytes(&self, name: &str) -> Vec<u8> {
        let field = self.fields.get(name).unwrap_or_else(|| panic!("the fixture lacks {name}"));
        hex::decode(field).unwrap()
    }

    fn shared(&self, name: &str) -> SharedSecret {
        SharedSecret::from_bytes(Zeroizing::new(self.bytes(name)))
    }

    fn clear_payloads(&self, message: &str) -> Vec<(u8, Vec<u8>)> {
        let message = self.bytes(message);
        payloads(message[16], &message[28..])
    }

    fn init_nonces(&self) -> (Vec<u8>, Vec<u8>) {
        (
            payload(&self.clear_payloads("init_request"), NONCE),
            payload(&self.clear_payloads("init_response"), NONCE),
        )
    }

    fn ike_keys(&self) -> IkeKeys {
        let (nonce_i, nonce_r) = self.init_nonces();
        let (spi_i, spi_r) = spis(&self.bytes("init_response"));
        let shared = self.shared("shared");
        let exchange = KeyExchange { shared: &shared, nonce_i: &nonce_i, nonce_r: &nonce_r, spi_i, spi_r };
        IkeKeys::derive(self.prf, self.algorithms, &exchange)
    }

    fn cipher(&self, keys: &IkeKeys, sender: Sender) -> SkCipher {
        match sender {
            Sender::Initiator => keys.initiator_cipher(self.algorithms),
            Sender::Responder => keys.responder_cipher(self.algorithms),
        }
        .unwrap()
    }

    /// The payloads inside the SK payload of a message.
    fn open(&self, message: &str, keys: &IkeKeys, sender: Sender) -> Vec<(u8, Vec<u8>)> {
        let octets = self.bytes(message);
        let content =
            open_sk(&self.cipher(keys, sender), &octets).unwrap_or_else(|error| panic!("{message}: {error}"));
        payloads(octets[28], &content)
    }
}

fn assert_ike_keys(keys: &IkeKeys, conversation: &Conversation, prefix: &str) {
    let IkeKeys { sk_d, sk_ai, sk_ar, sk_ei, sk_er, sk_pi, sk_pr } = keys;
    let mut named =
        vec![("sk_d", sk_d), ("sk_ei", sk_ei), ("sk_er", sk_er), ("sk_pi", sk_pi), ("sk_pr", sk_pr)];
    match conversation.algorithms {
        SkAlgorithms::Aead(_) => assert!(sk_ai.is_empty() && sk_ar.is_empty()),
        SkAlgorithms::Cbc(..) => named.extend([("sk_ai", sk_ai), ("sk_ar", sk_ar)]),
    }
    for (name, key) in named {
        assert_eq!(**key, conversation.bytes(&format!("{prefix}{name}")), "{name}");
    }
}

fn assert_child_keys(keys: &ChildKeys, conversation: &Conversation, prefix: &str) {
    let keymat = |key: &EspKey| [key.key.as_slice(), key.salt.as_slice()].concat();
    let initiator = conversation.bytes(&format!("{prefix}_initiator_key"));
    let responder = conversation.bytes(&format!("{prefix}_responder_key"));
    assert_eq!(keymat(&keys.initiator_to_responder), initiator);
    assert_eq!(keymat(&keys.responder_to_initiator), responder);
}

fn spis(message: &[u8]) -> (u64, u64) {
    let spi = |at: usize| u64::from_be_bytes(message[at..at + 8].try_into().unwrap());
    (spi(0), spi(8))
}

/// Walks a chain of payloads (RFC 7296 §3.2) whose first is of type `kind`.
fn payloads(mut kind: u8, mut chain: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut found = Vec::new();
    while kind != 0 {
        let len = usize::from(u16::from_be_bytes([chain[2], chain[3]]));
        found.push((kind, chain[4..len].to_vec()));
        kind = chain[0];
        chain = &chain[len..];
    }
    assert!(chain.is_empty());
    found
}

fn payload(payloads: &[(u8, Vec<u8>)], kind: u8) -> Vec<u8> {
    let (_, body) = payloads.iter().find(|(found, _)| *found == kind).expect("the payload is present");
    body.clone()
}

/// Associated data and body of a message whose only payload is SK (RFC 5282 §3, §5.1).
fn split_sk(message: &[u8]) -> (&[u8], &[u8]) {
    message.split_at(32)
}

fn open_sk(cipher: &SkCipher, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let (aad, body) = split_sk(message);
    cipher.open(aad, body)
}
