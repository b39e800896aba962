//! Authentication by certificates, and what becomes of ends that authenticate in different ways.

use std::sync::Arc;
use std::time::Duration;

use ike::crypto::{HashAlgorithm, RsaHash, SignatureScheme, SigningKey};
use ike::wire::{
    AuthMethod, Authentication, CertEncoding, Certificate, ExchangeType, IdType, Identification, Notify,
    NotifyType, Payload,
};
use ike::{CertificateAuth, ConnectionMode, Credentials, Identity, PeerConfig, PeerState, TrustAnchors};
use rcgen::SanType;

use crate::pki::{Authority, Issued, Kind, gateway};
use crate::rogue::{Rogue, waiting_with};
use crate::sim::{ADDRESSES, PEER, Pair, cheap_config};

/// 2026-06-01 00:00 UTC.
const NOW: Duration = Duration::from_hours(494_520);
const SUBJECT_1: &str = "C=DE, O=Example, CN=gw1";

/// The configuration of end `index` with this certificate, which expects `gw<other>.example`.
fn config(index: usize, issued: &Issued, trusted: &str) -> PeerConfig {
    let credentials = Credentials::from_pem(issued.chain.as_bytes(), issued.key.as_bytes()).unwrap();
    let trust = TrustAnchors::from_pem(trusted.as_bytes()).unwrap();
    let certificate = CertificateAuth { credentials: Arc::new(credentials), trust: Arc::new(trust) };
    let remote_id: Identity = format!("gw{}.example", 1 - index).parse().unwrap();
    let local_id = format!("gw{index}.example").parse().unwrap();
    let [local, remote] = [ADDRESSES[index], ADDRESSES[1 - index]];
    let ours = PeerConfig::with_certificate(local, remote, certificate, remote_id);
    PeerConfig { local_id, mode: mode(index), ..with_cheap_algorithms(index, ours) }
}

fn mode(index: usize) -> ConnectionMode {
    if index == 0 { ConnectionMode::Default } else { ConnectionMode::Responder }
}

fn with_cheap_algorithms(index: usize, config: PeerConfig) -> PeerConfig {
    let PeerConfig { ike_proposals, esp_proposals, .. } = cheap_config(index);
    PeerConfig { ike_proposals, esp_proposals, ..config }
}

/// The configurations of both ends with P-256 certificates of one authority.
fn configs() -> [PeerConfig; 2] {
    let root = Authority::root("Root");
    [0, 1].map(|index| config(index, &root.issue(Kind::P256, &gateway(&format!("gw{index}"))), &root.pem()))
}

/// Both ends know the time of day.
fn told_the_time() -> Pair {
    let mut pair = Pair::new(1);
    for index in [0, 1] {
        pair.act(index, |endpoint, now| endpoint.set_wall_clock(now, NOW));
    }
    pair
}

/// What happens in the first second.
fn run(configs: [PeerConfig; 2]) -> Pair {
    let mut pair = told_the_time();
    let [initiator, responder] = configs;
    pair.set_peer(1, responder);
    pair.set_peer(0, initiator);
    pair.run_for(Duration::from_millis(800));
    pair
}

#[track_caller]
fn assert_refused(pair: &Pair) {
    assert_eq!((pair.state(0), pair.state(1)), (PeerState::Connecting, PeerState::NotConnected));
    assert!(pair.nodes.iter().all(|node| node.plane.outbound.is_none()));
}

#[test]
fn each_kind_of_key_authenticates_in_both_roles() {
    let root = Authority::root("Root");
    for (index, kind) in Kind::ALL.into_iter().enumerate() {
        let other = Kind::ALL[(index + 1) % Kind::ALL.len()];
        let issue = |index: usize, kind| root.issue(kind, &gateway(&format!("gw{index}")));
        let pair = run([config(0, &issue(0, kind), &root.pem()), config(1, &issue(1, other), &root.pem())]);
        pair.assert_settled();
    }
}

#[test]
fn the_subject_is_the_identity_unless_another_is_set() {
    let root = Authority::root("Root");
    let mut configs = configs_of(&root);
    for (index, config) in configs.iter_mut().enumerate() {
        let ike::Auth::Certificate(certificate) = config.auth.clone() else { unreachable!() };
        let remote_id: Identity = format!("C=DE, O=Example, CN=gw{}", 1 - index).parse().unwrap();
        let ours = PeerConfig::with_certificate(config.local, config.remote, certificate, remote_id);
        *config = PeerConfig { mode: config.mode, ..with_cheap_algorithms(index, ours) };
    }
    let mut pair = run(configs);
    pair.assert_settled();
    // An SA that replaces another keeps what was proved.
    pair.act(0, |endpoint, now| endpoint.rekey_ike(now, PEER));
    pair.run_for(Duration::from_secs(10));
    for index in [0, 1] {
        let ike = pair.status(index).ike.unwrap();
        assert_eq!(ike.rekeys, 1);
        assert_eq!(ike.authentication, "certificate");
        assert_eq!(ike.peer_identity, format!("C=DE, O=Example, CN=gw{}", 1 - index));
    }
}

fn configs_of(root: &Authority) -> [PeerConfig; 2] {
    [0, 1]
        .map(|index| config(index, &root.issue(Kind::Ed25519, &gateway(&format!("gw{index}"))), &root.pem()))
}

#[test]
fn addresses_and_mail_addresses_are_identities_too() {
    let root = Authority::root("Root");
    let identities = ["192.0.2.7", "2001:db8::7", "gw@example"];
    for text in identities {
        let identity: Identity = text.parse().unwrap();
        let mut params = gateway("gw1");
        params.subject_alt_names.push(match text.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::Rfc822Name(text.try_into().unwrap()),
        });
        let [initiator, _] = configs_of(&root);
        let responder = config(1, &root.issue(Kind::P256, &params), &root.pem());
        let initiator = PeerConfig { remote_id: Some(identity.clone()), ..initiator };
        run([initiator, PeerConfig { local_id: identity, ..responder }]).assert_settled();
    }
}

#[test]
fn intermediate_authorities_come_with_the_certificate() {
    let root = Authority::root("Root");
    let lowest = root.intermediate("First", |_| {}).intermediate("Second", |_| {});
    let issue = |index: usize| lowest.issue(Kind::P256, &gateway(&format!("gw{index}")));
    let trusting = |trusted: &str| run([config(0, &issue(0), trusted), config(1, &issue(1), trusted)]);
    let octets = |pair: &Pair| pair.trace.iter().map(|(_, datagram)| datagram.len()).sum::<usize>();
    let (root, lowest) = (trusting(&root.pem()), trusting(&lowest.pem()));
    root.assert_settled();
    lowest.assert_settled();
    assert!(octets(&lowest) + 1000 < octets(&root), "whoever trusts an intermediate does not get it again");
}

#[test]
fn large_chains_come_in_fragments() {
    let root = Authority::root("Root");
    let mut lowest = Authority::root("unused");
    let issue = |authority: &Authority, index: usize| {
        let mut params = gateway(&format!("gw{index}"));
        let more = (0..100).map(|name| SanType::DnsName(format!("name{name}.example").try_into().unwrap()));
        params.subject_alt_names.extend(more);
        authority.issue(Kind::Rsa, &params)
    };
    for level in 0..5 {
        let above = if level == 0 { &root } else { &lowest };
        lowest = above.intermediate(&format!("Level {level} {}", "x".repeat(400)), |_| {});
    }
    let pair = run([config(0, &issue(&lowest, 0), &root.pem()), config(1, &issue(&lowest, 1), &root.pem())]);
    pair.assert_settled();
    assert!(pair.trace.len() > 8, "{}", pair.trace.len());
    assert!(pair.trace.iter().all(|(_, datagram)| datagram.len() < 1300));
}

#[test]
fn a_certificate_of_another_authority_is_refused_in_both_roles() {
    let (root, other) = (Authority::root("Root"), Authority::root("Other"));
    let issue =
        |authority: &Authority, index: usize| authority.issue(Kind::P256, &gateway(&format!("gw{index}")));
    let pair = run([config(0, &issue(&other, 0), &root.pem()), config(1, &issue(&root, 1), &root.pem())]);
    assert_refused(&pair);
    assert_eq!(
        pair.last_error(1),
        "authentication of peer failed: certificate of C=DE, O=Example, CN=gw0: its issuer C=DE, O=Example, \
         CN=Other is not trusted"
    );
    assert_eq!(
        pair.last_error(0),
        "peer says AUTHENTICATION_FAILED: does it trust our certificate, and expect gw0.example?"
    );
    let pair = run([config(0, &issue(&root, 0), &root.pem()), config(1, &issue(&other, 1), &root.pem())]);
    assert_refused(&pair);
    assert_eq!(
        pair.last_error(0),
        "authentication of peer failed: certificate of C=DE, O=Example, CN=gw1: its issuer C=DE, O=Example, \
         CN=Other is not trusted"
    );
}

#[test]
fn another_gateway_of_the_same_authority_is_refused_in_both_roles() {
    for wrong in [0, 1] {
        let mut configs = configs();
        configs[wrong].remote_id = Some("gw7.example".parse().unwrap());
        let pair = run(configs);
        assert_refused(&pair);
        let reason =
            format!("authentication of peer failed: it is gw{}.example, expected gw7.example", 1 - wrong);
        assert_eq!(pair.last_error(wrong), reason);
    }
}

#[test]
fn without_an_expected_identity_no_certificate_is_accepted() {
    let mut configs = configs();
    configs[1].remote_id = None;
    let pair = run(configs);
    assert_refused(&pair);
    assert_eq!(
        pair.last_error(1),
        "authentication of peer failed: it is gw0.example; with certificates, the peer's identity must be \
         configured"
    );
}

#[test]
fn an_identity_that_our_certificate_does_not_prove_is_not_even_sent() {
    let [initiator, responder] = configs();
    let pair = run([PeerConfig { local_id: "gw5.example".parse().unwrap(), ..initiator }, responder]);
    assert_refused(&pair);
    assert_eq!(
        pair.last_error(0),
        "our certificate of C=DE, O=Example, CN=gw0 does not prove our identity gw5.example"
    );
    let [initiator, responder] = configs();
    let pair = run([initiator, PeerConfig { local_id: "gw5.example".parse().unwrap(), ..responder }]);
    assert_refused(&pair);
    assert_eq!(
        pair.last_error(1),
        format!("our certificate of {SUBJECT_1} does not prove our identity gw5.example")
    );
}

#[test]
fn without_the_time_of_day_no_certificate_is_accepted() {
    let mut pair = Pair::new(1);
    let [initiator, responder] = configs();
    pair.set_peer(1, responder);
    pair.set_peer(0, initiator);
    pair.run_for(Duration::from_millis(800));
    assert_refused(&pair);
    assert_eq!(
        pair.last_error(1),
        "authentication of peer failed: the time of day is not known, so that no certificate can be checked"
    );
}

#[test]
fn time_passes_after_it_was_told() {
    let mut pair = run(configs());
    pair.assert_settled();
    // One hour before 2027, when the certificates expire.
    for index in [0, 1] {
        let end = NOW + Duration::from_hours(24 * 214 - 1);
        pair.act(index, |endpoint, now| endpoint.set_wall_clock(now, end));
    }
    pair.run_for(Duration::from_hours(2));
    for index in [0, 1] {
        pair.act(index, |endpoint, now| endpoint.disconnect(now, PEER));
        pair.act(index, |endpoint, now| endpoint.connect(now, PEER));
    }
    pair.run_for(Duration::from_secs(10));
    assert_eq!(
        pair.last_error(0),
        "our certificate of C=DE, O=Example, CN=gw0 has expired on 2027-01-01 00:00 UTC"
    );
    // Whose clock is behind sends its certificate; the other sees what is wrong.
    pair.act(0, |endpoint, now| endpoint.set_wall_clock(now, NOW));
    pair.run_for(Duration::from_mins(2));
    let reason = "authentication of peer failed: certificate of C=DE, O=Example, CN=gw0 has expired on \
                  2027-01-01 00:00 UTC (issued by C=DE, O=Example, CN=Root)";
    assert!(pair.nodes[1].states.iter().any(|(_, seen)| seen == reason), "{:?}", pair.nodes[1].states);
}

#[test]
fn keys_and_certificates_do_not_mix() {
    let mixed = |psk: usize| {
        let mut configs = configs();
        configs[psk] = PeerConfig { mode: mode(psk), ..cheap_config(psk) };
        run(configs)
    };
    let pair = mixed(0);
    assert_refused(&pair);
    assert_eq!(
        pair.last_error(1),
        "authentication of peer failed: it uses a pre-shared key, expected a certificate with a signature of \
         RFC 7427"
    );
    let pair = mixed(1);
    assert_refused(&pair);
    assert_eq!(pair.last_error(0), "peer does not support signatures of RFC 7427, which certificates need");
    // As a peer would see it that knows signatures but has a key configured for us.
    let mut pair = waiting_with(cheap_config(0));
    let rogue = Rogue::answer_init(&mut pair);
    let payloads = vec![id(), auth(AuthMethod::DIGITAL_SIGNATURE, &[7; 64])];
    rogue.respond(&mut pair, ExchangeType::IKE_AUTH, 1, payloads);
    assert_eq!(
        pair.last_error(0),
        "authentication of peer failed: it uses a digital signature, expected a pre-shared key"
    );
}

#[test]
fn a_renewed_certificate_takes_effect_without_an_interruption() {
    let root = Authority::root("Root");
    let issue = |index: usize| root.issue(Kind::P256, &gateway(&format!("gw{index}")));
    let mut pair = run([config(0, &issue(0), &root.pem()), config(1, &issue(1), &root.pem())]);
    pair.assert_settled();
    let before = pair.status(0).ike.unwrap().spi_i;
    pair.set_peer(0, config(0, &issue(0), &root.pem()));
    pair.run_for(Duration::from_secs(5));
    assert_eq!(pair.status(0).ike.unwrap().spi_i, before);
    pair.assert_settled();
    // Other trust is another matter.
    let both = root.pem() + &Authority::root("Other").pem();
    pair.set_peer(0, config(0, &issue(0), &both));
    pair.run_for(Duration::from_secs(30));
    assert_ne!(pair.status(0).ike.unwrap().spi_i, before);
    pair.assert_settled();
}

/// A peer made by hand with a certificate of its own, up to IKE_AUTH of end 0.
struct Forger {
    rogue: Rogue,
    pair: Pair,
    chain: Vec<Certificate>,
    key: SigningKey,
}

impl Forger {
    fn new(hashes: &[HashAlgorithm]) -> Self {
        Self::with(Kind::P256, hashes)
    }

    fn with(kind: Kind, hashes: &[HashAlgorithm]) -> Self {
        let root = Authority::root("Root");
        let ours = config(0, &root.issue(kind, &gateway("gw0")), &root.pem());
        let mut pair = waiting_with(ours);
        pair.act(0, |endpoint, now| endpoint.set_wall_clock(now, NOW));
        let issued = root.issue(Kind::P256, &gateway("gw1"));
        let data: Vec<u8> = hashes.iter().flat_map(|hash| hash.id().to_be_bytes()).collect();
        let announcement = Notify::new(NotifyType::SIGNATURE_HASH_ALGORITHMS, data);
        let rogue = Rogue::answer_init_with(&mut pair, vec![Payload::Notify(announcement)]);
        Self { rogue, pair, chain: chain(&issued), key: signing_key(&issued) }
    }

    /// AUTH with a true signature.
    fn auth(&self) -> Payload {
        let scheme = SignatureScheme::EcdsaSha256;
        let signature = self.key.sign(scheme, &self.rogue.signed_octets(&identification())).unwrap();
        auth(AuthMethod::DIGITAL_SIGNATURE, &authentication(scheme, &signature))
    }

    fn certificates(&self) -> Vec<Payload> {
        self.chain.iter().cloned().map(Payload::Certificate).collect()
    }

    /// What end 0 says to an answer of these payloads behind the identity.
    fn answer(mut self, payloads: impl IntoIterator<Item = Payload>) -> String {
        let payloads = [id()].into_iter().chain(payloads).collect();
        self.rogue.respond(&mut self.pair, ExchangeType::IKE_AUTH, 1, payloads);
        assert_eq!(self.pair.state(0), PeerState::Connecting);
        self.pair.last_error(0)
    }
}

fn forger() -> Forger {
    Forger::new(&HashAlgorithm::ALL)
}

fn identification() -> Identification {
    Identification::new(IdType::FQDN, b"gw1.example")
}

fn id() -> Payload {
    Payload::IdResponder(identification())
}

fn auth(method: AuthMethod, data: &[u8]) -> Payload {
    Payload::Authentication(Authentication { method, data: data.to_vec() })
}

fn authentication(scheme: SignatureScheme, signature: &[u8]) -> Vec<u8> {
    let algorithm = scheme.algorithm_identifier();
    [&[algorithm.len() as u8], algorithm.as_slice(), signature].concat()
}

fn chain(issued: &Issued) -> Vec<Certificate> {
    use rustls_pki_types::pem::PemObject;
    let ders = rustls_pki_types::CertificateDer::pem_slice_iter(issued.chain.as_bytes());
    let certificate = |der: rustls_pki_types::CertificateDer<'_>| Certificate {
        encoding: CertEncoding::X509_SIGNATURE,
        data: der.to_vec(),
    };
    ders.map(|der| certificate(der.unwrap())).collect()
}

fn signing_key(issued: &Issued) -> SigningKey {
    use rcgen::PublicKeyData;
    use rustls_pki_types::pem::PemObject;
    let pair = rcgen::KeyPair::from_pem(&issued.key).unwrap();
    let public = ike::crypto::PublicKey::from_spki(&pair.subject_public_key_info()).unwrap();
    let private = rustls_pki_types::PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
    SigningKey::new(&private, &public).unwrap()
}

#[test]
fn a_signature_of_the_right_key_is_accepted_from_a_peer_made_by_hand() {
    let forger = forger();
    let payloads = forger.certificates().into_iter().chain([forger.auth()]);
    // Only the Child SA is missing then.
    assert_eq!(forger.answer(payloads.collect::<Vec<_>>()), "peer made no Child SA");
}

#[test]
fn a_certificate_without_its_private_key_proves_nothing() {
    let forger = forger();
    let other = signing_key(&Authority::root("Root").issue(Kind::P256, &gateway("gw1")));
    let scheme = SignatureScheme::EcdsaSha256;
    let signature = other.sign(scheme, &forger.rogue.signed_octets(&identification())).unwrap();
    let forged = auth(AuthMethod::DIGITAL_SIGNATURE, &authentication(scheme, &signature));
    let payloads = forger.certificates().into_iter().chain([forged]);
    assert_eq!(
        forger.answer(payloads.collect::<Vec<_>>()),
        "authentication of peer failed: signature does not match"
    );
}

#[test]
fn a_signature_over_another_exchange_proves_nothing() {
    let (forger, another) = (forger(), forger());
    let (certificates, replayed) = (forger.certificates(), another.auth());
    let reason = forger.answer(certificates.into_iter().chain([replayed]));
    assert_eq!(reason, "authentication of peer failed: signature does not match");
}

#[test]
fn malformed_signatures_are_refused() {
    let rsa = authentication(SignatureScheme::RsaPss(RsaHash::Sha256), &[7; 256]);
    let sha1 = [&[15][..], &[0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5, 5, 0], &[7; 256]]
        .concat();
    let cases = [
        (&[][..], "its signature is malformed"),
        (&[200, 1, 2], "its signature is malformed"),
        (&[0], "signature algorithm is not supported (algorithm identifier )"),
        (&sha1, "signature algorithm is not supported (algorithm identifier 300d06092a864886f70d0101050500)"),
        (&rsa, "RSA-PSS with SHA2-256 signature, but the key is ECDSA P-256"),
    ];
    for (data, reason) in cases {
        let forger = forger();
        let payloads = forger.certificates().into_iter().chain([auth(AuthMethod::DIGITAL_SIGNATURE, data)]);
        let payloads: Vec<_> = payloads.collect();
        assert_eq!(forger.answer(payloads), format!("authentication of peer failed: {reason}"));
    }
}

#[test]
fn other_forms_of_authentication_are_refused_with_their_name() {
    let of_method = |method| {
        let forger = forger();
        let payloads = forger.certificates().into_iter().chain([auth(method, &[7; 64])]).collect::<Vec<_>>();
        forger.answer(payloads)
    };
    let expected = "expected a certificate with a signature of RFC 7427";
    let names = [
        (AuthMethod::RSA, "an RSA signature without RFC 7427"),
        (AuthMethod::ECDSA_256, "an ECDSA signature without RFC 7427"),
        (AuthMethod::NULL, "no authentication at all"),
        (AuthMethod::SHARED_KEY, "a pre-shared key"),
        (AuthMethod(12), "authentication method 12"),
    ];
    for (method, name) in names {
        assert_eq!(of_method(method), format!("authentication of peer failed: it uses {name}, {expected}"));
    }
    assert_eq!(forger().answer([]), "authentication of peer failed: it sent none (EAP?)");
    let forger = forger();
    let more = Payload::Notify(Notify::new(NotifyType::ANOTHER_AUTH_FOLLOWS, []));
    let payloads: Vec<_> = forger.certificates().into_iter().chain([forger.auth(), more]).collect();
    assert_eq!(
        forger.answer(payloads),
        "authentication of peer failed: it wants to authenticate more than once (RFC 4739), which is not \
         supported"
    );
}

#[test]
fn certificates_that_are_not_there_are_neither_fetched_nor_accepted() {
    let with_encoding = |encoding: u8, data: &[u8]| {
        let forger = forger();
        let certificate = Certificate { encoding: CertEncoding(encoding), data: data.to_vec() };
        let payloads = [Payload::Certificate(certificate), forger.auth()];
        forger.answer(payloads)
    };
    let url = [&[7; 20][..], b"http://198.51.100.1/gw1.der"].concat();
    for encoding in [12, 13] {
        assert_eq!(
            with_encoding(encoding, &url),
            "authentication of peer failed: it sent certificates by hash and URL, which are never fetched; it \
             must send them as they are"
        );
    }
    assert_eq!(
        with_encoding(11, &[7; 20]),
        "authentication of peer failed: it sent a certificate of encoding 11, only X.509 (4) is supported"
    );
    let forger = forger();
    let payloads = [forger.auth()];
    assert_eq!(forger.answer(payloads), "authentication of peer failed: it sent no certificate");
    let forger = self::forger();
    let many: Vec<_> = forger.certificates().into_iter().cycle().take(9).chain([forger.auth()]).collect();
    assert!(
        forger.answer(many).starts_with("authentication of peer failed: it sent more than 8 certificates")
    );
}

#[test]
fn an_identity_that_no_certificate_proves_is_refused() {
    let mut forger = forger();
    let key_id = Identification::new(IdType(11), b"gw1");
    let scheme = SignatureScheme::EcdsaSha256;
    let signature = forger.key.sign(scheme, &forger.rogue.signed_octets(&key_id)).unwrap();
    let mut payloads = vec![Payload::IdResponder(key_id)];
    payloads.extend(forger.certificates());
    payloads.push(auth(AuthMethod::DIGITAL_SIGNATURE, &authentication(scheme, &signature)));
    forger.rogue.respond(&mut forger.pair, ExchangeType::IKE_AUTH, 1, payloads);
    assert_eq!(
        forger.pair.last_error(0),
        "authentication of peer failed: no certificate can prove its identity type 11 gw1"
    );
}

#[test]
fn only_announced_hash_algorithms_are_used() {
    let reason = |kind, hashes: &[HashAlgorithm]| Forger::with(kind, hashes).pair.last_error(0);
    let (sha256, sha384) = (HashAlgorithm::Sha256, HashAlgorithm::Sha384);
    assert_eq!(reason(Kind::P384, &[sha384]), "");
    assert_eq!(reason(Kind::Rsa, &[sha384]), "");
    assert_eq!(
        reason(Kind::P384, &[sha256]),
        "ECDSA P-384 keys sign with SHA2-384, which the peer does not support"
    );
    assert_eq!(
        reason(Kind::Ed25519, &[sha256, sha384]),
        "Ed25519 keys sign with the identity hash, which the peer does not support"
    );
    assert_eq!(
        reason(Kind::P256, &[]),
        "peer does not support signatures of RFC 7427, which certificates need"
    );
}

#[test]
fn the_answer_to_a_stranger_names_few_authorities() {
    let root = Authority::root("Root");
    let many: String = (0..50).map(|index| Authority::root(&format!("CA {index}")).pem()).collect();
    let ours = |index: usize, trusted: &str| {
        config(index, &root.issue(Kind::P256, &gateway(&format!("gw{index}"))), trusted)
    };
    let pair = run([ours(0, &root.pem()), ours(1, &(root.pem() + &many))]);
    pair.assert_settled();
    let (_, answer) = pair.trace.iter().find(|(from, _)| *from == 1).unwrap();
    assert!(answer.len() < 600, "{}", answer.len());
}

#[test]
fn certificates_work_when_everything_is_lost_and_repeated() {
    let mut pair = told_the_time();
    pair.conditions = crate::sim::Conditions::BAD;
    let [initiator, responder] = configs();
    pair.set_peer(1, responder);
    pair.set_peer(0, initiator);
    assert!(pair.run_until(Duration::from_mins(10), Pair::is_converged));
}
