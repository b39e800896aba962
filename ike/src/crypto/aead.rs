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
const ENCR_AES_GCM_16_IIV: u16 = 30;
const ENCR_CHACHA20_POLY1305_IIV: u16 = 31;

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
///
/// With an implicit IV (RFC 8750) packets carry no IV; the 64-bit sequence number is it, or the 32-bit one behind four
/// zero octets. Keys and everything else are those of the cipher with an explicit IV. IKE SAs have no such ciphers,
/// since fragments of a message share its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EspAead {
    /// AES-GCM with a 128-bit key and a 16-octet ICV (RFC 4106).
    Aes128Gcm16,
    /// AES-GCM with a 256-bit key and a 16-octet ICV (RFC 4106).
    Aes256Gcm16,
    /// ChaCha20-Poly1305 (RFC 7634).
    ChaCha20Poly1305,
    /// AES-GCM with a 128-bit key, a 16-octet ICV and an implicit IV.
    Aes128Gcm16Iiv,
    /// AES-GCM with a 256-bit key, a 16-octet ICV and an implicit IV.
    Aes256Gcm16Iiv,
    /// ChaCha20-Poly1305 with an implicit IV.
    ChaCha20Poly1305Iiv,
}

impl EspAead {
    /// Every supported cipher.
    pub const ALL: [Self; 6] = [
        Self::ChaCha20Poly1305,
        Self::Aes256Gcm16,
        Self::Aes128Gcm16,
        Self::ChaCha20Poly1305Iiv,
        Self::Aes256Gcm16Iiv,
        Self::Aes128Gcm16Iiv,
    ];

    /// The cipher with this IANA transform id and Key Length attribute (in bits), `None` when unsupported.
    /// ChaCha20-Poly1305 has one key length and carries no attribute (RFC 7634 §4).
    pub const fn from_transform(id: u16, key_bits: Option<u16>) -> Option<Self> {
        match (id, key_bits) {
            (ENCR_AES_GCM_16, Some(128)) => Some(Self::Aes128Gcm16),
            (ENCR_AES_GCM_16, Some(256)) => Some(Self::Aes256Gcm16),
            (ENCR_CHACHA20_POLY1305, None) => Some(Self::ChaCha20Poly1305),
            (ENCR_AES_GCM_16_IIV, Some(128)) => Some(Self::Aes128Gcm16Iiv),
            (ENCR_AES_GCM_16_IIV, Some(256)) => Some(Self::Aes256Gcm16Iiv),
            (ENCR_CHACHA20_POLY1305_IIV, None) => Some(Self::ChaCha20Poly1305Iiv),
            _ => None,
        }
    }

    /// The IANA transform id.
    pub const fn id(self) -> u16 {
        match self {
            Self::Aes128Gcm16 | Self::Aes256Gcm16 => ENCR_AES_GCM_16,
            Self::ChaCha20Poly1305 => ENCR_CHACHA20_POLY1305,
            Self::Aes128Gcm16Iiv | Self::Aes256Gcm16Iiv => ENCR_AES_GCM_16_IIV,
            Self::ChaCha20Poly1305Iiv => ENCR_CHACHA20_POLY1305_IIV,
        }
    }

    /// The Key Length attribute in bits, `None` when the transform carries no attribute.
    pub const fn key_bits(self) -> Option<u16> {
        match self {
            Self::Aes128Gcm16 | Self::Aes128Gcm16Iiv => Some(128),
            Self::Aes256Gcm16 | Self::Aes256Gcm16Iiv => Some(256),
            Self::ChaCha20Poly1305 | Self::ChaCha20Poly1305Iiv => None,
        }
    }

    /// Octets of cipher key, without the salt.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm16 | Self::Aes128Gcm16Iiv => 16,
            Self::Aes256Gcm16 | Self::Aes256Gcm16Iiv | Self::ChaCha20Poly1305 | Self::ChaCha20Poly1305Iiv => {
                32
            }
        }
    }

    /// Whether packets carry no IV (RFC 8750).
    pub const fn implicit_iv(self) -> bool {
        match self {
            Self::Aes128Gcm16 | Self::Aes256Gcm16 | Self::ChaCha20Poly1305 => false,
            Self::Aes128Gcm16Iiv | Self::Aes256Gcm16Iiv | Self::ChaCha20Poly1305Iiv => true,
        }
    }

    /// The name in proposals, such as `chacha20poly1305`; ciphers with an implicit IV end in `iiv`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm16 => "aes128gcm16",
            Self::Aes256Gcm16 => "aes256gcm16",
            Self::ChaCha20Poly1305 => "chacha20poly1305",
            Self::Aes128Gcm16Iiv => "aes128gcm16iiv",
            Self::Aes256Gcm16Iiv => "aes256gcm16iiv",
            Self::ChaCha20Poly1305Iiv => "chacha20poly1305iiv",
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
    fn an_implicit_iv_is_a_transform_of_esp_alone() {
        for aead in EspAead::ALL {
            let in_ike = IkeAead::from_transform(aead.id(), aead.key_bits());
            assert_eq!(in_ike.is_none(), aead.implicit_iv(), "{}", aead.name());
            assert_eq!(aead.name().ends_with("iiv"), aead.implicit_iv());
        }
    }

    #[test]
    fn key_lengths_that_are_missing_or_do_not_belong_are_refused() {
        for (id, key_bits) in [
            (20, None),
            (20, Some(192)),
            (20, Some(0)),
            (28, Some(256)),
            (12, Some(256)),
            (30, None),
            (31, Some(256)),
            (29, Some(128)),
        ] {
            assert_eq!(EspAead::from_transform(id, key_bits), None);
            assert_eq!(IkeAead::from_transform(id, key_bits), None);
        }
    }
}
