//! AEAD ciphers: identities of both kinds of SA, and the cipher of the SK payload (RFC 5282).

use std::fmt;

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit, Nonce};
use zeroize::Zeroizing;

use crate::crypto::CryptoError;

/// Octets of salt that follow the cipher key in keying material; the leading octets of every nonce
/// (RFC 4106 §4, RFC 7634 §2, RFC 5282 §4).
pub const SALT_LEN: usize = 4;
/// Octets of explicit IV carried in each protected message (RFC 4106 §3.1, RFC 5282 §3.1).
pub const IV_LEN: usize = 8;
/// Octets of integrity check value behind the ciphertext.
pub const ICV_LEN: usize = 16;

const ENCR_AES_GCM_16: u16 = 20;
const ENCR_CHACHA20_POLY1305: u16 = 28;

/// A negotiated AEAD cipher of an IKE SA (transform type 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IkeAead {
    /// AES-GCM with a 128-bit key and a 16-octet ICV.
    Aes128Gcm16,
    /// AES-GCM with a 256-bit key and a 16-octet ICV.
    Aes256Gcm16,
}

impl IkeAead {
    /// The cipher with this IANA transform id and Key Length attribute (in bits), `None` when unsupported.
    pub const fn from_transform(id: u16, key_bits: Option<u16>) -> Option<Self> {
        match (id, key_bits) {
            (ENCR_AES_GCM_16, Some(128)) => Some(Self::Aes128Gcm16),
            (ENCR_AES_GCM_16, Some(256)) => Some(Self::Aes256Gcm16),
            _ => None,
        }
    }

    /// The IANA transform id.
    pub const fn id(self) -> u16 {
        ENCR_AES_GCM_16
    }

    /// The Key Length attribute in bits.
    pub const fn key_bits(self) -> Option<u16> {
        Some(self.key_len() as u16 * 8)
    }

    /// Octets of cipher key, without the salt.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128Gcm16 => 16,
            Self::Aes256Gcm16 => 32,
        }
    }

    /// The name in proposals shown to humans, such as `aes256gcm16`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm16 => "aes128gcm16",
            Self::Aes256Gcm16 => "aes256gcm16",
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

    /// The name in proposals shown to humans, such as `chacha20poly1305`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128Gcm16 => "aes128gcm16",
            Self::Aes256Gcm16 => "aes256gcm16",
            Self::ChaCha20Poly1305 => "chacha20poly1305",
        }
    }
}

/// One direction's cipher of the SK payload (RFC 5282), made from SK_ei or SK_er.
pub struct SkCipher {
    cipher: Cipher,
    salt: Zeroizing<[u8; SALT_LEN]>,
}

// Boxed: the expanded keys are large and the two variants differ in size.
enum Cipher {
    Aes128Gcm(Box<Aes128Gcm>),
    Aes256Gcm(Box<Aes256Gcm>),
}

impl SkCipher {
    /// A cipher from SK_ei or SK_er: the key followed by the 4-octet salt (RFC 5282 §7.1).
    pub fn new(aead: IkeAead, sk_e: &[u8]) -> Result<Self, CryptoError> {
        let length_error = CryptoError::KeyLength { expected: aead.key_len() + SALT_LEN, actual: sk_e.len() };
        let (key, salt) = sk_e.split_last_chunk::<SALT_LEN>().ok_or(length_error)?;
        let cipher = match aead {
            IkeAead::Aes128Gcm16 => {
                Cipher::Aes128Gcm(Box::new(Aes128Gcm::new_from_slice(key).map_err(|_| length_error)?))
            }
            IkeAead::Aes256Gcm16 => {
                Cipher::Aes256Gcm(Box::new(Aes256Gcm::new_from_slice(key).map_err(|_| length_error)?))
            }
        };
        Ok(Self { cipher, salt: Zeroizing::new(*salt) })
    }

    /// Encrypts `plaintext` and returns ciphertext followed by the ICV. `iv` must never repeat for this key; `aad` is
    /// everything from the IKE header to the SK payload's generic header (RFC 5282 §5.1).
    pub fn seal(&self, iv: [u8; IV_LEN], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let nonce = self.nonce(iv);
        // Room for the ICV up front: growing would leave a copy of the plaintext in freed memory.
        let mut buffer = Vec::with_capacity(plaintext.len() + ICV_LEN);
        buffer.extend_from_slice(plaintext);
        match &self.cipher {
            Cipher::Aes128Gcm(cipher) => cipher.encrypt_in_place(&nonce, aad, &mut buffer),
            Cipher::Aes256Gcm(cipher) => cipher.encrypt_in_place(&nonce, aad, &mut buffer),
        }
        .expect("IKE messages are far below the 64 GiB limit of AES-GCM");
        buffer
    }

    /// Checks and decrypts `ciphertext` (which ends with the ICV) and returns the plaintext, or nothing of it when
    /// the ICV does not match.
    pub fn open(
        &self,
        iv: [u8; IV_LEN],
        aad: &[u8],
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        if ciphertext.len() < ICV_LEN {
            return Err(CryptoError::TruncatedCiphertext { actual: ciphertext.len() });
        }
        let nonce = self.nonce(iv);
        let mut buffer = Zeroizing::new(ciphertext.to_vec());
        match &self.cipher {
            Cipher::Aes128Gcm(cipher) => cipher.decrypt_in_place(&nonce, aad, &mut *buffer),
            Cipher::Aes256Gcm(cipher) => cipher.decrypt_in_place(&nonce, aad, &mut *buffer),
        }
        .map_err(|_| CryptoError::IntegrityCheckFailed)?;
        Ok(buffer)
    }

    fn nonce(&self, iv: [u8; IV_LEN]) -> Nonce<aes_gcm::aead::consts::U12> {
        let mut nonce = [0; SALT_LEN + IV_LEN];
        nonce[..SALT_LEN].copy_from_slice(&*self.salt);
        nonce[SALT_LEN..].copy_from_slice(&iv);
        nonce.into()
    }
}

impl fmt::Debug for SkCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SkCipher").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "feffe9928665731c6d6a8f9467308308";
    const SALT: &str = "cafebabe";
    const IV: [u8; IV_LEN] = [0xfa, 0xce, 0xdb, 0xad, 0xde, 0xca, 0xf8, 0x88];
    const AAD: &str = "feedfacedeadbeeffeedfacedeadbeefabaddad2";
    const PLAINTEXT: &str = concat!(
        "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72",
        "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
    );

    fn unhex(octets: &str) -> Vec<u8> {
        hex::decode(octets).unwrap()
    }

    /// The specification's nonce, cut into salt and IV, gives its ciphertext and tag in both directions.
    fn check_gcm_vector(aead: IkeAead, sk_e: &str, expected: &str) {
        let cipher = SkCipher::new(aead, &unhex(sk_e)).unwrap();
        let sealed = cipher.seal(IV, &unhex(AAD), &unhex(PLAINTEXT));
        assert_eq!(hex::encode(&sealed), expected);
        assert_eq!(*cipher.open(IV, &unhex(AAD), &sealed).unwrap(), unhex(PLAINTEXT));
    }

    #[test]
    fn gcm_specification_test_case_4() {
        check_gcm_vector(
            IkeAead::Aes128Gcm16,
            &format!("{KEY}{SALT}"),
            concat!(
                "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e",
                "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
                "5bc94fbc3221a5db94fae95ae7121a47",
            ),
        );
    }

    #[test]
    fn gcm_specification_test_case_16() {
        check_gcm_vector(
            IkeAead::Aes256Gcm16,
            &format!("{KEY}{KEY}{SALT}"),
            concat!(
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa",
                "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
                "76fc6ece0f4e1768cddf8853bb2d551b",
            ),
        );
    }

    #[test]
    fn keys_of_wrong_length_are_refused() {
        for (aead, expected) in [(IkeAead::Aes128Gcm16, 20), (IkeAead::Aes256Gcm16, 36)] {
            for actual in [0, 3, expected - 1, expected + 1] {
                let error = SkCipher::new(aead, &vec![0; actual]).err();
                assert_eq!(error, Some(CryptoError::KeyLength { expected, actual }));
            }
        }
    }

    #[test]
    fn ciphertexts_without_room_for_the_icv_are_refused() {
        let cipher = SkCipher::new(IkeAead::Aes128Gcm16, &[0; 20]).unwrap();
        for actual in 0..ICV_LEN {
            let error = cipher.open(IV, &[], &vec![0; actual]).unwrap_err();
            assert_eq!(error, CryptoError::TruncatedCiphertext { actual });
        }
    }

    #[test]
    fn transforms_round_trip() {
        for aead in [IkeAead::Aes128Gcm16, IkeAead::Aes256Gcm16] {
            assert_eq!(IkeAead::from_transform(aead.id(), aead.key_bits()), Some(aead));
        }
        for aead in [EspAead::Aes128Gcm16, EspAead::Aes256Gcm16, EspAead::ChaCha20Poly1305] {
            assert_eq!(EspAead::from_transform(aead.id(), aead.key_bits()), Some(aead));
        }
        assert_eq!(EspAead::from_transform(20, None), None);
        assert_eq!(EspAead::from_transform(20, Some(192)), None);
        assert_eq!(EspAead::from_transform(28, Some(256)), None);
    }
}
