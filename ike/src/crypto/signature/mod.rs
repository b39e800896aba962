//! Digital signatures for AUTH (RFC 7427, RFC 8420): schemes, their DER algorithm identifiers, keys.

mod algorithm_identifier;
mod error;
mod public_key;
mod scheme;
mod signing_key;

pub use error::SignatureError;
pub use public_key::{KeyKind, PublicKey};
pub use scheme::{HashAlgorithm, RsaHash, SignatureScheme};
pub use signing_key::SigningKey;

#[cfg(test)]
mod tests;
