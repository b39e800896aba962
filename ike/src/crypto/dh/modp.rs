//! MODP groups (RFC 3526).

use crypto_bigint::modular::{FixedMontyForm, FixedMontyParams};
use crypto_bigint::{Limb, Odd, U512, U2048, U3072, U4096, Uint};
use zeroize::{Zeroize, Zeroizing};

use crate::crypto::SecureRng;

/// 512 bits: above the 480 that RFC 3526 §8 asks for at its higher estimate of the strength of the largest group here,
/// at a fraction of the cost of a full-length exponent.
const EXPONENT_LEN: usize = 64;

/// The integers modulo a safe prime of `LIMBS` limbs, with the generator 2.
pub(super) struct ModpGroup<const LIMBS: usize> {
    modulus: FixedMontyParams<LIMBS>,
}

/// 2^2048 - 2^1984 - 1 + 2^64 * ([2^1918 pi] + 124476), a safe prime (RFC 3526 §3).
pub(super) static MODP_2048: ModpGroup<{ U2048::LIMBS }> =
    ModpGroup::new(Odd::<U2048>::from_be_hex(concat!(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74",
        "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437",
        "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
        "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05",
        "98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB",
        "9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B",
        "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718",
        "3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF",
    )));

/// 2^3072 - 2^3008 - 1 + 2^64 * ([2^2942 pi] + 1690314), a safe prime (RFC 3526 §4).
pub(super) static MODP_3072: ModpGroup<{ U3072::LIMBS }> =
    ModpGroup::new(Odd::<U3072>::from_be_hex(concat!(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74",
        "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437",
        "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
        "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05",
        "98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB",
        "9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B",
        "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718",
        "3995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33",
        "A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7",
        "ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864",
        "D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E2",
        "08E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF",
    )));

/// 2^4096 - 2^4032 - 1 + 2^64 * ([2^3966 pi] + 240904), a safe prime (RFC 3526 §5).
pub(super) static MODP_4096: ModpGroup<{ U4096::LIMBS }> =
    ModpGroup::new(Odd::<U4096>::from_be_hex(concat!(
        "FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74",
        "020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437",
        "4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED",
        "EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05",
        "98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB",
        "9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B",
        "E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718",
        "3995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33",
        "A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7",
        "ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864",
        "D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E2",
        "08E24FA074E5AB3143DB5BFCE0FD108E4B82D120A92108011A723C12A787E6D7",
        "88719A10BDBA5B2699C327186AF4E23C1A946834B6150BDA2583E9CA2AD44CE8",
        "DBBBC2DB04DE8EF92E8EFC141FBECAA6287C59474E6BC05D99B2964FA090C3A2",
        "233BA186515BE7ED1F612970CEE2D7AFB81BDD762170481CD0069127D5B05AA9",
        "93B4EA988D8FDDC186FFB7DC90A6C08F4DF435C934063199FFFFFFFFFFFFFFFF",
    )));

impl<const LIMBS: usize> ModpGroup<LIMBS> {
    const fn new(prime: Odd<Uint<LIMBS>>) -> Self {
        Self { modulus: FixedMontyParams::new_vartime(prime) }
    }

    /// `base`^`exponent` mod p in constant time.
    fn power(&self, base: &Uint<LIMBS>, exponent: &U512) -> Uint<LIMBS> {
        FixedMontyForm::new(base, &self.modulus).pow(exponent).retrieve()
    }
}

pub(super) struct ModpKeyPair<const LIMBS: usize> {
    group: &'static ModpGroup<LIMBS>,
    exponent: Zeroizing<U512>,
    public: Vec<u8>,
}

impl<const LIMBS: usize> ModpKeyPair<LIMBS> {
    pub(super) fn generate(group: &'static ModpGroup<LIMBS>, rng: &mut dyn SecureRng) -> Self {
        let mut octets = Zeroizing::new([0; EXPONENT_LEN]);
        rng.fill(&mut *octets);
        // A fixed length keeps the public value out of the trivial range whatever was drawn.
        octets[0] |= 0x80;
        Self::from_exponent(group, U512::from_be_slice(&*octets))
    }

    fn from_exponent(group: &'static ModpGroup<LIMBS>, exponent: U512) -> Self {
        let exponent = Zeroizing::new(exponent);
        let public = to_octets(&group.power(&Uint::from_u8(2), &exponent));
        Self { group, exponent, public }
    }

    pub(super) fn public(&self) -> &[u8] {
        &self.public
    }

    /// `None` unless 1 < `peer_public` < p - 1, which is all a safe prime needs (RFC 6989 §2.1). The result has the
    /// full length of the prime, leading zeros included (RFC 7296 §2.14). `peer_public` must have that length.
    pub(super) fn agree(&self, peer_public: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let peer_public = Uint::from_be_slice(peer_public);
        let largest = self.group.modulus.modulus().as_ref().wrapping_sub(&Uint::from_u8(2));
        if peer_public <= Uint::ONE || peer_public > largest {
            return None;
        }
        let mut shared = self.group.power(&peer_public, &self.exponent);
        let octets = Zeroizing::new(to_octets(&shared));
        shared.zeroize();
        Some(octets)
    }
}

/// Big-endian, in full length.
fn to_octets<const LIMBS: usize>(value: &Uint<LIMBS>) -> Vec<u8> {
    let mut octets = Vec::with_capacity(LIMBS * Limb::BYTES);
    octets.extend(value.as_limbs().iter().rev().flat_map(|limb| limb.0.to_be_bytes()));
    octets
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPENSSL: &str = include_str!("../../../tests/data/openssl-modp.txt");

    /// A value of the fixture for the group of `LIMBS` limbs.
    fn fixture<const LIMBS: usize>(name: &str) -> Vec<u8> {
        let name = format!("modp{}_{name}", Uint::<LIMBS>::BITS);
        let fields = OPENSSL.lines().filter_map(|line| line.split_once(" = "));
        let (_, value) = fields.into_iter().find(|(found, _)| *found == name).expect("the fixture has it");
        hex::decode(value).unwrap()
    }

    fn openssl_pair<const LIMBS: usize>(group: &'static ModpGroup<LIMBS>) -> ModpKeyPair<LIMBS> {
        let mut exponent = [0; EXPONENT_LEN];
        let octets = fixture::<LIMBS>("exponent");
        exponent[EXPONENT_LEN - octets.len()..].copy_from_slice(&octets);
        ModpKeyPair::from_exponent(group, U512::from_be_slice(&exponent))
    }

    fn check_against_openssl<const LIMBS: usize>(group: &'static ModpGroup<LIMBS>) {
        let pair = openssl_pair(group);
        assert_eq!(pair.public(), fixture::<LIMBS>("public"));
        let shared = pair.agree(&fixture::<LIMBS>("peer_public")).unwrap();
        assert_eq!(shared[0], 0);
        assert_eq!(*shared, fixture::<LIMBS>("shared"));
    }

    fn check_range<const LIMBS: usize>(group: &'static ModpGroup<LIMBS>) {
        let pair = openssl_pair(group);
        let agree = |value: Uint<LIMBS>| pair.agree(&to_octets(&value));
        let below = |distance: u8| group.modulus.modulus().as_ref().wrapping_sub(&Uint::from_u8(distance));
        for refused in [Uint::ZERO, Uint::ONE, below(1), below(0), Uint::MAX] {
            assert!(agree(refused).is_none(), "{refused}");
        }
        for accepted in [Uint::from_u8(2), below(2)] {
            assert!(agree(accepted).is_some(), "{accepted}");
        }
    }

    #[test]
    fn agrees_with_openssl_and_keeps_leading_zeros() {
        check_against_openssl(&MODP_2048);
        check_against_openssl(&MODP_3072);
        check_against_openssl(&MODP_4096);
    }

    #[test]
    fn values_outside_the_range_are_refused() {
        check_range(&MODP_2048);
        check_range(&MODP_3072);
        check_range(&MODP_4096);
    }
}
