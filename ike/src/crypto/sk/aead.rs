//! AEAD ciphers at work in the SK payload (RFC 5282, RFC 7634 §3).

use aes_gcm::aead::AeadInOut;
use aes_gcm::aead::array::Array;
use aes_gcm::{Aes128Gcm, Aes256Gcm, KeyInit};
use chacha20poly1305::ChaCha20Poly1305;
use zeroize::Zeroizing;

use crate::crypto::{CryptoError, ICV_LEN, IV_LEN, IkeAead, SALT_LEN};

/// A cipher with its salt.
pub(super) struct Salted {
    cipher: Cipher,
    salt: Zeroizing<[u8; SALT_LEN]>,
}

enum Cipher {
    Aes128Gcm(Aes128Gcm),
    Aes256Gcm(Aes256Gcm),
    ChaCha20Poly1305(ChaCha20Poly1305),
}

impl Salted {
    pub(super) fn new(aead: IkeAead, sk_e: &[u8]) -> Result<Self, CryptoError> {
        let length_error = CryptoError::KeyLength { expected: aead.key_len() + SALT_LEN, actual: sk_e.len() };
        let (key, salt) = sk_e.split_last_chunk::<SALT_LEN>().ok_or(length_error)?;
        let cipher = match aead {
            IkeAead::Aes128Gcm16 => Aes128Gcm::new_from_slice(key).map(Cipher::Aes128Gcm),
            IkeAead::Aes256Gcm16 => Aes256Gcm::new_from_slice(key).map(Cipher::Aes256Gcm),
            IkeAead::ChaCha20Poly1305 => ChaCha20Poly1305::new_from_slice(key).map(Cipher::ChaCha20Poly1305),
        }
        .map_err(|_| length_error)?;
        Ok(Self { cipher, salt: Zeroizing::new(*salt) })
    }

    /// Encrypts in place and returns the ICV.
    pub(super) fn encrypt(&self, iv: [u8; IV_LEN], aad: &[u8], plaintext: &mut [u8]) -> [u8; ICV_LEN] {
        let nonce = self.nonce(iv).into();
        let buffer = plaintext.into();
        match &self.cipher {
            Cipher::Aes128Gcm(cipher) => cipher.encrypt_inout_detached(&nonce, aad, buffer),
            Cipher::Aes256Gcm(cipher) => cipher.encrypt_inout_detached(&nonce, aad, buffer),
            Cipher::ChaCha20Poly1305(cipher) => cipher.encrypt_inout_detached(&nonce, aad, buffer),
        }
        .expect("IKE messages are far below the 64 GiB limit of these ciphers")
        .into()
    }

    /// Checks the ICV and decrypts in place.
    pub(super) fn open(
        &self,
        iv: [u8; IV_LEN],
        aad: &[u8],
        ciphertext: &mut [u8],
        icv: [u8; ICV_LEN],
    ) -> Result<(), CryptoError> {
        let (nonce, icv) = (self.nonce(iv).into(), Array::from(icv));
        let buffer = ciphertext.into();
        match &self.cipher {
            Cipher::Aes128Gcm(cipher) => cipher.decrypt_inout_detached(&nonce, aad, buffer, &icv),
            Cipher::Aes256Gcm(cipher) => cipher.decrypt_inout_detached(&nonce, aad, buffer, &icv),
            Cipher::ChaCha20Poly1305(cipher) => cipher.decrypt_inout_detached(&nonce, aad, buffer, &icv),
        }
        .map_err(|_| CryptoError::IntegrityCheckFailed)
    }

    fn nonce(&self, iv: [u8; IV_LEN]) -> [u8; SALT_LEN + IV_LEN] {
        let mut nonce = [0; SALT_LEN + IV_LEN];
        nonce[..SALT_LEN].copy_from_slice(&*self.salt);
        nonce[SALT_LEN..].copy_from_slice(&iv);
        nonce
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
    fn check(aead: IkeAead, sk_e: &str, iv: [u8; IV_LEN], aad: &str, plaintext: &[u8], expected: &str) {
        let cipher = Salted::new(aead, &unhex(sk_e)).unwrap();
        let mut buffer = plaintext.to_vec();
        let icv = cipher.encrypt(iv, &unhex(aad), &mut buffer);
        assert_eq!(hex::encode([buffer.as_slice(), &icv].concat()), expected);
        cipher.open(iv, &unhex(aad), &mut buffer, icv).unwrap();
        assert_eq!(buffer, plaintext);
    }

    #[test]
    fn gcm_specification_test_case_4() {
        check(
            IkeAead::Aes128Gcm16,
            &format!("{KEY}{SALT}"),
            IV,
            AAD,
            &unhex(PLAINTEXT),
            concat!(
                "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e",
                "21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
                "5bc94fbc3221a5db94fae95ae7121a47",
            ),
        );
    }

    #[test]
    fn gcm_specification_test_case_16() {
        check(
            IkeAead::Aes256Gcm16,
            &format!("{KEY}{KEY}{SALT}"),
            IV,
            AAD,
            &unhex(PLAINTEXT),
            concat!(
                "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa",
                "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
                "76fc6ece0f4e1768cddf8853bb2d551b",
            ),
        );
    }

    #[test]
    fn rfc8439_section_2_8_2() {
        let plaintext =
            b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the \
                          future, sunscreen would be it.";
        check(
            IkeAead::ChaCha20Poly1305,
            "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f07000000",
            [0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47],
            "50515253c0c1c2c3c4c5c6c7",
            plaintext,
            concat!(
                "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6",
                "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36",
                "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc",
                "3ff4def08e4b7a9de576d26586cec64b6116",
                "1ae10b594f09e26a7e902ecbd0600691",
            ),
        );
    }
}
