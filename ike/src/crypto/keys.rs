//! Keys of IKE SAs and Child SAs (RFC 7296 §2.13 to §2.18).

use std::fmt;

use zeroize::Zeroizing;

use crate::crypto::{CryptoError, EspAead, Prf, SALT_LEN, SharedSecret, SkAlgorithms, SkCipher};

/// What one exchange contributes to the keys of an IKE SA.
///
/// "Initiator" and "responder" are the roles in the exchange that makes the keys: IKE_SA_INIT, or the CREATE_CHILD_SA
/// exchange that rekeys the IKE SA.
#[derive(Clone, Copy)]
pub struct KeyExchange<'a> {
    /// The result of the Diffie-Hellman exchange.
    pub shared: &'a SharedSecret,
    /// Nonce data of the initiator.
    pub nonce_i: &'a [u8],
    /// Nonce data of the responder.
    pub nonce_r: &'a [u8],
    /// The SPI of the new IKE SA chosen by the initiator.
    pub spi_i: u64,
    /// The SPI of the new IKE SA chosen by the responder.
    pub spi_r: u64,
}

/// The keys of an IKE SA.
pub struct IkeKeys {
    /// Derives further keys: of Child SAs and of the SA that replaces this one.
    pub sk_d: Zeroizing<Vec<u8>>,
    /// Authenticates messages of the initiator; empty with an AEAD cipher (RFC 5282 §7.1).
    pub sk_ai: Zeroizing<Vec<u8>>,
    /// Authenticates messages of the responder; empty with an AEAD cipher.
    pub sk_ar: Zeroizing<Vec<u8>>,
    /// Encrypts messages of the initiator: the cipher key, with an AEAD cipher followed by the 4-octet salt.
    pub sk_ei: Zeroizing<Vec<u8>>,
    /// Encrypts messages of the responder: the cipher key, with an AEAD cipher followed by the 4-octet salt.
    pub sk_er: Zeroizing<Vec<u8>>,
    /// Binds the initiator's identity into its AUTH payload.
    pub sk_pi: Zeroizing<Vec<u8>>,
    /// Binds the responder's identity into its AUTH payload.
    pub sk_pr: Zeroizing<Vec<u8>>,
}

impl IkeKeys {
    /// The keys after IKE_SA_INIT: SKEYSEED = prf(Ni | Nr, g^ir) (RFC 7296 §2.14).
    pub fn derive(prf: Prf, algorithms: impl Into<SkAlgorithms>, exchange: &KeyExchange<'_>) -> Self {
        let nonces = Zeroizing::new([exchange.nonce_i, exchange.nonce_r].concat());
        let skeyseed = prf.prf(&nonces, &[exchange.shared.as_bytes()]);
        Self::expand(prf, algorithms.into(), &skeyseed, exchange)
    }

    /// The keys after the rekeying of an IKE SA: SKEYSEED = prf(SK_d, g^ir | Ni | Nr) with SK_d and the PRF of the old
    /// SA, expanded with the algorithms of the new one (RFC 7296 §2.18).
    pub fn derive_rekeyed(
        old_prf: Prf,
        old_sk_d: &[u8],
        prf: Prf,
        algorithms: impl Into<SkAlgorithms>,
        exchange: &KeyExchange<'_>,
    ) -> Self {
        let skeyseed =
            old_prf.prf(old_sk_d, &[exchange.shared.as_bytes(), exchange.nonce_i, exchange.nonce_r]);
        Self::expand(prf, algorithms.into(), &skeyseed, exchange)
    }

    /// The protection of messages of the initiator. Fails with [`CryptoError::KeyLength`] when the keys are of other
    /// algorithms.
    pub fn initiator_cipher(&self, algorithms: impl Into<SkAlgorithms>) -> Result<SkCipher, CryptoError> {
        SkCipher::new(algorithms, &self.sk_ei, &self.sk_ai)
    }

    /// The protection of messages of the responder, as [`Self::initiator_cipher`].
    pub fn responder_cipher(&self, algorithms: impl Into<SkAlgorithms>) -> Result<SkCipher, CryptoError> {
        SkCipher::new(algorithms, &self.sk_er, &self.sk_ar)
    }

    fn expand(prf: Prf, algorithms: SkAlgorithms, skeyseed: &[u8], exchange: &KeyExchange<'_>) -> Self {
        let prf_len = prf.output_len();
        let (sk_a_len, sk_e_len) = (algorithms.sk_a_len(), algorithms.sk_e_len());
        let seed: [&[u8]; 4] = [
            exchange.nonce_i,
            exchange.nonce_r,
            &exchange.spi_i.to_be_bytes(),
            &exchange.spi_r.to_be_bytes(),
        ];
        let stream = prf.prf_plus(skeyseed, &seed, 3 * prf_len + 2 * (sk_a_len + sk_e_len));
        let mut cut = Cutter(&stream);
        Self {
            sk_d: cut.take(prf_len),
            sk_ai: cut.take(sk_a_len),
            sk_ar: cut.take(sk_a_len),
            sk_ei: cut.take(sk_e_len),
            sk_er: cut.take(sk_e_len),
            sk_pi: cut.take(prf_len),
            sk_pr: cut.take(prf_len),
        }
    }
}

impl fmt::Debug for IkeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IkeKeys").finish_non_exhaustive()
    }
}

/// The key of one direction of a Child SA.
#[derive(Clone)]
pub struct EspKey {
    /// The cipher key, [`EspAead::key_len`] octets.
    pub key: Zeroizing<Vec<u8>>,
    /// The leading octets of every nonce.
    pub salt: Zeroizing<[u8; SALT_LEN]>,
}

impl fmt::Debug for EspKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EspKey").finish_non_exhaustive()
    }
}

/// The keys of a Child SA.
#[derive(Clone, Debug)]
pub struct ChildKeys {
    /// For packets from the initiator of the exchange that made the Child SA.
    pub initiator_to_responder: EspKey,
    /// For packets to the initiator of the exchange that made the Child SA.
    pub responder_to_initiator: EspKey,
}

impl ChildKeys {
    /// KEYMAT = prf+(SK_d, [g^ir] | Ni | Nr) (RFC 7296 §2.17).
    ///
    /// `nonce_i` and `nonce_r` are those of the exchange that makes the Child SA: of IKE_SA_INIT for the first one, of
    /// CREATE_CHILD_SA for later ones, whose initiator need not be that of the IKE SA. `shared` is given when
    /// CREATE_CHILD_SA carried its own key exchange (perfect forward secrecy).
    pub fn derive(
        prf: Prf,
        sk_d: &[u8],
        aead: EspAead,
        shared: Option<&SharedSecret>,
        nonce_i: &[u8],
        nonce_r: &[u8],
    ) -> Self {
        let shared = shared.map_or(&[][..], SharedSecret::as_bytes);
        let keymat = prf.prf_plus(sk_d, &[shared, nonce_i, nonce_r], 2 * (aead.key_len() + SALT_LEN));
        let mut cut = Cutter(&keymat);
        let mut esp_key = || EspKey { key: cut.take(aead.key_len()), salt: cut.take_array() };
        Self { initiator_to_responder: esp_key(), responder_to_initiator: esp_key() }
    }
}

/// Takes keys off the front of a key stream that was made exactly long enough.
struct Cutter<'a>(&'a [u8]);

impl Cutter<'_> {
    fn take(&mut self, len: usize) -> Zeroizing<Vec<u8>> {
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        Zeroizing::new(taken.to_vec())
    }

    fn take_array<const N: usize>(&mut self) -> Zeroizing<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk().expect("the key stream covers every key");
        self.0 = rest;
        Zeroizing::new(*taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::{IkeAead, IkeCbc, Integrity};

    fn shared() -> SharedSecret {
        SharedSecret::from_bytes(Zeroizing::new(vec![0x11; 32]))
    }

    fn exchange(shared: &SharedSecret) -> KeyExchange<'_> {
        KeyExchange { shared, nonce_i: b"nonce of i", nonce_r: b"nonce of r", spi_i: 1, spi_r: 2 }
    }

    #[test]
    fn rekeying_takes_skeyseed_from_the_old_prf_and_the_rest_from_the_new() {
        let shared = shared();
        let exchange = exchange(&shared);
        let (old, new) = (Prf::HmacSha256, Prf::HmacSha512);
        let keys = IkeKeys::derive_rekeyed(old, b"old sk_d", new, IkeAead::Aes256Gcm16, &exchange);
        let skeyseed = old.prf(b"old sk_d", &[&[0x11; 32], b"nonce of inonce of r"]);
        let seed = b"nonce of inonce of r\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02";
        let stream = new.prf_plus(&skeyseed, &[seed], 64 + 36 + 36 + 64 + 64);
        assert_eq!(parts(&keys).map(<[u8]>::len), [64, 0, 0, 36, 36, 64, 64]);
        assert_eq!(parts(&keys).concat(), *stream);
    }

    #[test]
    fn integrity_keys_come_before_those_of_the_cipher() {
        let shared = shared();
        let exchange = exchange(&shared);
        let (prf, algorithms) = (Prf::HmacSha256, SkAlgorithms::Cbc(IkeCbc::Aes128, Integrity::HmacSha512));
        let keys = IkeKeys::derive(prf, algorithms, &exchange);
        let skeyseed = prf.prf(b"nonce of inonce of r", &[&[0x11; 32]]);
        let seed = b"nonce of inonce of r\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02";
        let stream = prf.prf_plus(&skeyseed, &[seed], 32 + 64 + 64 + 16 + 16 + 32 + 32);
        assert_eq!(parts(&keys).map(<[u8]>::len), [32, 64, 64, 16, 16, 32, 32]);
        assert_eq!(parts(&keys).concat(), *stream);
        let sealed = keys.initiator_cipher(algorithms).unwrap().seal(0, b"aad", b"content");
        assert!(keys.initiator_cipher(algorithms).unwrap().open(b"aad", &sealed).is_ok());
        assert!(keys.responder_cipher(algorithms).unwrap().open(b"aad", &sealed).is_err());
        assert!(keys.initiator_cipher(IkeAead::Aes128Gcm16).is_err());
    }

    /// In the order of RFC 7296 §2.14.
    fn parts(keys: &IkeKeys) -> [&[u8]; 7] {
        let IkeKeys { sk_d, sk_ai, sk_ar, sk_ei, sk_er, sk_pi, sk_pr } = keys;
        [sk_d, sk_ai, sk_ar, sk_ei, sk_er, sk_pi, sk_pr].map(|key| key.as_slice())
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let shared = shared();
        let keys = IkeKeys::derive(Prf::HmacSha256, IkeAead::Aes128Gcm16, &exchange(&shared));
        assert_eq!(format!("{keys:?}"), "IkeKeys { .. }");
        let child = ChildKeys::derive(Prf::HmacSha256, b"sk_d", EspAead::Aes128Gcm16, None, b"i", b"r");
        assert_eq!(
            format!("{child:?}"),
            "ChildKeys { initiator_to_responder: EspKey { .. }, responder_to_initiator: EspKey { .. } }"
        );
    }
}
