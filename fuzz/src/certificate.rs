//! The DER that peers send: certificates, public keys, algorithm identifiers; and revocation lists.

use data_encoding::BASE64;
use ike::crypto::{PublicKey, SignatureScheme};
use ike::{Credentials, TrustAnchors};

/// A certificate of an authority.
const AUTHORITY: &[u8] = include_bytes!("../corpus/certificate/p256-ca");

/// Octets in the place of each of these structures. What is an algorithm identifier is written as it was read, or with
/// the parameters that may be left out.
pub fn certificate(der: &[u8]) {
    let pem = pem("CERTIFICATE", der);
    // No private key fits; the certificate is read before that counts.
    assert!(Credentials::from_pem(&pem, b"").is_err());
    let _ = TrustAnchors::from_pem(&pem);
    let anchors = TrustAnchors::from_pem(&self::pem("CERTIFICATE", AUTHORITY)).expect("it is an authority");
    let _ = anchors.with_crls(&self::pem("X509 CRL", der));
    if let Ok(key) = PublicKey::from_spki(der) {
        let _ = key.kind();
    }
    if let Ok(scheme) = SignatureScheme::from_algorithm_identifier(der) {
        let written = scheme.algorithm_identifier();
        assert_eq!(SignatureScheme::from_algorithm_identifier(&written), Ok(scheme));
    }
}

fn pem(label: &str, der: &[u8]) -> Vec<u8> {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64.encode(der)).into_bytes()
}
