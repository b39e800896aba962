//! Signature schemes and the hash algorithms that are announced for them.

use crate::crypto::signature::KeyKind;

/// A hash algorithm of the IANA registry "IKEv2 Hash Algorithms", as announced in SIGNATURE_HASH_ALGORITHMS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HashAlgorithm {
    /// SHA2-256.
    Sha256,
    /// SHA2-384.
    Sha384,
    /// SHA2-512.
    Sha512,
    /// No hash in front of the signature algorithm (RFC 8420).
    Identity,
}

impl HashAlgorithm {
    /// Every supported one, in the order in which they are announced.
    pub const ALL: [Self; 4] = [Self::Sha256, Self::Sha384, Self::Sha512, Self::Identity];

    /// The IANA number.
    pub const fn id(self) -> u16 {
        match self {
            Self::Sha256 => 2,
            Self::Sha384 => 3,
            Self::Sha512 => 4,
            Self::Identity => 5,
        }
    }

    /// The algorithm with this IANA number, `None` when unsupported: SHA-1 is.
    pub fn from_id(id: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.id() == id)
    }

    /// The name for a human.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA2-256",
            Self::Sha384 => "SHA2-384",
            Self::Sha512 => "SHA2-512",
            Self::Identity => "the identity hash",
        }
    }
}

/// How a signature is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureScheme {
    /// RSASSA-PSS (RFC 8017 §8.1) with MGF1 over the same hash and a salt as long as the hash.
    RsaPss(RsaHash),
    /// RSASSA-PKCS1-v1_5 (RFC 8017 §8.2), only for verification.
    RsaPkcs1(RsaHash),
    /// ECDSA with SHA2-256 and a DER signature, on the curve of the key.
    EcdsaSha256,
    /// ECDSA with SHA2-384 and a DER signature, on the curve of the key.
    EcdsaSha384,
    /// Ed25519 (RFC 8032), which hashes by itself.
    Ed25519,
}

/// A hash for RSA signatures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RsaHash {
    /// SHA2-256.
    Sha256,
    /// SHA2-384.
    Sha384,
    /// SHA2-512.
    Sha512,
}

impl RsaHash {
    pub(super) const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];
}

impl SignatureScheme {
    /// The hash algorithm that the verifier must have announced.
    pub const fn hash(self) -> HashAlgorithm {
        match self {
            Self::RsaPss(RsaHash::Sha256) | Self::RsaPkcs1(RsaHash::Sha256) | Self::EcdsaSha256 => {
                HashAlgorithm::Sha256
            }
            Self::RsaPss(RsaHash::Sha384) | Self::RsaPkcs1(RsaHash::Sha384) | Self::EcdsaSha384 => {
                HashAlgorithm::Sha384
            }
            Self::RsaPss(RsaHash::Sha512) | Self::RsaPkcs1(RsaHash::Sha512) => HashAlgorithm::Sha512,
            Self::Ed25519 => HashAlgorithm::Identity,
        }
    }

    /// The name for a human.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RsaPss(RsaHash::Sha256) => "RSA-PSS with SHA2-256",
            Self::RsaPss(RsaHash::Sha384) => "RSA-PSS with SHA2-384",
            Self::RsaPss(RsaHash::Sha512) => "RSA-PSS with SHA2-512",
            Self::RsaPkcs1(RsaHash::Sha256) => "RSA PKCS#1 v1.5 with SHA2-256",
            Self::RsaPkcs1(RsaHash::Sha384) => "RSA PKCS#1 v1.5 with SHA2-384",
            Self::RsaPkcs1(RsaHash::Sha512) => "RSA PKCS#1 v1.5 with SHA2-512",
            Self::EcdsaSha256 => "ECDSA with SHA2-256",
            Self::EcdsaSha384 => "ECDSA with SHA2-384",
            Self::Ed25519 => "Ed25519",
        }
    }

    /// What keys of this kind sign with, most preferred first.
    pub(super) const fn of_key(kind: KeyKind) -> &'static [Self] {
        match kind {
            KeyKind::Rsa => {
                &[Self::RsaPss(RsaHash::Sha256), Self::RsaPss(RsaHash::Sha384), Self::RsaPss(RsaHash::Sha512)]
            }
            KeyKind::EcdsaP256 => &[Self::EcdsaSha256],
            KeyKind::EcdsaP384 => &[Self::EcdsaSha384],
            KeyKind::Ed25519 => &[Self::Ed25519],
        }
    }
}
