//! Pseudo-random content that both ends can compute.

/// Writes the bytes of the endless stream `seed` that begin at byte `position`, a multiple of 8.
pub(super) fn fill(seed: u64, position: u64, buffer: &mut [u8]) {
    assert_eq!(position % 8, 0, "the stream is made of 8-byte words");
    for (index, chunk) in buffer.chunks_mut(8).enumerate() {
        let word = mix(seed.wrapping_add(position / 8).wrapping_add(index as u64)).to_le_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
}

/// The finaliser of SplitMix64: neighbouring inputs give unrelated outputs.
fn mix(input: u64) -> u64 {
    let mut word = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_agree_with_the_whole() {
        let mut whole = [0; 100];
        fill(7, 0, &mut whole);
        let mut piece = [0; 20];
        fill(7, 40, &mut piece);
        assert_eq!(piece, whole[40..60]);
        assert_ne!(whole[..8], whole[8..16]);
    }
}
