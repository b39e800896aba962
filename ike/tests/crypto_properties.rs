//! Properties of `ike::crypto` over random inputs.

use ike::crypto::{CryptoError, DhGroup, DhKeyPair, IkeAead, IkeCbc, Integrity, SkAlgorithms, SkCipher};
use proptest::collection::vec;
use proptest::prelude::*;
use rand::SeedableRng;
use rand::rngs::StdRng;

fn group() -> impl Strategy<Value = DhGroup> {
    proptest::sample::select(DhGroup::ALL.as_slice())
}

fn key_pair(group: DhGroup, seed: u64) -> DhKeyPair {
    DhKeyPair::generate(group, &mut StdRng::seed_from_u64(seed))
}

fn algorithms() -> impl Strategy<Value = SkAlgorithms> {
    let aead = proptest::sample::select(IkeAead::ALL.as_slice()).prop_map(SkAlgorithms::Aead);
    let cbc = proptest::sample::select(IkeCbc::ALL.as_slice());
    let integrity = proptest::sample::select(Integrity::ALL.as_slice());
    prop_oneof![aead, (cbc, integrity).prop_map(|(cbc, integrity)| SkAlgorithms::Cbc(cbc, integrity))]
}

fn cipher() -> impl Strategy<Value = SkCipher> {
    algorithms().prop_flat_map(|algorithms| {
        let keys = (vec(any::<u8>(), algorithms.sk_e_len()), vec(any::<u8>(), algorithms.sk_a_len()));
        keys.prop_map(move |(sk_e, sk_a)| {
            SkCipher::new(algorithms, &sk_e, &sk_a).expect("the keys have the right length")
        })
    })
}

fn octets() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..300)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agreement_commutes(group in group(), seed_a: u64, seed_b: u64) {
        let (a, b) = (key_pair(group, seed_a), key_pair(group, seed_b));
        let shared = a.agree(b.public()).unwrap();
        let mirrored = b.agree(a.public()).unwrap();
        prop_assert_eq!(shared.as_bytes(), mirrored.as_bytes());
        let expected_len = match group {
            DhGroup::Modp2048 => 256,
            DhGroup::Modp3072 => 384,
            DhGroup::Modp4096 => 512,
            DhGroup::Ecp256 | DhGroup::X25519 => 32,
            DhGroup::Ecp384 => 48,
            DhGroup::Ecp521 => 66,
        };
        prop_assert_eq!(shared.as_bytes().len(), expected_len);
    }

    #[test]
    fn pairs_of_different_seeds_do_not_agree_alike(group in group(), seed: u64) {
        let pairs = [0, 1, 2].map(|offset| key_pair(group, seed.wrapping_add(offset)));
        let shared = pairs[0].agree(pairs[1].public()).unwrap();
        let other = pairs[0].agree(pairs[2].public()).unwrap();
        prop_assert_ne!(shared.as_bytes(), other.as_bytes());
    }

    #[test]
    fn arbitrary_public_values_never_panic(group in group(), value in vec(any::<u8>(), 0..600)) {
        let _ = key_pair(group, 1).agree(&value);
    }

    #[test]
    fn arbitrary_public_values_of_right_length_never_panic(group in group(), mut value in vec(any::<u8>(), 512)) {
        value.truncate(group.public_len());
        let result = key_pair(group, 1).agree(&value);
        // A random pair of coordinates is on an elliptic curve with negligible probability.
        if matches!(group, DhGroup::Ecp256 | DhGroup::Ecp384 | DhGroup::Ecp521) {
            prop_assert_eq!(result.unwrap_err(), CryptoError::InvalidPublicValue { group });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn opening_inverts_sealing(cipher in cipher(), number: u64, aad in octets(), content in octets()) {
        let sealed = cipher.seal(number, &aad, &content);
        prop_assert_eq!(sealed.len(), cipher.algorithms().body_len(content.len()));
        prop_assert_eq!(&*cipher.open(&aad, &sealed).unwrap(), &content);
    }

    #[test]
    fn any_flipped_bit_fails(
        cipher in cipher(),
        number: u64,
        mut aad in octets(),
        content in octets(),
        position: proptest::sample::Index,
        bit in 0_u8..8,
    ) {
        let mut sealed = cipher.seal(number, &aad, &content);
        let mut all: Vec<&mut u8> = aad.iter_mut().chain(&mut sealed).collect();
        let position = position.index(all.len());
        *all[position] ^= 1 << bit;
        prop_assert_eq!(cipher.open(&aad, &sealed).unwrap_err(), CryptoError::IntegrityCheckFailed);
    }

    #[test]
    fn arbitrary_bodies_never_open(cipher in cipher(), aad in octets(), body in octets()) {
        prop_assert!(cipher.open(&aad, &body).is_err());
    }
}
