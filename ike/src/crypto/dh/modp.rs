//! The 2048-bit MODP group (RFC 3526 §3).

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Odd, U512, U2048};
use zeroize::{Zeroize, Zeroizing};

use crate::crypto::SecureRng;

const PUBLIC_LEN: usize = 256;
const EXPONENT_LEN: usize = 64;

/// 2^2048 - 2^1984 - 1 + 2^64 * ([2^1918 pi] + 124476), a safe prime.
const PRIME: Odd<U2048> = Odd::<U2048>::from_be_hex(concat!(
    "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74",
    "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437",
    "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
    "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05",
    "98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB",
    "9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B",
    "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718",
    "3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF",
));
const GENERATOR: U2048 = U2048::from_u8(2);
static MODULUS: FixedMontyParams<{ U2048::LIMBS }> = FixedMontyParams::new_vartime(PRIME);

pub(super) struct Modp2048KeyPair {
    /// 512 bits: twice what RFC 3526 §8 asks for at the upper estimate of the group's strength, at a quarter of the
    /// cost of a full-length exponent.
    exponent: Zeroizing<U512>,
    public: [u8; PUBLIC_LEN],
}

impl Modp2048KeyPair {
    pub(super) fn generate(rng: &mut dyn SecureRng) -> Self {
        let mut octets = Zeroizing::new([0; EXPONENT_LEN]);
        rng.fill(&mut *octets);
        // A fixed length keeps the public value out of the trivial range whatever was drawn.
        octets[0] |= 0x80;
        Self::from_exponent(U512::from_be_slice(&*octets))
    }

    fn from_exponent(exponent: U512) -> Self {
        let exponent = Zeroizing::new(exponent);
        let public = power(&GENERATOR, &exponent).to_be_bytes().into();
        Self { exponent, public }
    }

    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    /// `None` unless 1 < `peer_public` < p - 1, which is all a safe prime needs (RFC 6989 §2.1). The result has the
    /// full length of the prime, leading zeros included (RFC 7296 §2.14).
    pub(super) fn agree(&self, peer_public: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let peer_public = U2048::from_be_slice(peer_public);
        let largest = PRIME.as_ref().wrapping_sub(&U2048::from_u8(2));
        if peer_public <= U2048::ONE || peer_public > largest {
            return None;
        }
        let mut shared = power(&peer_public, &self.exponent);
        let octets = Zeroizing::new(shared.to_be_bytes().as_ref().to_vec());
        shared.zeroize();
        Some(octets)
    }
}

/// `base`^`exponent` mod p in constant time.
fn power(base: &U2048, exponent: &U512) -> U2048 {
    FixedMontyForm::new(base, &MODULUS).pow(exponent).retrieve()
}
