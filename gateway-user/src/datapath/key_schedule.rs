//! Key material in the form that the in-kernel AEAD programs use: AES round keys and GHASH tables.

use std::ops::Deref;

use aes::cipher::{BlockCipherEncrypt as _, KeyInit as _};
use aes::{Aes128, Aes256};
use gateway_common::aes::{S_BOX, times_x};
use gateway_common::limits::AES_ROUND_KEY_WORDS;
use gateway_common::{Aead, GhashTables};
use zeroize::{Zeroize as _, Zeroizing};

/// A key whose length does not suit its algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a key for {aead:?} has {expected} bytes, not {actual}")]
pub struct KeyLengthError {
    /// The algorithm.
    pub aead: Aead,
    /// Key length of the algorithm in bytes, without salt.
    pub expected: usize,
    /// Length of the key given, in bytes.
    pub actual: usize,
}

/// GHASH tables that are wiped when dropped.
pub struct SecretGhashTables(Box<GhashTables>);

impl Deref for SecretGhashTables {
    type Target = GhashTables;

    fn deref(&self) -> &GhashTables {
        &self.0
    }
}

impl Drop for SecretGhashTables {
    fn drop(&mut self) {
        self.0.entries.zeroize();
    }
}

/// The value of [`gateway_common::Sa::key`] for `key` (without salt): the key words of ChaCha20 (RFC 8439 section 2.3), or
/// the expanded key of AES (FIPS 197 section 5.2). Words that the algorithm does not need are zero.
///
/// # Errors
/// The key has the wrong length.
pub fn expand_key(aead: Aead, key: &[u8]) -> Result<Zeroizing<[u32; AES_ROUND_KEY_WORDS]>, KeyLengthError> {
    check_length(aead, key)?;
    let mut out = Zeroizing::new([0; AES_ROUND_KEY_WORDS]);
    if aead == Aead::ChaCha20Poly1305 {
        for (word, bytes) in out.iter_mut().zip(key.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        return Ok(out);
    }
    let schedule = aes_key_schedule(key);
    let last_round = schedule.len() - 4;
    for (index, (word, slot)) in schedule.iter().zip(out.as_chunks_mut::<2>().0).enumerate() {
        let column = if index < last_round { spread(*word) } else { u64::from(u32::from_le_bytes(*word)) };
        *slot = [column as u32, (column >> 32) as u32];
    }
    Ok(out)
}

/// The key (without salt) that [`expand_key`] was given, followed by zeros, from what it returned.
pub fn contract_key(aead: Aead, words: &[u32; AES_ROUND_KEY_WORDS]) -> Zeroizing<[u8; 32]> {
    let mut key = Zeroizing::new([0; 32]);
    // The expanded key of AES begins with the key itself (FIPS 197 section 5.2).
    for (index, bytes) in key[..aead.key_len()].as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *bytes = if aead == Aead::ChaCha20Poly1305 {
            words[index].to_le_bytes()
        } else {
            let column = u64::from(words[2 * index]) | u64::from(words[2 * index + 1]) << 32;
            std::array::from_fn(|byte| (column >> (16 * byte + 4)) as u8)
        };
    }
    key
}

/// The entry of map `GHASH` for `key` (without salt); `None` for an AEAD without GHASH.
///
/// # Errors
/// The key has the wrong length.
pub fn ghash_tables(aead: Aead, key: &[u8]) -> Result<Option<SecretGhashTables>, KeyLengthError> {
    check_length(aead, key)?;
    // H is the cipher applied to the zero block (NIST SP 800-38D section 7.1).
    let mut block = Zeroizing::new([0_u8; 16]);
    match aead {
        Aead::ChaCha20Poly1305 => return Ok(None),
        Aead::Aes128Gcm => {
            Aes128::new_from_slice(key).expect("the length was checked").encrypt_block((&mut *block).into());
        }
        Aead::Aes256Gcm => {
            Aes256::new_from_slice(key).expect("the length was checked").encrypt_block((&mut *block).into());
        }
    }
    Ok(Some(tables_of(u128::from_be_bytes(*block))))
}

fn check_length(aead: Aead, key: &[u8]) -> Result<(), KeyLengthError> {
    let expected = aead.key_len();
    if key.len() == expected { Ok(()) } else { Err(KeyLengthError { aead, expected, actual: key.len() }) }
}

/// The words of the expanded key (FIPS 197 section 5.2): 44 for a key of 16 bytes, 60 for one of 32.
fn aes_key_schedule(key: &[u8]) -> Zeroizing<Vec<[u8; 4]>> {
    let key_words = key.len() / 4;
    let total = 4 * (key_words + 7);
    // Never grows beyond its capacity: that would leave a copy of the key behind.
    let mut words = Zeroizing::new(Vec::with_capacity(total));
    words.extend_from_slice(key.as_chunks::<4>().0);
    let mut round_constant = 1;
    for index in key_words..total {
        let mut word = words[index - 1];
        if index % key_words == 0 {
            word.rotate_left(1);
            word = word.map(|byte| S_BOX[usize::from(byte)]);
            word[0] ^= round_constant;
            round_constant = times_x(round_constant);
        } else if key_words > 6 && index % key_words == 4 {
            word = word.map(|byte| S_BOX[usize::from(byte)]);
        }
        let before = words[index - key_words];
        words.push(std::array::from_fn(|byte| word[byte] ^ before[byte]));
    }
    words
}

/// A word in the form that [`gateway_common::Sa::key`] documents.
fn spread(word: [u8; 4]) -> u64 {
    word.iter().rev().fold(0, |column, byte| column << 16 | u64::from(*byte) << 4)
}

/// The multiples of H. Blocks are numbers with their first bit, the coefficient of x^0, on top (NIST SP 800-38D
/// section 6.3), so that a multiplication by x is a shift to the right.
fn tables_of(h: u128) -> SecretGhashTables {
    /// x^128 reduced: x^7 + x^2 + x + 1.
    const REDUCTION: u128 = 0xe1 << 120;
    let mut tables = SecretGhashTables(Box::new(GhashTables::zeroed()));
    let mut power = h;
    for table in tables.0.entries.as_chunks_mut::<16>().0 {
        let mut multiples = [0_u128; 16];
        for bit in [8, 4, 2, 1] {
            for (value, multiple) in multiples.iter_mut().enumerate() {
                if value & bit != 0 {
                    *multiple ^= power;
                }
            }
            // A mask and not a branch: the bit that falls out is secret.
            power = (power >> 1) ^ (REDUCTION & (power & 1).wrapping_neg());
        }
        for (entry, multiple) in table.iter_mut().zip(&multiples) {
            *entry = [((multiple >> 64) as u64).to_be(), (*multiple as u64).to_be()];
        }
        multiples.zeroize();
    }
    power.zeroize();
    tables
}

#[cfg(test)]
mod tests {
    use ghash::GHash;
    use ghash::universal_hash::{KeyInit as _, UniversalHash as _};

    use super::*;

    /// FIPS 197 appendix A.1 and A.3: key, and some words of the expanded key by index.
    const AES128_KEY: [u8; 16] = 0x2b7e_1516_28ae_d2a6_abf7_1588_09cf_4f3c_u128.to_be_bytes();
    const AES128_WORDS: [(usize, u32); 14] = [
        (0, 0x2b7e_1516),
        (3, 0x09cf_4f3c),
        (4, 0xa0fa_fe17),
        (5, 0x8854_2cb1),
        (6, 0x23a3_3939),
        (7, 0x2a6c_7605),
        (8, 0xf2c2_95f2),
        (20, 0xd4d1_c6f8),
        (36, 0xac77_66f3),
        (39, 0x575c_006e),
        (40, 0xd014_f9a8),
        (41, 0xc9ee_2589),
        (42, 0xe13f_0cc8),
        (43, 0xb663_0ca6),
    ];
    const AES256_KEY: [[u8; 16]; 2] = [
        0x603d_eb10_15ca_71be_2b73_aef0_857d_7781_u128.to_be_bytes(),
        0x1f35_2c07_3b61_08d7_2d98_10a3_0914_dff4_u128.to_be_bytes(),
    ];
    const AES256_WORDS: [(usize, u32); 11] = [
        (0, 0x603d_eb10),
        (7, 0x0914_dff4),
        (8, 0x9ba3_5411),
        (9, 0x8e69_25af),
        (10, 0xa51a_8b5f),
        (11, 0x2067_fcde),
        (12, 0xa8b0_9c1a),
        (56, 0xfe48_90d1),
        (57, 0xe618_8d0b),
        (58, 0x046d_f344),
        (59, 0x706c_631e),
    ];

    #[test]
    fn key_expansion_of_fips_197_appendix_a() {
        let aes128 = expand_key(Aead::Aes128Gcm, &AES128_KEY).unwrap();
        for (index, expected) in AES128_WORDS {
            assert_eq!(stored_word(&aes128, index, 44), expected, "word {index}");
        }
        let aes256 = expand_key(Aead::Aes256Gcm, AES256_KEY.as_flattened()).unwrap();
        for (index, expected) in AES256_WORDS {
            assert_eq!(stored_word(&aes256, index, 60), expected, "word {index}");
        }
        assert!(aes128[88..].iter().all(|word| *word == 0), "the unused words of AES-128 stay zero");
    }

    #[test]
    fn chacha20_key_is_eight_little_endian_words() {
        let key: [u8; 32] = std::array::from_fn(|index| index as u8);
        let words = expand_key(Aead::ChaCha20Poly1305, &key).unwrap();
        assert_eq!(words[..2], [0x0302_0100, 0x0706_0504]);
        assert_eq!(words[7], 0x1f1e_1d1c);
        assert!(words[8..].iter().all(|word| *word == 0));
    }

    #[test]
    fn an_expanded_key_gives_the_key_back() {
        let key: [u8; 32] = std::array::from_fn(|index| (index as u8).wrapping_mul(97) ^ 0xa5);
        for aead in [Aead::ChaCha20Poly1305, Aead::Aes128Gcm, Aead::Aes256Gcm] {
            let key = &key[..aead.key_len()];
            let contracted = contract_key(aead, &expand_key(aead, key).unwrap());
            assert_eq!(&contracted[..key.len()], key, "{aead:?}");
            assert!(contracted[key.len()..].iter().all(|byte| *byte == 0));
        }
    }

    #[test]
    fn wrong_key_lengths_are_refused() {
        for (aead, expected, actual) in [
            (Aead::ChaCha20Poly1305, 32, 36),
            (Aead::Aes128Gcm, 16, 20),
            (Aead::Aes256Gcm, 32, 16),
            (Aead::Aes128Gcm, 16, 0),
        ] {
            let error = KeyLengthError { aead, expected, actual };
            assert_eq!(expand_key(aead, &vec![0; actual]).unwrap_err(), error);
            assert_eq!(ghash_tables(aead, &vec![0; actual]).err(), Some(error));
        }
    }

    #[test]
    fn multiplication_by_the_tables_is_ghash() {
        for (aead, key) in [(Aead::Aes128Gcm, &AES128_KEY[..]), (Aead::Aes256Gcm, AES256_KEY.as_flattened())]
        {
            let tables = ghash_tables(aead, key).unwrap().unwrap();
            let mut h = [0_u8; 16].into();
            if aead == Aead::Aes128Gcm {
                Aes128::new_from_slice(key).unwrap().encrypt_block(&mut h);
            } else {
                Aes256::new_from_slice(key).unwrap().encrypt_block(&mut h);
            }
            for position in 0..32 {
                for value in 0..16 {
                    let mut block = [0_u8; 16];
                    block[position / 2] = if position % 2 == 0 { value << 4 } else { value };
                    let mut reference = GHash::new(&h);
                    reference.update(&[block.into()]);
                    let entry = tables.entries[position * 16 + usize::from(value)];
                    let bytes = entry.map(u64::to_ne_bytes);
                    assert_eq!(bytes.as_flattened(), reference.finalize().as_slice(), "{position} {value}");
                }
            }
        }
    }

    #[test]
    fn chacha20_poly1305_has_no_ghash_tables() {
        assert!(ghash_tables(Aead::ChaCha20Poly1305, &[0; 32]).unwrap().is_none());
    }

    /// Word `index` of `total`, out of the datapath's form, in FIPS 197 notation.
    fn stored_word(schedule: &[u32; AES_ROUND_KEY_WORDS], index: usize, total: usize) -> u32 {
        let column = u64::from(schedule[2 * index]) | u64::from(schedule[2 * index + 1]) << 32;
        if index >= total - 4 {
            assert_eq!(column >> 32, 0);
            return (column as u32).swap_bytes();
        }
        assert_eq!(column & !0x0ff0_0ff0_0ff0_0ff0, 0);
        (0..4).fold(0, |word, row| word << 8 | (column >> (16 * row + 4)) as u32 & 0xff)
    }
}
