//! Poly1305 (RFC 8439 section 2.5) in radix 2^32 with 64-bit sums.

use super::frame::{nothing, opaque, zero};
use super::pass::Hash;

/// A running Poly1305 over full blocks.
pub(super) struct Poly1305 {
    /// The clamped multiplier r.
    r: [u32; 4],
    /// `5 / 4 * r[1..]`: what a limb of r weighs after reduction modulo 2^130 - 5. Clamping makes it an integer.
    s: [u32; 3],
    /// The accumulator, partly reduced: the lowest limb stays below 2^34, the next three below 2^32, the top one below 4.
    h: [u64; 5],
    /// The second half of the key.
    pad: [u32; 4],
}

impl Poly1305 {
    /// Starts with the one-time key.
    ///
    /// # Safety
    /// `key` must be valid for reading 32 bytes.
    #[inline(always)]
    pub(super) unsafe fn new(key: *const u64) -> Self {
        // SAFETY: as the caller vouches.
        let key = unsafe { key.cast::<[u64; 4]>().read() };
        let r0 = key[0] & 0x0fff_fffc_0fff_ffff;
        let r1 = key[1] & 0x0fff_fffc_0fff_fffc;
        let r = [r0 as u32, (r0 >> 32) as u32, r1 as u32, (r1 >> 32) as u32];
        let s = [r[1] + (r[1] >> 2), r[2] + (r[2] >> 2), r[3] + (r[3] >> 2)];
        let pad = [key[2] as u32, (key[2] >> 32) as u32, key[3] as u32, (key[3] >> 32) as u32];
        Self { r, s, h: [zero(); 5], pad }
    }

    /// The tag (RFC 8439 section 2.5.1, last steps).
    #[inline(always)]
    pub(super) fn tag(&self) -> [u64; 2] {
        let mut tag = [0; 2];
        opaque(finish(self, &mut tag));
        tag
    }

    /// `h = (h + block + 2^128) * r`, partly reduced.
    ///
    /// # Safety
    /// `block` must be valid for reading 16 bytes.
    #[inline(always)]
    unsafe fn multiply(&self, h: [u64; 5], block: *const u8) -> [u64; 5] {
        let words = block.cast::<u32>();
        // SAFETY: as the caller vouches.
        let word = |index| u64::from(unsafe { words.add(index).read_unaligned() });
        let r = |index: usize| u64::from(self.r[index]);
        let s = |index: usize| u64::from(self.s[index - 1]);
        // Sums stay below 2^64: r and s have 28.4 bits, the first limb of h 33.7 and the others 33.
        let (h0, h1, h2, h3, h4) = (h[0] + word(0), h[1] + word(1), h[2] + word(2), h[3] + word(3), h[4] + 1);
        let d0 = h0 * r(0) + h1 * s(3) + h2 * s(2) + h3 * s(1);
        let d1 = h0 * r(1) + h1 * r(0) + h2 * s(3) + h3 * s(2) + h4 * s(1);
        let d2 = h0 * r(2) + h1 * r(1) + h2 * r(0) + h3 * s(3) + h4 * s(2);
        let d3 = h0 * r(3) + h1 * r(2) + h2 * r(1) + h3 * r(0) + h4 * s(3);
        let d1 = d1 + (d0 >> 32);
        let d2 = d2 + (d1 >> 32);
        let d3 = d3 + (d2 >> 32);
        let d4 = h4 * r(0) + (d3 >> 32);
        let low = |sum: u64| sum & 0xffff_ffff;
        [low(d0) + (d4 >> 2) * 5, low(d1), low(d2), low(d3), d4 & 3]
    }
}

impl Hash for Poly1305 {
    #[inline(always)]
    unsafe fn absorb_chunk(&mut self, blocks: *const u8) {
        let mut h = self.h;
        for index in 0..4 {
            // SAFETY: as the caller vouches.
            h = unsafe { self.multiply(h, blocks.add(16 * index)) };
        }
        self.h = h;
    }

    fn absorb(&mut self, block: &[u64; 2]) {
        opaque(absorb(self, block));
    }
}

#[inline(never)]
fn absorb(hash: &mut Poly1305, block: &[u64; 2]) -> u32 {
    // SAFETY: a block has 16 bytes.
    hash.h = unsafe { hash.multiply(hash.h, block.as_ptr().cast()) };
    nothing()
}

/// Writes the tag to `out`.
#[inline(never)]
fn finish(hash: &Poly1305, out: &mut [u64; 2]) -> u32 {
    let mut reduced = [0_u64; 5];
    let mut carry = 0;
    for (limb, reduced) in hash.h.iter().zip(&mut reduced) {
        carry += limb;
        *reduced = carry & 0xffff_ffff;
        carry >>= 32;
    }
    // The final subtraction of the modulus, chosen by a mask.
    let mut candidate = [0_u64; 4];
    let mut carry = 5;
    for index in 0..4 {
        carry += reduced[index];
        candidate[index] = carry & 0xffff_ffff;
        carry >>= 32;
    }
    // Opaque, or LLVM would make a branch on the secret bit.
    let mask = u64::from(opaque((reduced[4] + carry) as u32 >> 2)).wrapping_neg();
    let mut tag = [0_u64; 4];
    let mut carry = 0;
    for index in 0..4 {
        carry += (reduced[index] & !mask | candidate[index] & mask) + u64::from(hash.pad[index]);
        tag[index] = carry & 0xffff_ffff;
        carry >>= 32;
    }
    *out = [tag[0] | tag[1] << 32, tag[2] | tag[3] << 32];
    nothing()
}
