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
    /// 512 bits: above the 320 that RFC 3526 §8 asks for at its higher estimate of the group's strength, at a quarter
    /// of the cost of a full-length exponent.
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
        let mut encoded = shared.to_be_bytes();
        let octets = Zeroizing::new(encoded.as_ref().to_vec());
        encoded.as_mut().zeroize();
        shared.zeroize();
        Some(octets)
    }
}

/// `base`^`exponent` mod p in constant time.
fn power(base: &U2048, exponent: &U512) -> U2048 {
    FixedMontyForm::new(base, &MODULUS).pow(exponent).retrieve()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with OpenSSL 3.0 (genpkey -algorithm DH -pkeyopt group:modp_2048, pkeyutl -derive); the peer was drawn
    // until the shared secret began with a zero octet.
    const OPENSSL_EXPONENT: &str = "72bb9ce29f5e76e08fb46f644c663df268c28fa2af9c58ca2ab652de";
    const OPENSSL_PUBLIC: &str = concat!(
        "94ab1edb3041e30367e129819896dd904b86be2cd0a48ba87577cc0705857436",
        "92e7955e4513864efc6aa6a64a86f67904fe2459970006cf2a1ee923158a833d",
        "5074e2f89c3482e326ee789e42c171ae4c5d12adf3a84c8038a71e591dea694c",
        "888f9587f1bda2a5cca698536168cb213ba231dd38c79e421c84c327db1bd251",
        "c802bbe977bc22f31344e40973cfc3117693ef83a74748771873efed3b7cabdb",
        "eab901f5fab2401658341a65bab08bd943501c967606c54c3e2e5ed0dc4ae963",
        "9037932f494d0af5991e16ee92050018cf35688ea00ffb851e6d9f09f07f7cdd",
        "cc41ac05be62aaeb6532b4ee14616e97f610938801de1051248434c56dc14362",
    );
    const OPENSSL_PEER_PUBLIC: &str = concat!(
        "692aa0704108c1b82ddf6bc3b772f5e7f7022132392534be0f340cdce9a6b63a",
        "3ed78cc4dd62a64887a1c76faa278091bf2d69598a35d73874355a12b408fc7a",
        "ede0e18a0968734c24c6409fc73d931a241adf061ff52d67d3206f1041720450",
        "fa7ad1a3db6f7ff3e3208b4f2f053342d3728e7c1f1b18094964477c4c037ec2",
        "c3913c0187eff24c90a0db9793a890c5aada91a78fc95a243f3fc325fbac4961",
        "372450e125681bbaedb8fc5f795adb2fbb5008a010ab5ef2f8c9ec6bb9c8e347",
        "f8b196b953ed1d695487bc1c3830fb61286e382119d6980ae17aee7c5ac8323a",
        "774240b0f1f9fe9883afa9500faa4f81756cf15b9542be2a2e0c514288b12b5b",
    );
    const OPENSSL_SHARED: &str = concat!(
        "009327e92b957498e6065b99e11bb8c00f8dea3764707b4189d7bc128e9759b0",
        "548b2a2739781f04c24630d6b6b5b3e7f980cd4199fefa18df2d7628ac2d1168",
        "bd54246beb1f6e186c4405fe19c1ab3c2a1849132072b03eaf15398764591ada",
        "185a4a032f55b23e20c651b7980f3060e9def352879af3209d659784edd49d23",
        "3cf29a8ac203f62e9cea2cfe41be74de97d240598fa42553cfcc4a8ca140a899",
        "66c2fa7c6888e4f7eb5dbd4cc01c67dfd9961214682329d56e68e67e4b0faa9c",
        "7ada4e86928ecdd38b7190507fe843c08ba05e6fdefdcf5e61f5e0f48ca95bb9",
        "91d7c59f4a956f3ba718082f91ab68d788481ef540e2e8917c4251141f90d353",
    );

    fn unhex(octets: &str) -> Vec<u8> {
        hex::decode(octets).unwrap()
    }

    fn openssl_pair() -> Modp2048KeyPair {
        let mut exponent = [0; EXPONENT_LEN];
        let octets = unhex(OPENSSL_EXPONENT);
        exponent[EXPONENT_LEN - octets.len()..].copy_from_slice(&octets);
        Modp2048KeyPair::from_exponent(U512::from_be_slice(&exponent))
    }

    #[test]
    fn agrees_with_openssl_and_keeps_leading_zeros() {
        let pair = openssl_pair();
        assert_eq!(pair.public(), unhex(OPENSSL_PUBLIC));
        let shared = pair.agree(&unhex(OPENSSL_PEER_PUBLIC)).unwrap();
        assert_eq!(shared[0], 0);
        assert_eq!(*shared, unhex(OPENSSL_SHARED));
    }

    #[test]
    fn values_outside_the_range_are_refused() {
        let pair = openssl_pair();
        let agree = |value: U2048| pair.agree(value.to_be_bytes().as_ref());
        let distance = |below: u8| PRIME.as_ref().wrapping_sub(&U2048::from_u8(below));
        for refused in [U2048::ZERO, U2048::ONE, distance(1), distance(0), U2048::MAX] {
            assert!(agree(refused).is_none(), "{refused}");
        }
        for accepted in [GENERATOR, distance(2)] {
            assert!(agree(accepted).is_some(), "{accepted}");
        }
    }
}
