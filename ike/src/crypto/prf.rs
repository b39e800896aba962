//! Pseudo-random functions: HMAC with SHA-2 (RFC 4868) and the expansion prf+ (RFC 7296 §2.13).

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha384, Sha512};
use zeroize::{Zeroize, Zeroizing};

/// A negotiated pseudo-random function (transform type 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prf {
    /// PRF_HMAC_SHA2_256.
    HmacSha256,
    /// PRF_HMAC_SHA2_384.
    HmacSha384,
    /// PRF_HMAC_SHA2_512.
    HmacSha512,
}

impl Prf {
    /// Every supported function.
    pub const ALL: [Self; 3] = [Self::HmacSha256, Self::HmacSha384, Self::HmacSha512];

    /// The function with this IANA transform id, `None` when unsupported.
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            5 => Some(Self::HmacSha256),
            6 => Some(Self::HmacSha384),
            7 => Some(Self::HmacSha512),
            _ => None,
        }
    }

    /// The IANA transform id.
    pub const fn id(self) -> u16 {
        match self {
            Self::HmacSha256 => 5,
            Self::HmacSha384 => 6,
            Self::HmacSha512 => 7,
        }
    }

    /// The name in proposals shown to humans, such as `prfsha256`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "prfsha256",
            Self::HmacSha384 => "prfsha384",
            Self::HmacSha512 => "prfsha512",
        }
    }

    /// Octets of output, which is also the preferred key length (RFC 4868 §2.1.2).
    pub const fn output_len(self) -> usize {
        match self {
            Self::HmacSha256 => 32,
            Self::HmacSha384 => 48,
            Self::HmacSha512 => 64,
        }
    }

    /// prf(`key`, `data`), where `data` is the concatenation of its parts. Returns [`Self::output_len`] octets.
    pub fn prf(self, key: &[u8], data: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        match self {
            Self::HmacSha256 => mac::<Hmac<Sha256>>(key, data),
            Self::HmacSha384 => mac::<Hmac<Sha384>>(key, data),
            Self::HmacSha512 => mac::<Hmac<Sha512>>(key, data),
        }
    }

    /// prf+(`key`, `seed`) cut to `len` octets (RFC 7296 §2.13): T1 | T2 | …, with
    /// Tn = prf(key, Tn-1 | seed | n).
    ///
    /// # Panics
    /// If `len` exceeds 255 outputs, for which prf+ is not defined.
    pub fn prf_plus(self, key: &[u8], seed: &[&[u8]], len: usize) -> Zeroizing<Vec<u8>> {
        let blocks = len.div_ceil(self.output_len());
        let blocks = u8::try_from(blocks).expect("prf+ yields at most 255 blocks");
        // Full capacity up front: a growing vector would leave key material behind in freed memory.
        let mut stream = Zeroizing::new(Vec::with_capacity(usize::from(blocks) * self.output_len()));
        let mut previous = Zeroizing::new(Vec::new());
        for counter in 1..=blocks {
            let counter = [counter];
            let mut data = Vec::with_capacity(seed.len() + 2);
            data.push(previous.as_slice());
            data.extend_from_slice(seed);
            data.push(&counter);
            let block = self.prf(key, &data);
            stream.extend_from_slice(&block);
            previous = block;
        }
        stream.truncate(len);
        stream
    }
}

fn mac<M: Mac + KeyInit>(key: &[u8], data: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in data {
        mac.update(part);
    }
    let mut output = mac.finalize().into_bytes();
    let copy = Zeroizing::new(output.to_vec());
    output.as_mut_slice().zeroize();
    copy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc4231_test_case_2() {
        let expected = [
            (Prf::HmacSha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (
                Prf::HmacSha384,
                concat!(
                    "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47",
                    "e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
                ),
            ),
            (
                Prf::HmacSha512,
                concat!(
                    "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea250554",
                    "9758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
                ),
            ),
        ];
        for (prf, digest) in expected {
            let output = prf.prf(b"Jefe", &[b"what do ya want ", b"", b"for nothing?"]);
            assert_eq!(hex::encode(&output), digest);
            assert_eq!(output.len(), prf.output_len());
        }
    }

    #[test]
    fn prf_plus_chains_blocks_and_cuts_the_last() {
        for prf in Prf::ALL {
            let len = prf.output_len();
            let first = prf.prf(b"key", &[b"seed", &[1]]);
            let second = prf.prf(b"key", &[&first, b"seed", &[2]]);
            let third = prf.prf(b"key", &[&second, b"seed", &[3]]);
            let whole = [first.as_slice(), &second, &third].concat();
            for cut in [0, 1, len, len + 1, 2 * len, 3 * len - 1, 3 * len] {
                assert_eq!(*prf.prf_plus(b"key", &[b"se", b"ed"], cut), whole[..cut]);
            }
        }
    }

    #[test]
    #[should_panic(expected = "at most 255 blocks")]
    fn prf_plus_refuses_more_than_255_blocks() {
        Prf::HmacSha256.prf_plus(b"key", &[b"seed"], 255 * 32 + 1);
    }

    #[test]
    fn transform_ids_round_trip() {
        for prf in Prf::ALL {
            assert_eq!(Prf::from_id(prf.id()), Some(prf));
        }
        assert_eq!(Prf::from_id(2), None);
    }
}
