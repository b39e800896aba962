//! The AEAD alone, in user space: what engine `xsk` adds to forwarding, and a yardstick for the speed of the machine.

use std::time::Instant;

use gateway_common::Aead;
use gateway_common::wire::ESP_ICV_LEN;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

use super::statistics::median;

/// Packets between two looks at the clock.
const BATCH: usize = 64;

/// Time for one packet, medians in ns.
#[derive(Clone, Copy, Debug)]
pub(super) struct AeadCost {
    pub(super) seal_ns: f64,
    pub(super) open_ns: f64,
}

/// Seals and opens payloads of `length` bytes with `ring`, `packets` of them.
pub(super) fn measure(aead: Aead, length: usize, packets: usize) -> AeadCost {
    let algorithm = match aead {
        Aead::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        Aead::Aes128Gcm => &AES_128_GCM,
        Aead::Aes256Gcm => &AES_256_GCM,
    };
    let key = vec![7; aead.key_len()];
    let key = LessSafeKey::new(UnboundKey::new(algorithm, &key).expect("the key has the algorithm's length"));
    let mut frames = vec![vec![0_u8; length + ESP_ICV_LEN]; BATCH];
    let (mut seals, mut opens) = (Vec::new(), Vec::new());
    for _ in 0..packets.div_ceil(BATCH) {
        let start = Instant::now();
        for (number, frame) in frames.iter_mut().enumerate() {
            let (payload, icv) = frame.split_at_mut(length);
            let tag = key.seal_in_place_separate_tag(nonce(number), Aad::from([0; 12]), payload);
            icv.copy_from_slice(tag.expect("the payload is short enough").as_ref());
        }
        seals.push(start.elapsed().as_nanos() as f64 / BATCH as f64);
        let start = Instant::now();
        for (number, frame) in frames.iter_mut().enumerate() {
            let opened = key.open_in_place(nonce(number), Aad::from([0; 12]), frame);
            assert!(opened.is_ok(), "what was sealed opens");
        }
        opens.push(start.elapsed().as_nanos() as f64 / BATCH as f64);
    }
    AeadCost { seal_ns: median(&mut seals), open_ns: median(&mut opens) }
}

fn nonce(number: usize) -> Nonce {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&(number as u64).to_be_bytes());
    Nonce::assume_unique_for_key(nonce)
}
