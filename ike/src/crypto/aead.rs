//! Identities of the AEAD ciphers of IKE SAs and of Child SAs.

/// Octets of salt that follow the cipher key in keying material; the leading octets of every nonce
/// (RFC 4106 §4, RFC 7634 §2, RFC 5282 §4).
pub const SALT_LEN: usize = 4;
/// Octets of explicit IV that an AEAD cipher puts into each protected message (RFC 4106 §3.1, RFC 5282 §3.1).
pub const IV_LEN: usize = 8;
/// Octets of integrity check value behind the ciphertext of an AEAD cipher.
pub const ICV_LEN: usize = 16;

const ENCR_AES_GCM_16: u16 = 20;
const ENCR_CHACHA20_POLY1305: u16 = 28;

/// A negotiated AEAD cipher of an IKE SA (transform type 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IkeAead {
    /// AES-GCM with a 128-bit key and a 16-octet ICV (RFC 5282).
    Aes128Gcm16,
    /// AES-GCM with a 256-bit key and a 16-octet ICV (RFC 5282).
    Aes256Gcm16,
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
}

impl IkeAead {
    /// Every supported cipher.
    pub const ALL: [Self; 3] = [Self::Aes256Gcm16, Self::Aes128Gcm16, Self::ChaCha20Poly1305];

    /// The cipher with this IANA transform id and Key Length attribute (in bits), `None` when unsupported.
    /// ChaCha20-Poly1305 has one key length and carries no attribute (RFC 7634 §4).
    pub const fn from_transform(id: u16, key_bits: Option<u16>) -> Option<Self> {
        match (id, key_bits) {
            (ENCR_AES_GCM_16, Some(128)) => Some(Self::Aes128Gcm16),
            (ENCR_AES_GCM_16, Some(256)) => Some(Self::Aes256Gcm16),
            (ENCR_CHACHA20_POLY1305, None) => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// The IANA transform id.
    pub const fn id(self) -> u16 {
        match self {
            Self::Aes128Gcm16 | Self::Aes256Gcm16 => ENCR_AES_GCM_16,
            Self::ChaCha20Poly1305 => ENCR_CHACHA20_POLY1305,
        }
    }

    /// The Key Length attribute in bits, `None` when the transform carries no attribute.
    pub const fn key_bits(self) -> Option<u16> {
        match self {
            Self::Aes128Gcm16 => Some(128),
            Self::Aes256Gcm16 => Some(256),
            Self::ChaCha20Poly1305 => None,
        }
    }

    /// Octets of cipher key, without the salt.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm16 => 16,
            Self::Aes256Gcm16 | Self::ChaCha20Poly1305 => 32,
        }
    }

    /// The name in proposals, such as `aes256gcm16`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm16 => "aes128gcm16",
            Self::Aes256Gcm16 => "aes256gcm16",
            Self::ChaCha20Poly1305 => "chacha20poly1305",
        }
    }
}

/// A negotiated AEAD cipher of a Child SA (transform type 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EspAead {
    /// AES-GCM with a 128-bit key and a 16-octet ICV (RFC 4106).
    Aes128Gcm16,
    /// AES-GCM with a 256-bit key and a 16-octet ICV (RFC 4106).
    Aes256Gcm16,
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
}

impl EspAead {
    /// Every supported cipher.
    pub const ALL: [Self; 3] = [Self::ChaCha20Poly1305, Self::Aes256Gcm16, Self::Aes128Gcm16];

    /// The cipher with this IANA transform id and Key Length attribute (in bits), `None` when unsupported.
    /// ChaCha20-Poly1305 has one key length and carries no attribute (RFC 7634 §4).
    pub const fn from_transform(id: u16, key_bits: Option<u16>) -> Option<Self> {
        match (id, key_bits) {
            (ENCR_AES_GCM_16, Some(128)) => Some(Self::Aes128Gcm16),
            (ENCR_AES_GCM_16, Some(256)) => Some(Self::Aes256Gcm16),
            (ENCR_CHACHA20_POLY1305, None) => Some(Self::ChaCha20Poly1305),
            _ => None,
        }
    }

    /// The IANA transform id.
    pub const fn id(self) -> u16 {
        match self {
            Self::Aes128Gcm16 | Self::Aes256Gcm16 => ENCR_AES_GCM_16,
            Self::ChaCha20Poly1305 => ENCR_CHACHA20_POLY1305,
        }
    }

    /// The Key Length attribute in bits, `None` when the transform carries no attribute.
    pub const fn key_bits(self) -> Option<u16> {
        match self {
            Self::Aes128Gcm16 => Some(128),
            Self::Aes256Gcm16 => Some(256),
            Self::ChaCha20Poly1305 => None,
        }
    }

    /// Octets of cipher key, without the salt.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm16 => 16,
            Self::Aes256Gcm16 | Self::ChaCha20Poly1305 => 32,
        }
    }

    /// The name in proposals, such as `chacha20poly1305`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm16 => "aes128gcm16",
            Self::Aes256Gcm16 => "aes256gcm16",
            Self::ChaCha20Poly1305 => "chacha20poly1305",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transforms_round_trip() {
        for aead in IkeAead::ALL {
            assert_eq!(IkeAead::from_transform(aead.id(), aead.key_bits()), Some(aead));
        }
        for aead in EspAead::ALL {
            assert_eq!(EspAead::from_transform(aead.id(), aead.key_bits()), Some(aead));
        }
    }

    #[test]
    fn key_lengths_that_are_missing_or_do_not_belong_are_refused() {
        for (id, key_bits) in [(20, None), (20, Some(192)), (20, Some(0)), (28, Some(256)), (12, Some(256))] {
            assert_eq!(EspAead::from_transform(id, key_bits), None);
            assert_eq!(IkeAead::from_transform(id, key_bits), None);
        }
    }
}
