//! What can be wrong with a signature or its keys.

use crate::crypto::signature::{HashAlgorithm, KeyKind, SignatureScheme};

/// A signature, its algorithm or one of its keys is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureError {
    /// The algorithm identifier is of no supported signature scheme.
    #[error("signature algorithm is not supported (algorithm identifier {0})")]
    UnsupportedAlgorithm(String),
    /// A public key of an unsupported kind.
    #[error("public key is of no supported kind (RSA, ECDSA P-256, ECDSA P-384, Ed25519)")]
    UnsupportedKey,
    /// An RSA key that is too short.
    #[error("RSA key of {bits} bits is too short, 2048 are the least")]
    ShortKey {
        /// Bits of the modulus.
        bits: usize,
    },
    /// The scheme is for keys of another kind.
    #[error("{} signature, but the key is {}", scheme.name(), key.name())]
    KeyOfOtherKind {
        /// The scheme of the signature.
        scheme: SignatureScheme,
        /// The key it should verify with.
        key: KeyKind,
    },
    /// The signature was not made by this key over these octets.
    #[error("signature does not match")]
    Mismatch,
    /// The other side announced no hash algorithm that a signature with this key can use (RFC 7427 §4).
    #[error("{} keys sign with {}, which the peer does not support", key.name(), names(wanted))]
    NoCommonHash {
        /// The kind of our key.
        key: KeyKind,
        /// What it can sign with.
        wanted: &'static [HashAlgorithm],
    },
    /// The private key is not of the kind the public key has, is malformed or refused, such as for its length.
    #[error("private key cannot be used as {}: {reason}", kind.name())]
    PrivateKey {
        /// The kind that was expected.
        kind: KeyKind,
        /// What is wrong with it.
        reason: String,
    },
    /// The private key belongs to another public key.
    #[error("private key belongs to another public key")]
    OtherPublicKey,
    /// The operating system has no randomness.
    #[error("no randomness for a signature")]
    NoRandomness,
}

fn names(hashes: &[HashAlgorithm]) -> String {
    hashes.iter().map(|hash| hash.name()).collect::<Vec<_>>().join(" or ")
}
