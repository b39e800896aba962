//! Keys of an IKE SA with AES-256-GCM, PRF-HMAC-SHA2-256 and X25519, by `ring` (RFC 7296 section 2.14).

use anyhow::{Result, anyhow};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::hmac;

/// Bytes that the PRF gives.
const PRF_LEN: usize = 32;
/// Bytes of an encryption key and its salt.
const SK_E_LEN: usize = 32 + SALT_LEN;
const SALT_LEN: usize = 4;
/// Bytes of the IV in front of each encrypted payload (RFC 5282 section 3.1).
pub(super) const IV_LEN: usize = 8;
/// Bytes of the ICV behind it.
pub(super) const ICV_LEN: usize = 16;

/// The negotiated PRF.
pub(super) fn prf(key: &[u8], parts: &[&[u8]]) -> [u8; PRF_LEN] {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    for part in parts {
        context.update(part);
    }
    context.sign().as_ref().try_into().expect("HMAC-SHA-256 has 32 bytes")
}

/// The keys that an initiator uses.
pub(super) struct Keys {
    pub(super) sealing: Cipher,
    pub(super) opening: Cipher,
    pub(super) sk_pi: [u8; PRF_LEN],
    pub(super) sk_pr: [u8; PRF_LEN],
}

impl Keys {
    /// Derives the keys from the shared secret, both nonces and both SPIs.
    pub(super) fn derive(shared: &[u8], nonce_i: &[u8], nonce_r: &[u8], spis: [u64; 2]) -> Self {
        let skeyseed = prf(&[nonce_i, nonce_r].concat(), &[shared]);
        let seed = [nonce_i, nonce_r, &spis[0].to_be_bytes(), &spis[1].to_be_bytes()].concat();
        let mut stream = Vec::new();
        let mut block = Vec::new();
        for number in 1..=u8::try_from((3 * PRF_LEN + 2 * SK_E_LEN).div_ceil(PRF_LEN)).expect("few blocks") {
            block = prf(&skeyseed, &[&block, &seed, &[number]]).to_vec();
            stream.extend(&block);
        }
        // SK_d comes first; this side makes no keys from it.
        let mut rest = &stream[PRF_LEN..];
        let mut take = |len| rest.split_off(..len).expect("the stream is long enough");
        let (sealing, opening) = (Cipher::new(take(SK_E_LEN)), Cipher::new(take(SK_E_LEN)));
        let mut take_prf_key = || take(PRF_LEN).try_into().expect("as long as asked for");
        Self { sealing, opening, sk_pi: take_prf_key(), sk_pr: take_prf_key() }
    }
}

/// One direction of the encryption.
pub(super) struct Cipher {
    key: LessSafeKey,
    salt: [u8; SALT_LEN],
}

impl Cipher {
    fn new(sk_e: &[u8]) -> Self {
        let (key, salt) = sk_e.split_at(sk_e.len() - SALT_LEN);
        let key = UnboundKey::new(&AES_256_GCM, key).expect("the key has the algorithm's length");
        Self { key: LessSafeKey::new(key), salt: salt.try_into().expect("as long as split off") }
    }

    /// Encrypts `text` in place and appends the ICV.
    pub(super) fn seal(&self, iv: [u8; IV_LEN], aad: &[u8], text: &mut Vec<u8>) {
        let sealed = self.key.seal_in_place_append_tag(self.nonce(iv), Aad::from(aad), text);
        sealed.expect("the text is short enough");
    }

    /// Checks the ICV at the end of `text` and decrypts the rest.
    ///
    /// # Errors
    /// The ICV is wrong.
    pub(super) fn open<'t>(&self, iv: [u8; IV_LEN], aad: &[u8], text: &'t mut [u8]) -> Result<&'t [u8]> {
        let opened = self.key.open_in_place(self.nonce(iv), Aad::from(aad), text);
        opened.map(|text| &*text).map_err(|_| anyhow!("the ICV of a response is wrong"))
    }

    fn nonce(&self, iv: [u8; IV_LEN]) -> Nonce {
        let mut nonce = [0; SALT_LEN + IV_LEN];
        nonce[..SALT_LEN].copy_from_slice(&self.salt);
        nonce[SALT_LEN..].copy_from_slice(&iv);
        Nonce::assume_unique_for_key(nonce)
    }
}
