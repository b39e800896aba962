//! Keys of IKE SAs for tools that decrypt captures.

use std::fmt;

use zeroize::Zeroizing;

use crate::crypto::{IkeAead, IkeCbc, IkeKeys, Integrity, SkAlgorithms};

/// What it takes to decrypt the messages of one IKE SA: a row of Wireshark's table `ikev2_decryption_table`, and nothing
/// that would let its reader take part.
#[derive(Clone, PartialEq, Eq)]
pub struct ExportedIkeKeys {
    /// The initiator's SPI.
    pub spi_i: u64,
    /// The responder's SPI.
    pub spi_r: u64,
    /// Encrypts messages of the initiator; with an AEAD cipher the salt follows the key.
    pub sk_ei: Zeroizing<Vec<u8>>,
    /// Encrypts messages of the responder, likewise.
    pub sk_er: Zeroizing<Vec<u8>>,
    /// Authenticates messages of the initiator; empty with an AEAD cipher.
    pub sk_ai: Zeroizing<Vec<u8>>,
    /// Authenticates messages of the responder; empty with an AEAD cipher.
    pub sk_ar: Zeroizing<Vec<u8>>,
    /// What protects the messages.
    pub algorithms: SkAlgorithms,
}

impl ExportedIkeKeys {
    pub(crate) fn new(algorithms: SkAlgorithms, spi_i: u64, spi_r: u64, keys: &IkeKeys) -> Self {
        let IkeKeys { sk_ei, sk_er, sk_ai, sk_ar, .. } = keys;
        let [sk_ei, sk_er, sk_ai, sk_ar] = [sk_ei, sk_er, sk_ai, sk_ar].map(Clone::clone);
        Self { spi_i, spi_r, sk_ei, sk_er, sk_ai, sk_ar, algorithms }
    }

    /// Wireshark's name of the cipher; `None` for ChaCha20-Poly1305, which it does not decrypt in IKE.
    pub const fn wireshark_encryption(&self) -> Option<&'static str> {
        match self.algorithms {
            SkAlgorithms::Aead(IkeAead::Aes128Gcm16) => Some("AES-GCM-128 with 16 octet ICV [RFC5282]"),
            SkAlgorithms::Aead(IkeAead::Aes256Gcm16) => Some("AES-GCM-256 with 16 octet ICV [RFC5282]"),
            SkAlgorithms::Aead(IkeAead::ChaCha20Poly1305) => None,
            SkAlgorithms::Cbc(IkeCbc::Aes128, _) => Some("AES-CBC-128 [RFC3602]"),
            SkAlgorithms::Cbc(IkeCbc::Aes256, _) => Some("AES-CBC-256 [RFC3602]"),
        }
    }

    /// Wireshark's name of the integrity algorithm.
    pub const fn wireshark_integrity(&self) -> &'static str {
        match self.algorithms {
            SkAlgorithms::Aead(_) => "NONE [RFC4306]",
            SkAlgorithms::Cbc(_, Integrity::HmacSha256) => "HMAC_SHA2_256_128 [RFC4868]",
            SkAlgorithms::Cbc(_, Integrity::HmacSha384) => "HMAC_SHA2_384_192 [RFC4868]",
            SkAlgorithms::Cbc(_, Integrity::HmacSha512) => "HMAC_SHA2_512_256 [RFC4868]",
        }
    }
}

impl fmt::Debug for ExportedIkeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExportedIkeKeys")
            .field("spi_i", &format_args!("{:016x}", self.spi_i))
            .field("spi_r", &format_args!("{:016x}", self.spi_r))
            .field("algorithms", &self.algorithms)
            .finish_non_exhaustive()
    }
}
