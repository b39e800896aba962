//! Public keys as certificates carry them.

use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::asn1_rs::{FromDer, Oid, oid};
use x509_parser::public_key::PublicKey as ParsedKey;
use x509_parser::x509::SubjectPublicKeyInfo;

use crate::crypto::signature::SignatureError;
use crate::crypto::signature::scheme::{RsaHash, SignatureScheme};

/// Bits of the shortest RSA modulus.
const MIN_RSA_BITS: usize = 2048;

const RSA_ENCRYPTION: Oid<'static> = oid!(1.2.840.113549.1.1.1);
const EC_PUBLIC_KEY: Oid<'static> = oid!(1.2.840.10045.2.1);
const PRIME256V1: Oid<'static> = oid!(1.2.840.10045.3.1.7);
const SECP384R1: Oid<'static> = oid!(1.3.132.0.34);
const ED25519: Oid<'static> = oid!(1.3.101.112);

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// RSA.
    Rsa,
    /// ECDSA on the curve P-256.
    EcdsaP256,
    /// ECDSA on the curve P-384.
    EcdsaP384,
    /// Ed25519.
    Ed25519,
}

impl KeyKind {
    /// The name for a human.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rsa => "RSA",
            Self::EcdsaP256 => "ECDSA P-256",
            Self::EcdsaP384 => "ECDSA P-384",
            Self::Ed25519 => "Ed25519",
        }
    }
}

/// A public key that signatures are verified with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    kind: KeyKind,
    /// What the bit string of the SubjectPublicKeyInfo holds.
    octets: Vec<u8>,
}

impl PublicKey {
    /// The key in a DER SubjectPublicKeyInfo (RFC 5280 §4.1.2.7).
    pub fn from_spki(der: &[u8]) -> Result<Self, SignatureError> {
        let Ok((&[], info)) = SubjectPublicKeyInfo::from_der(der) else {
            return Err(SignatureError::UnsupportedKey);
        };
        let curve = info.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
        let kind = match &info.algorithm.algorithm {
            algorithm if *algorithm == RSA_ENCRYPTION => KeyKind::Rsa,
            algorithm if *algorithm == ED25519 => KeyKind::Ed25519,
            algorithm if *algorithm == EC_PUBLIC_KEY && curve == Some(PRIME256V1) => KeyKind::EcdsaP256,
            algorithm if *algorithm == EC_PUBLIC_KEY && curve == Some(SECP384R1) => KeyKind::EcdsaP384,
            _ => return Err(SignatureError::UnsupportedKey),
        };
        if kind == KeyKind::Rsa {
            let Ok(ParsedKey::RSA(key)) = info.parsed() else { return Err(SignatureError::UnsupportedKey) };
            let leading_zeros = key.modulus.iter().take_while(|octet| **octet == 0).count();
            let modulus = &key.modulus[leading_zeros..];
            let unused = modulus.first().map_or(0, |octet| octet.leading_zeros() as usize);
            let bits = modulus.len() * 8 - unused;
            if bits < MIN_RSA_BITS {
                return Err(SignatureError::ShortKey { bits });
            }
        }
        Ok(Self { kind, octets: info.subject_public_key.data.to_vec() })
    }

    /// What the key is for.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    pub(super) fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Verifies `signature` over `message`.
    pub fn verify(
        &self,
        scheme: SignatureScheme,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        let algorithm =
            algorithm(self.kind, scheme).ok_or(SignatureError::KeyOfOtherKind { scheme, key: self.kind })?;
        let key = UnparsedPublicKey::new(algorithm, &self.octets);
        key.verify(message, signature).map_err(|_| SignatureError::Mismatch)
    }
}

fn algorithm(kind: KeyKind, scheme: SignatureScheme) -> Option<&'static dyn VerificationAlgorithm> {
    Some(match (kind, scheme) {
        (KeyKind::Rsa, SignatureScheme::RsaPss(RsaHash::Sha256)) => &signature::RSA_PSS_2048_8192_SHA256,
        (KeyKind::Rsa, SignatureScheme::RsaPss(RsaHash::Sha384)) => &signature::RSA_PSS_2048_8192_SHA384,
        (KeyKind::Rsa, SignatureScheme::RsaPss(RsaHash::Sha512)) => &signature::RSA_PSS_2048_8192_SHA512,
        (KeyKind::Rsa, SignatureScheme::RsaPkcs1(RsaHash::Sha256)) => &signature::RSA_PKCS1_2048_8192_SHA256,
        (KeyKind::Rsa, SignatureScheme::RsaPkcs1(RsaHash::Sha384)) => &signature::RSA_PKCS1_2048_8192_SHA384,
        (KeyKind::Rsa, SignatureScheme::RsaPkcs1(RsaHash::Sha512)) => &signature::RSA_PKCS1_2048_8192_SHA512,
        (KeyKind::EcdsaP256, SignatureScheme::EcdsaSha256) => &signature::ECDSA_P256_SHA256_ASN1,
        (KeyKind::EcdsaP256, SignatureScheme::EcdsaSha384) => &signature::ECDSA_P256_SHA384_ASN1,
        (KeyKind::EcdsaP384, SignatureScheme::EcdsaSha256) => &signature::ECDSA_P384_SHA256_ASN1,
        (KeyKind::EcdsaP384, SignatureScheme::EcdsaSha384) => &signature::ECDSA_P384_SHA384_ASN1,
        (KeyKind::Ed25519, SignatureScheme::Ed25519) => &signature::ED25519,
        _ => return None,
    })
}
