//! Properties of `ike::crypto` over random inputs.

use ike::crypto::{CryptoError, DhGroup, DhKeyPair, ICV_LEN, IV_LEN, IkeAead, SALT_LEN, SkCipher};
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

/// A cipher and a SK_e of the right length for it.
fn key() -> impl Strategy<Value = (IkeAead, Vec<u8>)> {
    let aead = proptest::sample::select([IkeAead::Aes128Gcm16, IkeAead::Aes256Gcm16].as_slice());
    aead.prop_flat_map(|aead| (Just(aead), vec(any::<u8>(), aead.key_len() + SALT_LEN)))
}

fn cipher((aead, sk_e): (IkeAead, Vec<u8>)) -> SkCipher {
    SkCipher::new(aead, &sk_e).expect("the key has the right length")
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
            DhGroup::Ecp256 | DhGroup::X25519 => 32,
            DhGroup::Ecp384 => 48,
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
    fn arbitrary_public_values_never_panic(group in group(), value in vec(any::<u8>(), 0..300)) {
        let _ = key_pair(group, 1).agree(&value);
    }

    #[test]
    fn arbitrary_public_values_of_right_length_never_panic(group in group(), mut value in vec(any::<u8>(), 256)) {
        value.truncate(group.public_len());
        let result = key_pair(group, 1).agree(&value);
        // A random pair of coordinates is on an elliptic curve with negligible probability.
        if matches!(group, DhGroup::Ecp256 | DhGroup::Ecp384) {
            prop_assert_eq!(result.unwrap_err(), CryptoError::InvalidPublicValue { group });
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn opening_inverts_sealing(key in key(), iv: [u8; IV_LEN], aad in octets(), plaintext in octets()) {
        let cipher = cipher(key);
        let sealed = cipher.seal(iv, &aad, &plaintext);
        prop_assert_eq!(sealed.len(), plaintext.len() + ICV_LEN);
        prop_assert_eq!(&*cipher.open(iv, &aad, &sealed).unwrap(), &plaintext);
    }

    #[test]
    fn any_flipped_bit_fails(
        key in key(),
        mut iv: [u8; IV_LEN],
        mut aad in octets(),
        plaintext in octets(),
        position: proptest::sample::Index,
        bit in 0_u8..8,
    ) {
        let cipher = cipher(key);
        let mut sealed = cipher.seal(iv, &aad, &plaintext);
        let mut all: Vec<&mut u8> = iv.iter_mut().chain(&mut aad).chain(&mut sealed).collect();
        let position = position.index(all.len());
        *all[position] ^= 1 << bit;
        prop_assert_eq!(cipher.open(iv, &aad, &sealed).unwrap_err(), CryptoError::IntegrityCheckFailed);
    }

    #[test]
    fn arbitrary_ciphertexts_never_open(
        key in key(),
        iv: [u8; IV_LEN],
        aad in octets(),
        ciphertext in octets(),
    ) {
        prop_assert!(cipher(key).open(iv, &aad, &ciphertext).is_err());
    }
}
