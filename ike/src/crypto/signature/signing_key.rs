//! Private keys.

use std::fmt;

use ring::rand::SystemRandom;
use ring::signature::{
    self, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RsaKeyPair,
};
use rustls_pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use crate::crypto::signature::scheme::{HashAlgorithm, RsaHash, SignatureScheme};
use crate::crypto::signature::{KeyKind, PublicKey, SignatureError};
use crate::der;

/// A private key for signatures, of the kind of its [`PublicKey`]. RSA keys have 2048 to 4096 bits.
///
/// It is kept in the form of `ring`, which does not wipe it. Unlike everything else here signing takes randomness from
/// the operating system: `ring` takes it from nowhere else, and for ECDSA no better source could be given.
pub struct SigningKey {
    kind: KeyKind,
    pair: Pair,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl SigningKey {
    /// The private key that belongs to `public`: PKCS#8, PKCS#1 for RSA or SEC1 for ECDSA.
    pub fn new(private: &PrivateKeyDer<'_>, public: &PublicKey) -> Result<Self, SignatureError> {
        let kind = public.kind();
        let refused = |reason: &dyn fmt::Display| {
            let reason = reason.to_string();
            Err(SignatureError::PrivateKey { kind, reason })
        };
        let pair = match (kind, private) {
            (KeyKind::Rsa, PrivateKeyDer::Pkcs8(key)) => {
                RsaKeyPair::from_pkcs8(key.secret_pkcs8_der()).map(Pair::Rsa)
            }
            (KeyKind::Rsa, PrivateKeyDer::Pkcs1(key)) => {
                RsaKeyPair::from_der(key.secret_pkcs1_der()).map(Pair::Rsa)
            }
            (KeyKind::EcdsaP256 | KeyKind::EcdsaP384, PrivateKeyDer::Pkcs8(key)) => {
                ecdsa(kind, key.secret_pkcs8_der())
            }
            (KeyKind::EcdsaP256 | KeyKind::EcdsaP384, PrivateKeyDer::Sec1(key)) => {
                // The longest of these keys has 167 octets.
                match key.secret_sec1_der() {
                    sec1 if sec1.len() < 1024 => ecdsa(kind, &pkcs8_around(kind, sec1)),
                    _ => return refused(&"it is too long"),
                }
            }
            (KeyKind::Ed25519, PrivateKeyDer::Pkcs8(key)) => {
                Ed25519KeyPair::from_pkcs8_maybe_unchecked(key.secret_pkcs8_der()).map(Pair::Ed25519)
            }
            _ => return refused(&"its form is that of another kind of key"),
        };
        let pair = match pair {
            Ok(pair) => pair,
            Err(rejected) => return refused(&rejected),
        };
        if pair.public_octets() == public.octets() {
            Ok(Self { kind, pair })
        } else {
            Err(SignatureError::OtherPublicKey)
        }
    }

    /// The scheme to sign with for a peer that announced `hashes` (RFC 7427 §4).
    pub fn scheme_for(&self, hashes: &[HashAlgorithm]) -> Result<SignatureScheme, SignatureError> {
        let mut schemes = SignatureScheme::of_key(self.kind).iter();
        schemes.find(|scheme| hashes.contains(&scheme.hash())).copied().ok_or(SignatureError::NoCommonHash {
            key: self.kind,
            wanted: match self.kind {
                KeyKind::Rsa => &[HashAlgorithm::Sha256, HashAlgorithm::Sha384, HashAlgorithm::Sha512],
                KeyKind::EcdsaP256 => &[HashAlgorithm::Sha256],
                KeyKind::EcdsaP384 => &[HashAlgorithm::Sha384],
                KeyKind::Ed25519 => &[HashAlgorithm::Identity],
            },
        })
    }

    /// Signs `message` with a scheme from [`Self::scheme_for`].
    pub fn sign(&self, scheme: SignatureScheme, message: &[u8]) -> Result<Vec<u8>, SignatureError> {
        let other_kind = SignatureError::KeyOfOtherKind { scheme, key: self.kind };
        if !SignatureScheme::of_key(self.kind).contains(&scheme) {
            return Err(other_kind);
        }
        let random = SystemRandom::new();
        match (&self.pair, scheme) {
            (Pair::Rsa(pair), SignatureScheme::RsaPss(hash)) => {
                let padding: &dyn signature::RsaEncoding = match hash {
                    RsaHash::Sha256 => &signature::RSA_PSS_SHA256,
                    RsaHash::Sha384 => &signature::RSA_PSS_SHA384,
                    RsaHash::Sha512 => &signature::RSA_PSS_SHA512,
                };
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(padding, &random, message, &mut signature)
                    .map_err(|_| SignatureError::NoRandomness)?;
                Ok(signature)
            }
            (Pair::Ecdsa(pair), _) => {
                let signature = pair.sign(&random, message).map_err(|_| SignatureError::NoRandomness)?;
                Ok(signature.as_ref().to_vec())
            }
            (Pair::Ed25519(pair), _) => Ok(pair.sign(message).as_ref().to_vec()),
            (Pair::Rsa(_), _) => Err(other_kind),
        }
    }
}

impl Pair {
    fn public_octets(&self) -> &[u8] {
        match self {
            Self::Rsa(pair) => pair.public_key().as_ref(),
            Self::Ecdsa(pair) => pair.public_key().as_ref(),
            Self::Ed25519(pair) => pair.public_key().as_ref(),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("kind", &self.kind).finish_non_exhaustive()
    }
}

fn ecdsa(kind: KeyKind, pkcs8: &[u8]) -> Result<Pair, ring::error::KeyRejected> {
    let algorithm = match kind {
        KeyKind::EcdsaP384 => &ECDSA_P384_SHA384_ASN1_SIGNING,
        _ => &ECDSA_P256_SHA256_ASN1_SIGNING,
    };
    EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &SystemRandom::new()).map(Pair::Ecdsa)
}

/// A PKCS#8 structure (RFC 5958) around a SEC1 private key, as `ring` wants it.
fn pkcs8_around(kind: KeyKind, sec1: &[u8]) -> Zeroizing<Vec<u8>> {
    const EC_PUBLIC_KEY: &[u8] = &[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01];
    const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
    let curve = if kind == KeyKind::EcdsaP384 { P384 } else { P256 };
    let version = der::element(der::INTEGER, &[&[0]]);
    let algorithm = der::element(der::SEQUENCE, &[EC_PUBLIC_KEY, curve]);
    let key = Zeroizing::new(der::element(der::OCTET_STRING, &[sec1]));
    Zeroizing::new(der::element(der::SEQUENCE, &[&version, &algorithm, &key]))
}
