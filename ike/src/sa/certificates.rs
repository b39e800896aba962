//! CERT, CERTREQ and the announcement of hash algorithms.

use rustls_pki_types::CertificateDer;

use crate::certificate::{Credentials, Distrust, MAX_CHAIN, TrustAnchors};
use crate::config::Auth;
use crate::crypto::HashAlgorithm;
use crate::sa::payloads::Payloads;
use crate::wire::{CertEncoding, Certificate, Message, Notify, NotifyType, Payload};

/// Most authorities that CERTREQ names, so that an answer to a stranger stays small.
const MAX_REQUESTED: usize = 10;
/// Most authorities of a peer's CERTREQ that are looked at.
const MAX_READ: usize = 1000;
/// Octets that name an authority.
const KEY_HASH_LEN: usize = 20;

/// What a peer said about signatures and certificates.
pub(super) struct PeerWishes {
    /// The hash algorithms it can verify signatures with, of those supported here.
    pub(super) hashes: Vec<HashAlgorithm>,
    /// Hashes of the keys of authorities it trusts.
    authorities: Vec<[u8; KEY_HASH_LEN]>,
}

impl PeerWishes {
    /// The wishes in the peer's message of IKE_SA_INIT and, when it initiates, in its IKE_AUTH request.
    pub(super) fn of(init: &[u8], auth: Payloads<'_>) -> Self {
        // It was parsed before, when it arrived.
        let init = Message::parse(init).map(|message| message.payloads).unwrap_or_default();
        let init = Payloads(&init);
        let announced = init.notification(NotifyType::SIGNATURE_HASH_ALGORITHMS);
        let (ids, _) = announced.map_or(&[][..], |notify| &notify.data).as_chunks::<2>();
        let announced = |hash: &HashAlgorithm| ids.contains(&hash.id().to_be_bytes());
        let requests = init.certificate_requests().chain(auth.certificate_requests());
        let requests = requests.filter(|request| request.encoding == CertEncoding::X509_SIGNATURE);
        let authorities = requests.flat_map(|request| request.data.as_chunks().0).take(MAX_READ);
        Self {
            hashes: HashAlgorithm::ALL.into_iter().filter(announced).collect(),
            authorities: authorities.copied().collect(),
        }
    }
}

/// What goes into our message of IKE_SA_INIT: our hash algorithms and, from a responder, CERTREQ.
pub(super) fn init_payloads(auth: &Auth, initiator: bool) -> Vec<Payload> {
    let Auth::Certificate(auth) = auth else { return Vec::new() };
    let hashes: Vec<u8> = HashAlgorithm::ALL.iter().flat_map(|hash| hash.id().to_be_bytes()).collect();
    let announcement = Notify::new(NotifyType::SIGNATURE_HASH_ALGORITHMS, hashes);
    let mut payloads = vec![Payload::Notify(announcement)];
    payloads.extend((!initiator).then(|| request_payload(&auth.trust)));
    payloads
}

/// CERTREQ for certificates of the authorities we trust.
pub(super) fn request_payload(trust: &TrustAnchors) -> Payload {
    let data = trust.key_hashes().take(MAX_REQUESTED).flatten().copied().collect();
    Payload::CertificateRequest(Certificate { encoding: CertEncoding::X509_SIGNATURE, data })
}

/// Our certificates, as far as the peer needs them.
pub(super) fn certificate_payloads(credentials: &Credentials, wishes: &PeerWishes) -> Vec<Payload> {
    let payload = |der: &CertificateDer<'_>| {
        let (encoding, data) = (CertEncoding::X509_SIGNATURE, der.to_vec());
        Payload::Certificate(Certificate { encoding, data })
    };
    credentials.chain_for(&wishes.authorities).map(payload).collect()
}

/// The certificates a peer sent, its own first.
pub(super) fn peer_chain(found: Payloads<'_>) -> Result<Vec<CertificateDer<'_>>, Distrust> {
    let mut chain = Vec::new();
    for certificate in found.certificates() {
        match certificate.encoding {
            CertEncoding::X509_SIGNATURE if chain.len() == MAX_CHAIN => return Err(Distrust::TooLong),
            CertEncoding::X509_SIGNATURE => chain.push(CertificateDer::from(certificate.data.as_slice())),
            CertEncoding::HASH_AND_URL | CertEncoding::HASH_AND_URL_BUNDLE => {
                return Err(Distrust::HashAndUrl);
            }
            // Further material, such as revocation lists, is not needed; the peer's own certificate is.
            CertEncoding(other) if chain.is_empty() => return Err(Distrust::Encoding(other)),
            _ => {}
        }
    }
    if chain.is_empty() { Err(Distrust::Missing) } else { Ok(chain) }
}
