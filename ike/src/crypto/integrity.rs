//! Integrity algorithms: truncated HMAC with SHA-2 (RFC 4868).

use zeroize::Zeroizing;

use crate::crypto::Prf;

/// A negotiated integrity algorithm of an IKE SA (transform type 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Integrity {
    /// AUTH_HMAC_SHA2_256_128.
    HmacSha256,
    /// AUTH_HMAC_SHA2_384_192.
    HmacSha384,
    /// AUTH_HMAC_SHA2_512_256.
    HmacSha512,
}

impl Integrity {
    /// Every supported algorithm.
    pub const ALL: [Self; 3] = [Self::HmacSha256, Self::HmacSha384, Self::HmacSha512];

    /// The algorithm with this IANA transform id, `None` when unsupported.
    pub const fn from_id(id: u16) -> Option<Self> {
        match id {
            12 => Some(Self::HmacSha256),
            13 => Some(Self::HmacSha384),
            14 => Some(Self::HmacSha512),
            _ => None,
        }
    }

    /// The IANA transform id.
    pub const fn id(self) -> u16 {
        match self {
            Self::HmacSha256 => 12,
            Self::HmacSha384 => 13,
            Self::HmacSha512 => 14,
        }
    }

    /// The name in proposals, such as `sha256`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HmacSha256 => "sha256",
            Self::HmacSha384 => "sha384",
            Self::HmacSha512 => "sha512",
        }
    }

    /// Octets of SK_ai and SK_ar: those of the whole hash (RFC 4868 §2.1.1).
    pub const fn key_len(self) -> usize {
        self.prf().output_len()
    }

    /// Octets of the integrity check value: half of the hash (RFC 4868 §2.1).
    pub const fn icv_len(self) -> usize {
        self.key_len() / 2
    }

    /// The pseudo-random function with the same hash.
    pub const fn prf(self) -> Prf {
        match self {
            Self::HmacSha256 => Prf::HmacSha256,
            Self::HmacSha384 => Prf::HmacSha384,
            Self::HmacSha512 => Prf::HmacSha512,
        }
    }

    /// The integrity check value of the concatenated parts of `data`, [`Self::icv_len`] octets.
    pub(super) fn icv(self, key: &[u8], data: &[&[u8]]) -> Zeroizing<Vec<u8>> {
        let mut icv = self.prf().prf(key, data);
        icv.truncate(self.icv_len());
        icv
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The authenticator test cases that RFC 4868 §2.7.2 numbers AUTH256-1, AUTH384-1 and AUTH512-1: key of 0x0b
    // octets, data "Hi There".
    #[test]
    fn rfc4868_authenticator_test_case_1() {
        let expected = [
            (Integrity::HmacSha256, "198a607eb44bfbc69903a0f1cf2bbdc5"),
            (Integrity::HmacSha384, "b6a8d5636f5c6a7224f9977dcf7ee6c7fb6d0c48cbdee973"),
            (Integrity::HmacSha512, "637edc6e01dce7e6742a99451aae82df23da3e92439e590e43e761b33e910fb8"),
        ];
        for (integrity, icv) in expected {
            let key = vec![0x0b; integrity.key_len()];
            let computed = integrity.icv(&key, &[b"Hi ", b"There"]);
            assert_eq!(hex::encode(&computed), icv);
            assert_eq!(computed.len(), integrity.icv_len());
        }
    }

    #[test]
    fn transform_ids_round_trip() {
        for integrity in Integrity::ALL {
            assert_eq!(Integrity::from_id(integrity.id()), Some(integrity));
        }
        // HMAC-SHA1-96.
        assert_eq!(Integrity::from_id(2), None);
    }
}
