//! AES in CBC mode (RFC 3602), whose messages a separate integrity algorithm protects.

use aes::cipher::{Array, BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, InnerIvInit, KeyInit};
use aes::{Aes128, Aes256};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::crypto::{CryptoError, Integrity};

/// Octets of a block of AES, and of the IV in front of the ciphertext.
pub(super) const BLOCK_LEN: usize = 16;

const ENCR_AES_CBC: u16 = 12;
/// Makes the key of the IVs a function of SK_a that no message has: all of those begin with an SPI and are longer.
const IV_KEY_LABEL: &[u8] = b"IV of AES-CBC";

/// A negotiated cipher of an IKE SA that needs an integrity algorithm beside it (transform type 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IkeCbc {
    /// AES-CBC with a 128-bit key.
    Aes128,
    /// AES-CBC with a 256-bit key.
    Aes256,
}

impl IkeCbc {
    /// Every supported cipher.
    pub const ALL: [Self; 2] = [Self::Aes256, Self::Aes128];

    /// The cipher with this IANA transform id and Key Length attribute (in bits), `None` when unsupported.
    pub const fn from_transform(id: u16, key_bits: Option<u16>) -> Option<Self> {
        match (id, key_bits) {
            (ENCR_AES_CBC, Some(128)) => Some(Self::Aes128),
            (ENCR_AES_CBC, Some(256)) => Some(Self::Aes256),
            _ => None,
        }
    }

    /// The IANA transform id.
    pub const fn id(self) -> u16 {
        ENCR_AES_CBC
    }

    /// The Key Length attribute in bits.
    pub const fn key_bits(self) -> Option<u16> {
        Some(self.key_len() as u16 * 8)
    }

    /// Octets of SK_ei and SK_er.
    pub const fn key_len(self) -> usize {
        match self {
            Self::Aes128 => 16,
            Self::Aes256 => 32,
        }
    }

    /// The name in proposals, such as `aes256`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Aes128 => "aes128",
            Self::Aes256 => "aes256",
        }
    }
}

/// Encrypts, then authenticates (RFC 7296 §3.14).
pub(super) struct CbcHmac {
    cipher: Cipher,
    iv_cipher: Aes128,
    integrity: Integrity,
    sk_a: Zeroizing<Vec<u8>>,
}

enum Cipher {
    Aes128(Aes128),
    Aes256(Aes256),
}

impl CbcHmac {
    pub(super) fn new(
        cipher: IkeCbc,
        integrity: Integrity,
        sk_e: &[u8],
        sk_a: &[u8],
    ) -> Result<Self, CryptoError> {
        let wrong_length = |expected, key: &[u8]| CryptoError::KeyLength { expected, actual: key.len() };
        if sk_a.len() != integrity.key_len() {
            return Err(wrong_length(integrity.key_len(), sk_a));
        }
        let cipher_error = |_| wrong_length(cipher.key_len(), sk_e);
        let cipher = match cipher {
            IkeCbc::Aes128 => Cipher::Aes128(Aes128::new_from_slice(sk_e).map_err(cipher_error)?),
            IkeCbc::Aes256 => Cipher::Aes256(Aes256::new_from_slice(sk_e).map_err(cipher_error)?),
        };
        let iv_key = integrity.icv(sk_a, &[IV_KEY_LABEL]);
        let iv_cipher = Aes128::new_from_slice(&iv_key[..16]).expect("16 octets are a key of AES-128");
        Ok(Self { cipher, iv_cipher, integrity, sk_a: Zeroizing::new(sk_a.to_vec()) })
    }

    /// The IV of the message with this number. An attacker must not be able to predict it (RFC 7296 §3.14), which a
    /// counter would allow; its encryption under a key of its own looks random and never repeats.
    pub(super) fn iv(&self, number: u64) -> [u8; BLOCK_LEN] {
        let mut block = [0; BLOCK_LEN];
        block[8..].copy_from_slice(&number.to_be_bytes());
        let mut block = Array::from(block);
        self.iv_cipher.encrypt_block(&mut block);
        block.into()
    }

    /// Encrypts whole blocks in place.
    pub(super) fn encrypt(&self, iv: [u8; BLOCK_LEN], plaintext: &mut [u8]) {
        let (blocks, rest) = Array::slice_as_chunks_mut(plaintext);
        assert!(rest.is_empty(), "the plaintext is padded to whole blocks");
        let iv = Array::from(iv);
        match &self.cipher {
            Cipher::Aes128(cipher) => cbc::Encryptor::inner_iv_init(cipher, &iv).encrypt_blocks(blocks),
            Cipher::Aes256(cipher) => cbc::Encryptor::inner_iv_init(cipher, &iv).encrypt_blocks(blocks),
        }
    }

    /// The integrity check value over everything in front of it: `aad`, IV and ciphertext.
    pub(super) fn icv(&self, aad: &[u8], iv_and_ciphertext: &[u8]) -> Zeroizing<Vec<u8>> {
        self.integrity.icv(&self.sk_a, &[aad, iv_and_ciphertext])
    }

    /// Checks the ICV in constant time and only then decrypts `ciphertext` in place.
    pub(super) fn open(
        &self,
        iv: &[u8],
        aad: &[u8],
        ciphertext: &mut [u8],
        icv: &[u8],
    ) -> Result<(), CryptoError> {
        let expected = self.integrity.icv(&self.sk_a, &[aad, iv, ciphertext]);
        if !bool::from(expected.ct_eq(icv)) {
            return Err(CryptoError::IntegrityCheckFailed);
        }
        let (blocks, rest) = Array::slice_as_chunks_mut(ciphertext);
        if !rest.is_empty() {
            return Err(CryptoError::InvalidPadding);
        }
        let iv = Array::try_from(iv).map_err(|_| CryptoError::InvalidPadding)?;
        match &self.cipher {
            Cipher::Aes128(cipher) => cbc::Decryptor::inner_iv_init(cipher, &iv).decrypt_blocks(blocks),
            Cipher::Aes256(cipher) => cbc::Decryptor::inner_iv_init(cipher, &iv).decrypt_blocks(blocks),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unhex(octets: &str) -> Vec<u8> {
        hex::decode(octets).unwrap()
    }

    /// Encrypts and decrypts a vector with CBC.
    fn check(cipher: IkeCbc, key: &str, iv: &str, plaintext: &str, ciphertext: &str) {
        let sk_a = [7; 32];
        let cipher = CbcHmac::new(cipher, Integrity::HmacSha256, &unhex(key), &sk_a).unwrap();
        let mut buffer = unhex(plaintext);
        cipher.encrypt(unhex(iv).try_into().unwrap(), &mut buffer);
        assert_eq!(hex::encode(&buffer), ciphertext);
        let icv = cipher.icv(b"aad", &[unhex(iv), buffer.clone()].concat());
        cipher.open(&unhex(iv), b"aad", &mut buffer, &icv).unwrap();
        assert_eq!(hex::encode(&buffer), plaintext);
    }

    #[test]
    fn rfc3602_section_4_case_2() {
        check(
            IkeCbc::Aes128,
            "c286696d887c9aa0611bbb3e2025a45a",
            "562e17996d093d28ddb3ba695a2e6f58",
            "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
            "d296cd94c2cccf8a3a863028b5e1dc0a7586602d253cfff91b8266bea6d61ab1",
        );
    }

    #[test]
    fn nist_sp_800_38a_f_2_5() {
        check(
            IkeCbc::Aes256,
            "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4",
            "000102030405060708090a0b0c0d0e0f",
            "6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51",
            "f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d",
        );
    }

    #[test]
    fn ivs_neither_repeat_nor_count_and_differ_between_keys() {
        let cipher =
            |sk_a: u8| CbcHmac::new(IkeCbc::Aes128, Integrity::HmacSha256, &[1; 16], &[sk_a; 32]).unwrap();
        let ivs: std::collections::HashSet<_> = (0..1000).map(|number| cipher(2).iv(number)).collect();
        assert_eq!(ivs.len(), 1000);
        // Numbers that differ in one bit differ in about half the bits of their IVs.
        for (a, b) in [(cipher(2).iv(0), cipher(2).iv(1)), (cipher(2).iv(0), cipher(3).iv(0))] {
            let distance: u32 = a.iter().zip(b).map(|(a, b)| (a ^ b).count_ones()).sum();
            assert!((32..=96).contains(&distance), "{distance}");
        }
    }

    #[test]
    fn transforms_round_trip() {
        for cipher in IkeCbc::ALL {
            assert_eq!(IkeCbc::from_transform(cipher.id(), cipher.key_bits()), Some(cipher));
        }
        for (id, key_bits) in [(12, None), (12, Some(192)), (20, Some(128)), (13, Some(128))] {
            assert_eq!(IkeCbc::from_transform(id, key_bits), None);
        }
    }
}
