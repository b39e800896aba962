//! AUTH and the certificates beside it: how each end proves its identity (RFC 7296 §2.15, RFC 7427).

use crate::config::{Auth, CertificateAuth};
use crate::crypto::{SignatureScheme, psk_auth, signed_octets, verify_psk_auth};
use crate::sa::IkeSa;
use crate::sa::certificates::{PeerWishes, certificate_payloads, peer_chain, request_payload};
use crate::sa::context::Context;
use crate::sa::identity;
use crate::sa::init::{InitMessages, Nonces};
use crate::sa::payloads::Payloads;
use crate::wire::{AuthMethod, Authentication, Identification, NotifyType, Payload};

/// Why an AUTH by pre-shared key does not match, as far as one can tell.
const KEYS_DIFFER: &str = "pre-shared keys differ?";

/// What one end proves its identity with.
pub(super) struct Proof {
    /// CERT, and CERTREQ from an initiator; a responder has asked in IKE_SA_INIT.
    pub(super) certificates: Vec<Payload>,
    /// AUTH.
    pub(super) auth: Payload,
}

/// Which end an AUTH is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Ours,
    Peers,
}

/// What an AUTH covers (RFC 7296 §2.15).
struct Covered<'a> {
    sk_p: &'a [u8],
    message: &'a [u8],
    nonce: &'a [u8],
}

impl IkeSa {
    /// What we prove our identity with, or why we cannot. `request` is the peer's IKE_AUTH when it initiates.
    pub(super) fn our_proof(
        &self,
        ctx: &Context<'_>,
        messages: &InitMessages,
        nonces: &Nonces,
        our_id: &Identification,
        request: Payloads<'_>,
    ) -> Result<Proof, String> {
        let prf = self.protection().suite.prf;
        let Covered { sk_p, message, nonce } = self.covered(End::Ours, messages, nonces);
        let auth = match &self.config.auth {
            Auth::Psk(psk) => {
                let data = psk_auth(prf, psk.as_bytes(), sk_p, message, nonce, our_id.body()).to_vec();
                let auth = auth_payload(AuthMethod::SHARED_KEY, data);
                return Ok(Proof { certificates: Vec::new(), auth });
            }
            Auth::Certificate(auth) => auth,
        };
        let credentials = &auth.credentials;
        if let Some(problem) = credentials.problem(&self.config.local_id, ctx.clock.at(ctx.now)) {
            return Err(problem);
        }
        let wishes = PeerWishes::of(self.peers_message(messages), request);
        if wishes.hashes.is_empty() {
            return Err("peer does not support signatures of RFC 7427, which certificates need".to_owned());
        }
        let octets = signed_octets(prf, sk_p, message, nonce, our_id.body());
        let scheme = credentials.key().scheme_for(&wishes.hashes).map_err(|error| error.to_string())?;
        let signature = credentials.key().sign(scheme, &octets).map_err(|error| error.to_string())?;
        let mut certificates = certificate_payloads(credentials, &wishes);
        certificates.extend(self.initiator.then(|| request_payload(&auth.trust)));
        let data = encode_signature(scheme, &signature);
        Ok(Proof { certificates, auth: auth_payload(AuthMethod::DIGITAL_SIGNATURE, data) })
    }

    /// Checks that the peer is who it says, and whom we expect; or tells why not.
    pub(super) fn verify_peer(
        &self,
        ctx: &Context<'_>,
        messages: &InitMessages,
        nonces: &Nonces,
        peer_id: &Identification,
        found: Payloads<'_>,
    ) -> Result<(), String> {
        let proven = self.verify_proof(ctx, messages, nonces, peer_id, found);
        proven.map_err(|reason| format!("authentication of peer failed: {reason}"))?;
        let is = || format!("authentication of peer failed: it is {}", identity::describe(peer_id));
        match (&self.config.remote_id, &self.config.auth) {
            (Some(expected), _) if identity::matches(peer_id, expected) => Ok(()),
            (Some(expected), _) => Err(format!("{}, expected {expected}", is())),
            (None, Auth::Psk(_)) => Ok(()),
            (None, Auth::Certificate(_)) => {
                Err(format!("{}; with certificates, the peer's identity must be configured", is()))
            }
        }
    }

    /// What to make of the peer's AUTHENTICATION_FAILED.
    pub(super) fn why_refused(&self) -> String {
        let hint = match &self.config.auth {
            Auth::Psk(_) => {
                let asked = self.config.remote_id.as_ref().map(|id| format!(", or it is not {id}"));
                let ours = &self.config.local_id;
                format!(
                    "pre-shared keys differ, or it does not know us as {ours}{}?",
                    asked.unwrap_or_default()
                )
            }
            Auth::Certificate(_) => {
                format!("does it trust our certificate, and expect {}?", self.config.local_id)
            }
        };
        format!("peer says AUTHENTICATION_FAILED: {hint}")
    }

    fn verify_proof(
        &self,
        ctx: &Context<'_>,
        messages: &InitMessages,
        nonces: &Nonces,
        peer_id: &Identification,
        found: Payloads<'_>,
    ) -> Result<(), String> {
        let received = found.authentication().ok_or("it sent none (EAP?)")?;
        if found.notification(NotifyType::ANOTHER_AUTH_FOLLOWS).is_some() {
            return Err(
                "it wants to authenticate more than once (RFC 4739), which is not supported".to_owned()
            );
        }
        let (method, name) = match &self.config.auth {
            Auth::Psk(_) => (AuthMethod::SHARED_KEY, "a pre-shared key"),
            Auth::Certificate(_) => {
                (AuthMethod::DIGITAL_SIGNATURE, "a certificate with a signature of RFC 7427")
            }
        };
        if received.method != method {
            return Err(format!("it uses {}, expected {name}", received.method.name()));
        }
        let prf = self.protection().suite.prf;
        let Covered { sk_p, message, nonce } = self.covered(End::Peers, messages, nonces);
        match &self.config.auth {
            Auth::Psk(psk) => {
                let psk = psk.as_bytes();
                verify_psk_auth(prf, psk, sk_p, message, nonce, peer_id.body(), &received.data)
                    .map_err(|_| KEYS_DIFFER.to_owned())
            }
            Auth::Certificate(auth) => {
                let octets = signed_octets(prf, sk_p, message, nonce, peer_id.body());
                verify_signature(ctx, auth, peer_id, found, &octets, &received.data)
            }
        }
    }

    /// The end's own message of IKE_SA_INIT and key, and the other's nonce.
    fn covered<'a>(&'a self, end: End, messages: &'a InitMessages, nonces: &'a Nonces) -> Covered<'a> {
        let keys = &self.protection().keys;
        if (end == End::Ours) == self.initiator {
            Covered { sk_p: &keys.sk_pi, message: &messages.request, nonce: &nonces.responder }
        } else {
            Covered { sk_p: &keys.sk_pr, message: &messages.response, nonce: &nonces.initiator }
        }
    }

    fn peers_message<'a>(&self, messages: &'a InitMessages) -> &'a [u8] {
        if self.initiator { &messages.response } else { &messages.request }
    }
}

fn verify_signature(
    ctx: &Context<'_>,
    auth: &CertificateAuth,
    peer_id: &Identification,
    found: Payloads<'_>,
    octets: &[u8],
    received: &[u8],
) -> Result<(), String> {
    let (scheme, signature) = decode_signature(received)?;
    let chain = peer_chain(found).map_err(|distrust| distrust.to_string())?;
    let identity = identity::parse(peer_id)
        .ok_or_else(|| format!("no certificate can prove its identity {}", identity::describe(peer_id)))?;
    let key = auth.trust.verify(&chain, &identity, ctx.clock.at(ctx.now));
    let key = key.map_err(|distrust| distrust.to_string())?;
    key.verify(scheme, octets, signature).map_err(|error| error.to_string())
}

fn auth_payload(method: AuthMethod, data: Vec<u8>) -> Payload {
    Payload::Authentication(Authentication { method, data })
}

/// The authentication data of a digital signature (RFC 7427 §3).
fn encode_signature(scheme: SignatureScheme, signature: &[u8]) -> Vec<u8> {
    let algorithm = scheme.algorithm_identifier();
    let len = u8::try_from(algorithm.len()).expect("algorithm identifiers are short");
    [&[len], algorithm.as_slice(), signature].concat()
}

fn decode_signature(data: &[u8]) -> Result<(SignatureScheme, &[u8]), String> {
    let malformed = || "its signature is malformed".to_owned();
    let (len, rest) = data.split_first().ok_or_else(malformed)?;
    let (algorithm, signature) = rest.split_at_checked(usize::from(*len)).ok_or_else(malformed)?;
    let scheme = SignatureScheme::from_algorithm_identifier(algorithm).map_err(|error| error.to_string())?;
    Ok((scheme, signature))
}
