//! Protection of the SK payload (RFC 7296 §3.14): an AEAD cipher (RFC 5282, RFC 7634), or AES-CBC with HMAC.

mod aead;
mod cbc;

use std::fmt;

use zeroize::Zeroizing;

use crate::crypto::{CryptoError, ICV_LEN, IV_LEN, IkeAead, Integrity, SALT_LEN};
use aead::Salted;
pub use cbc::IkeCbc;
use cbc::{BLOCK_LEN, CbcHmac};

/// What protects the messages of an IKE SA.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SkAlgorithms {
    /// A cipher that protects integrity as well.
    Aead(IkeAead),
    /// A cipher, and an integrity algorithm over what it has encrypted.
    Cbc(IkeCbc, Integrity),
}

impl SkAlgorithms {
    /// Octets of SK_ei and SK_er: with AEAD ciphers the salt is the end of it (RFC 5282 §7.1).
    pub const fn sk_e_len(self) -> usize {
        match self {
            Self::Aead(aead) => aead.key_len() + SALT_LEN,
            Self::Cbc(cipher, _) => cipher.key_len(),
        }
    }

    /// Octets of SK_ai and SK_ar: none with AEAD ciphers (RFC 5282 §7.1).
    pub const fn sk_a_len(self) -> usize {
        match self {
            Self::Aead(_) => 0,
            Self::Cbc(_, integrity) => integrity.key_len(),
        }
    }

    /// Octets of an SK payload's body around `content_len` octets of payloads: IV, ciphertext with padding, ICV.
    pub const fn body_len(self, content_len: usize) -> usize {
        self.iv_len() + content_len + self.pad_len(content_len) + 1 + self.icv_len()
    }

    /// Octets of the longest content whose body has at most `body_len` octets; `None` when there is no such body.
    pub const fn largest_content(self, body_len: usize) -> Option<usize> {
        let Some(room) = body_len.checked_sub(self.iv_len() + self.icv_len()) else { return None };
        match self {
            Self::Aead(_) => room.checked_sub(1),
            Self::Cbc(..) => (room - room % BLOCK_LEN).checked_sub(1),
        }
    }

    const fn iv_len(self) -> usize {
        match self {
            Self::Aead(_) => IV_LEN,
            Self::Cbc(..) => BLOCK_LEN,
        }
    }

    const fn icv_len(self) -> usize {
        match self {
            Self::Aead(_) => ICV_LEN,
            Self::Cbc(_, integrity) => integrity.icv_len(),
        }
    }

    /// Octets of padding between the content and the Pad Length field; AEAD ciphers need none (RFC 5282 §3).
    const fn pad_len(self, content_len: usize) -> usize {
        match self {
            Self::Aead(_) => 0,
            Self::Cbc(..) => BLOCK_LEN - 1 - content_len % BLOCK_LEN,
        }
    }
}

impl From<IkeAead> for SkAlgorithms {
    fn from(aead: IkeAead) -> Self {
        Self::Aead(aead)
    }
}

/// The names in proposals: `aes256gcm16`, `aes256-sha256`.
impl fmt::Display for SkAlgorithms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aead(aead) => f.write_str(aead.name()),
            Self::Cbc(cipher, integrity) => write!(f, "{}-{}", cipher.name(), integrity.name()),
        }
    }
}

/// One direction's protection of SK payloads.
pub struct SkCipher {
    algorithms: SkAlgorithms,
    protector: Protector,
}

// Boxed: the expanded keys are large and the variants differ in size.
enum Protector {
    Aead(Box<Salted>),
    Cbc(Box<CbcHmac>),
}

impl SkCipher {
    /// A cipher from SK_ei and SK_ai, or SK_er and SK_ar, of [`SkAlgorithms::sk_e_len`] and
    /// [`SkAlgorithms::sk_a_len`] octets. Fails with [`CryptoError::KeyLength`].
    pub fn new(algorithms: impl Into<SkAlgorithms>, sk_e: &[u8], sk_a: &[u8]) -> Result<Self, CryptoError> {
        let algorithms = algorithms.into();
        if sk_a.len() != algorithms.sk_a_len() {
            return Err(CryptoError::KeyLength { expected: algorithms.sk_a_len(), actual: sk_a.len() });
        }
        let protector = match algorithms {
            SkAlgorithms::Aead(aead) => Protector::Aead(Box::new(Salted::new(aead, sk_e)?)),
            SkAlgorithms::Cbc(cipher, integrity) => {
                Protector::Cbc(Box::new(CbcHmac::new(cipher, integrity, sk_e, sk_a)?))
            }
        };
        Ok(Self { algorithms, protector })
    }

    /// What the cipher was made for.
    pub const fn algorithms(&self) -> SkAlgorithms {
        self.algorithms
    }

    /// Protects `content`, encoded payloads, and returns the body of the SK payload: IV, ciphertext with padding, ICV,
    /// together [`SkAlgorithms::body_len`] octets. `number` must never repeat for this key; the IV is made of it. `aad`
    /// is everything from the IKE header to the end of what precedes the IV (RFC 5282 §5.1); all lengths in it are
    /// final.
    pub fn seal(&self, number: u64, aad: &[u8], content: &[u8]) -> Vec<u8> {
        // Room for everything up front: growing would leave a copy of the content in freed memory.
        let mut body = Vec::with_capacity(self.algorithms.body_len(content.len()));
        let iv_len = self.algorithms.iv_len();
        let pad_len = self.algorithms.pad_len(content.len());
        match &self.protector {
            Protector::Aead(cipher) => {
                let iv = number.to_be_bytes();
                body.extend(iv);
                extend_padded(&mut body, content, pad_len);
                let icv = cipher.encrypt(iv, aad, &mut body[iv_len..]);
                body.extend(icv);
            }
            Protector::Cbc(cipher) => {
                let iv = cipher.iv(number);
                body.extend(iv);
                extend_padded(&mut body, content, pad_len);
                cipher.encrypt(iv, &mut body[iv_len..]);
                let icv = cipher.icv(aad, &body);
                body.extend(icv.as_slice());
            }
        }
        body
    }

    /// Checks and decrypts the body of an SK payload and returns its content without padding, or nothing of it when the
    /// ICV does not match. Fails with [`CryptoError::TruncatedCiphertext`], [`CryptoError::IntegrityCheckFailed`], or
    /// [`CryptoError::InvalidPadding`] when the body is from the peer and yet malformed.
    pub fn open(&self, aad: &[u8], body: &[u8]) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let truncated = CryptoError::TruncatedCiphertext { actual: body.len() };
        let (iv, rest) = body.split_at_checked(self.algorithms.iv_len()).ok_or(truncated)?;
        let ciphertext_len = rest.len().checked_sub(self.algorithms.icv_len()).ok_or(truncated)?;
        let (ciphertext, icv) = rest.split_at(ciphertext_len);
        let mut content = Zeroizing::new(ciphertext.to_vec());
        match &self.protector {
            Protector::Aead(cipher) => {
                let iv = iv.try_into().map_err(|_| truncated)?;
                let icv = icv.try_into().map_err(|_| truncated)?;
                cipher.open(iv, aad, &mut content, icv)?;
            }
            Protector::Cbc(cipher) => cipher.open(iv, aad, &mut content, icv)?,
        }
        remove_padding(&mut content)?;
        Ok(content)
    }
}

impl fmt::Debug for SkCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SkCipher").field("algorithms", &self.algorithms).finish_non_exhaustive()
    }
}

fn extend_padded(body: &mut Vec<u8>, content: &[u8], pad_len: usize) {
    body.extend_from_slice(content);
    body.resize(body.len() + pad_len, 0);
    body.push(u8::try_from(pad_len).expect("padding is shorter than a block"));
}

/// A peer may pad by more than is needed, with any octets (RFC 7296 §3.14).
fn remove_padding(plaintext: &mut Vec<u8>) -> Result<(), CryptoError> {
    let pad_len = *plaintext.last().ok_or(CryptoError::InvalidPadding)?;
    let trailer_len = usize::from(pad_len) + 1;
    let content_len = plaintext.len().checked_sub(trailer_len).ok_or(CryptoError::InvalidPadding)?;
    plaintext.truncate(content_len);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [SkAlgorithms; 9] = [
        SkAlgorithms::Aead(IkeAead::Aes128Gcm16),
        SkAlgorithms::Aead(IkeAead::Aes256Gcm16),
        SkAlgorithms::Aead(IkeAead::ChaCha20Poly1305),
        SkAlgorithms::Cbc(IkeCbc::Aes128, Integrity::HmacSha256),
        SkAlgorithms::Cbc(IkeCbc::Aes128, Integrity::HmacSha384),
        SkAlgorithms::Cbc(IkeCbc::Aes128, Integrity::HmacSha512),
        SkAlgorithms::Cbc(IkeCbc::Aes256, Integrity::HmacSha256),
        SkAlgorithms::Cbc(IkeCbc::Aes256, Integrity::HmacSha384),
        SkAlgorithms::Cbc(IkeCbc::Aes256, Integrity::HmacSha512),
    ];

    fn cipher(algorithms: SkAlgorithms) -> SkCipher {
        SkCipher::new(algorithms, &vec![1; algorithms.sk_e_len()], &vec![2; algorithms.sk_a_len()]).unwrap()
    }

    #[test]
    fn keys_of_wrong_length_are_refused() {
        for algorithms in ALL {
            let expected = algorithms.sk_e_len();
            let sk_a = vec![0; algorithms.sk_a_len()];
            for actual in [0, 3, expected - 1, expected + 1] {
                let error = SkCipher::new(algorithms, &vec![0; actual], &sk_a).err();
                assert_eq!(error, Some(CryptoError::KeyLength { expected, actual }), "{algorithms}");
            }
            let (sk_e, expected, actual) = (vec![0; expected], sk_a.len(), sk_a.len() + 1);
            let error = SkCipher::new(algorithms, &sk_e, &vec![0; actual]).err();
            assert_eq!(error, Some(CryptoError::KeyLength { expected, actual }), "{algorithms}");
        }
    }

    #[test]
    fn bodies_without_room_for_iv_and_icv_are_refused() {
        for algorithms in ALL {
            for actual in 0..algorithms.iv_len() + algorithms.icv_len() {
                let error = cipher(algorithms).open(&[], &vec![0; actual]).unwrap_err();
                assert_eq!(error, CryptoError::TruncatedCiphertext { actual }, "{algorithms}");
            }
        }
    }

    #[test]
    fn the_length_of_a_body_is_known_before_it_is_made() {
        for algorithms in ALL {
            for content_len in 0..50 {
                let content = vec![3; content_len];
                let body = cipher(algorithms).seal(1, b"aad", &content);
                assert_eq!(body.len(), algorithms.body_len(content_len), "{algorithms} {content_len}");
                assert_eq!(*cipher(algorithms).open(b"aad", &body).unwrap(), content);
            }
        }
    }

    #[test]
    fn the_largest_content_for_a_room_fits_and_one_octet_more_does_not() {
        for algorithms in ALL {
            let smallest = algorithms.body_len(0);
            assert_eq!(algorithms.largest_content(smallest - 1), None);
            for room in smallest..smallest + 50 {
                let content_len = algorithms.largest_content(room).unwrap();
                assert!(algorithms.body_len(content_len) <= room, "{algorithms} {room}");
                assert!(algorithms.body_len(content_len + 1) > room, "{algorithms} {room}");
            }
        }
    }

    #[test]
    fn cbc_pads_to_whole_blocks_and_aead_not_at_all() {
        let gcm = SkAlgorithms::Aead(IkeAead::Aes128Gcm16);
        assert_eq!([0, 1, 15, 16].map(|len| gcm.body_len(len)), [25, 26, 40, 41]);
        let cbc = SkAlgorithms::Cbc(IkeCbc::Aes128, Integrity::HmacSha384);
        assert_eq!([0, 15, 16, 31, 32].map(|len| cbc.body_len(len)), [56, 56, 72, 72, 88]);
    }

    /// A body whose plaintext is whole blocks and ends with this Pad Length.
    fn padded_body(plaintext: &[u8]) -> (SkCipher, Vec<u8>) {
        let cipher = cipher(SkAlgorithms::Cbc(IkeCbc::Aes256, Integrity::HmacSha512));
        let Protector::Cbc(cbc) = &cipher.protector else { unreachable!() };
        let iv = [9; BLOCK_LEN];
        let mut body = iv.to_vec();
        body.extend(plaintext);
        cbc.encrypt(iv, &mut body[BLOCK_LEN..]);
        body.extend(cbc.icv(b"aad", &body).as_slice());
        (cipher, body)
    }

    #[test]
    fn a_peer_may_pad_by_more_than_it_needs_with_anything() {
        let mut plaintext = [5; 64];
        plaintext[63] = 40;
        let (cipher, body) = padded_body(&plaintext);
        assert_eq!(*cipher.open(b"aad", &body).unwrap(), [5; 23]);
    }

    #[test]
    fn padding_longer_than_the_plaintext_is_refused() {
        let mut plaintext = [5; 32];
        plaintext[31] = 32;
        let (cipher, body) = padded_body(&plaintext);
        assert_eq!(cipher.open(b"aad", &body), Err(CryptoError::InvalidPadding));
        plaintext[31] = 31;
        let (cipher, body) = padded_body(&plaintext);
        assert!(cipher.open(b"aad", &body).unwrap().is_empty());
    }

    #[test]
    fn an_authentic_ciphertext_of_no_or_broken_blocks_is_refused() {
        let (cipher, _) = padded_body(&[]);
        let Protector::Cbc(cbc) = &cipher.protector else { unreachable!() };
        for ciphertext_len in [0, 1, 15, 17] {
            let mut body = vec![9; BLOCK_LEN + ciphertext_len];
            body.extend(cbc.icv(b"aad", &body).as_slice());
            assert_eq!(cipher.open(b"aad", &body), Err(CryptoError::InvalidPadding), "{ciphertext_len}");
        }
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let cipher = cipher(SkAlgorithms::Cbc(IkeCbc::Aes128, Integrity::HmacSha256));
        assert_eq!(format!("{cipher:?}"), "SkCipher { algorithms: Cbc(Aes128, HmacSha256), .. }");
    }
}
