//! Authentication data (RFC 7296 §2.15).

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto::{CryptoError, Prf};

const KEY_PAD: &[u8] = b"Key Pad for IKEv2";

/// The AUTH data of one side: prf(prf(`psk`, "Key Pad for IKEv2"), message | nonce | prf(SK_p, IDx')).
///
/// All of `sk_p` (SK_pi or SK_pr), `message` (that side's whole IKE_SA_INIT message from the IKE header on, without
/// the non-ESP marker) and `id_payload_body` (its ID payload without the generic header) belong to the side that
/// authenticates; `peer_nonce` is the nonce data of the other side. Returns [`Prf::output_len`] octets.
pub fn psk_auth(
    prf: Prf,
    psk: &[u8],
    sk_p: &[u8],
    message: &[u8],
    peer_nonce: &[u8],
    id_payload_body: &[u8],
) -> Zeroizing<Vec<u8>> {
    let key = prf.prf(psk, &[KEY_PAD]);
    let maced_id = prf.prf(sk_p, &[id_payload_body]);
    prf.prf(&key, &[message, peer_nonce, &maced_id])
}

/// The octets that a side signs: message | nonce | prf(SK_p, IDx'). The arguments are those of [`psk_auth`].
pub fn signed_octets(
    prf: Prf,
    sk_p: &[u8],
    message: &[u8],
    peer_nonce: &[u8],
    id_payload_body: &[u8],
) -> Vec<u8> {
    [message, peer_nonce, &prf.prf(sk_p, &[id_payload_body])].concat()
}

/// Compares the AUTH data `received` from a peer with what [`psk_auth`] gives for the other arguments, in constant
/// time. Fails with [`CryptoError::AuthenticationFailed`].
pub fn verify_psk_auth(
    prf: Prf,
    psk: &[u8],
    sk_p: &[u8],
    message: &[u8],
    peer_nonce: &[u8],
    id_payload_body: &[u8],
    received: &[u8],
) -> Result<(), CryptoError> {
    let expected = psk_auth(prf, psk, sk_p, message, peer_nonce, id_payload_body);
    if expected.ct_eq(received).into() { Ok(()) } else { Err(CryptoError::AuthenticationFailed) }
}
