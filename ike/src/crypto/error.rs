//! What can go wrong with a peer's cryptographic values.

use crate::crypto::DhGroup;

/// A value that came from outside failed a cryptographic check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CryptoError {
    /// A Diffie-Hellman public value has the wrong number of octets for its group.
    #[error("{} public value has {actual} octets, expected {}", group.name(), group.public_len())]
    PublicValueLength {
        /// The group the value was said to belong to.
        group: DhGroup,
        /// Octets received.
        actual: usize,
    },
    /// A Diffie-Hellman public value failed the checks of RFC 6989: outside the range, not on the curve, or
    /// leading to an all-zero shared secret.
    #[error("{} public value is not a valid group element", group.name())]
    InvalidPublicValue {
        /// The group the value was said to belong to.
        group: DhGroup,
    },
    /// A key has the wrong number of octets for its algorithm.
    #[error("key has {actual} octets, expected {expected}")]
    KeyLength {
        /// Octets the algorithm needs.
        expected: usize,
        /// Octets given.
        actual: usize,
    },
    /// The body of an SK payload is shorter than its IV and integrity check value.
    #[error("encrypted payload of {actual} octets has no room for IV and integrity check value")]
    TruncatedCiphertext {
        /// Octets received.
        actual: usize,
    },
    /// The integrity check value does not match: wrong key or modified message.
    #[error("integrity check failed")]
    IntegrityCheckFailed,
    /// What was decrypted is authentic, but not whole blocks that end with their padding.
    #[error("invalid padding")]
    InvalidPadding,
    /// The AUTH payload does not match: wrong pre-shared key, identity or message.
    #[error("authentication data does not match")]
    AuthenticationFailed,
}
