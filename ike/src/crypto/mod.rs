//! The cryptography of IKEv2: Diffie-Hellman groups, pseudo-random functions, ciphers, integrity, key derivation,
//! authentication by pre-shared key or signature, and the NAT detection hash.
//!
//! Nothing here knows messages or states; inputs are octet strings and outputs are keys or octet strings. The
//! primitives come from the RustCrypto and dalek crates, signatures from `ring`. Keys live in [`zeroize::Zeroizing`] buffers and have no
//! readable `Debug` form.

mod aead;
mod auth;
mod dh;
mod error;
mod integrity;
mod keys;
mod nat;
mod prf;
mod rng;
mod signature;
mod sk;

pub use aead::{EspAead, ICV_LEN, IV_LEN, IkeAead, SALT_LEN};
pub use auth::{psk_auth, signed_octets, verify_psk_auth};
pub use dh::{DhGroup, DhKeyPair, SharedSecret};
pub use error::CryptoError;
pub use integrity::Integrity;
pub use keys::{ChildKeys, EspKey, IkeKeys, KeyExchange};
pub use nat::nat_detection_hash;
pub use prf::Prf;
pub use rng::SecureRng;
pub use signature::{
    HashAlgorithm, KeyKind, PublicKey, RsaHash, SignatureError, SignatureScheme, SigningKey,
};
pub use sk::{IkeCbc, SkAlgorithms, SkCipher};
