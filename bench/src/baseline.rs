//! The same AEAD in user space, as a yardstick for the speed of the machine at this moment.

use std::time::Instant;

use gateway_common::Aead;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// Median time to seal `len` bytes with `ring`, in ns, over `runs` runs.
pub(crate) fn ring_seal_ns(aead: Aead, len: usize, runs: usize) -> u64 {
    let algorithm = match aead {
        Aead::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        Aead::Aes128Gcm => &AES_128_GCM,
        Aead::Aes256Gcm => &AES_256_GCM,
    };
    let key = vec![7; aead.key_len()];
    let key = LessSafeKey::new(UnboundKey::new(algorithm, &key).expect("the key has the algorithm's length"));
    let mut buffer = vec![0; len];
    let mut times: Vec<u64> = (0..runs)
        .map(|run| {
            let mut nonce = [0; 12];
            nonce[4..].copy_from_slice(&(run as u64).to_be_bytes());
            let start = Instant::now();
            let tag = key.seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from([0; 12]),
                &mut buffer,
            );
            let elapsed = start.elapsed();
            assert!(std::hint::black_box(tag).is_ok(), "the buffer is short enough");
            elapsed.as_nanos() as u64
        })
        .collect();
    times.sort_unstable();
    times[times.len() / 2]
}
