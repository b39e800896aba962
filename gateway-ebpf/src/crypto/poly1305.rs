//! Poly1305 (RFC 8439 section 2.5) in radix 2^32 with 64-bit sums.

use core::arch::asm;
use core::mem::offset_of;

use super::frame::{nothing, opaque, zero};
use super::pass::Hash;

/// Loads a limb of the accumulator and adds the word of the block at byte offset `$word`. Changes r6.
macro_rules! limb {
    ($out:literal, $limb:literal, $word:literal) => {
        concat!($out, " = *(u64 *)(r7 + ", $limb, ")\n", "r6 = *(u32 *)(r8 + ", $word, ")\n", $out, " += r6",)
    };
}

/// Sets `$sum` to r5 times the 32-bit word of the state at `$factor`.
macro_rules! first {
    ($sum:literal, $factor:literal) => {
        concat!($sum, " = *(u32 *)(r7 + ", $factor, ")\n", $sum, " *= r5")
    };
}

/// Adds to `$sum` r5 times the 32-bit word of the state at `$factor`. Changes r6.
macro_rules! add {
    ($sum:literal, $factor:literal) => {
        concat!("r6 = *(u32 *)(r7 + ", $factor, ")\n", "r6 *= r5\n", $sum, " += r6")
    };
}

/// What [`Poly1305::h`] says about sizes: with the largest r and nothing but ones to hash, limbs grow until they are what comes out
/// again, and no sum ever needs a 65th bit.
const _: () = {
    const ONES: u128 = u32::MAX as u128;
    const R: [u128; 4] = [0x0fff_ffff, 0x0fff_fffc, 0x0fff_fffc, 0x0fff_fffc];
    const S: u128 = R[1] + R[1] / 4;
    let mut h = [0; 5];
    loop {
        let [h0, h1, h2, h3, h4] = [h[0] + ONES, h[1] + ONES, h[2] + ONES, h[3] + ONES, h[4] + 1];
        let d0 = h0 * R[0] + (h1 + h2 + h3) * S;
        let d1 = h0 * R[1] + h1 * R[0] + (h2 + h3 + h4) * S;
        let d2 = h0 * R[2] + h1 * R[1] + h2 * R[0] + (h3 + h4) * S;
        let d3 = h0 * R[3] + h1 * R[2] + h2 * R[1] + h3 * R[0] + h4 * S;
        let d4 = h4 * R[0] + (d3 >> 32);
        assert!(d0 >> 64 == 0 && d1 >> 64 == 0 && d2 >> 64 == 0 && d3 >> 64 == 0);
        let next = [ONES + d4 + (d4 >> 2), ONES + (d0 >> 32), ONES + (d1 >> 32), ONES + (d2 >> 32), 3];
        if next[0] == h[0] && next[1] == h[1] && next[2] == h[2] && next[3] == h[3] {
            break;
        }
        h = next;
    }
    // Less than twice the modulus, so that the tag takes one subtraction of it.
    let carry = (h[3] + ((h[2] + ((h[1] + (h[0] >> 32)) >> 32)) >> 32)) >> 32;
    assert!(h[4] + carry < 7);
};

/// A running Poly1305 over full blocks.
pub(super) struct Poly1305 {
    /// The clamped multiplier r.
    r: [u32; 4],
    /// `5 / 4 * r[1..]`: what a limb of r weighs after reduction modulo 2^130 - 5. Clamping makes it an integer.
    s: [u32; 3],
    /// The accumulator, partly reduced: every limb hands on its carry once and takes one, all at the same time, since handing it
    /// through all limbs would make each wait for the one below. The lowest limb stays below 2.3 * 2^32, the next three below
    /// 1.9 * 2^32, the top one below 4, and the sums of products below 0.9 * 2^64.
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

    /// `h = (h + block + 2^128) * r`, partly reduced. In assembly, because LLVM spills half of the products.
    ///
    /// # Safety
    /// `block` must be valid for reading 16 bytes.
    #[inline(always)]
    unsafe fn multiply(&mut self, block: *const u8) {
        // SAFETY: works on this and on the block.
        unsafe {
            asm!(
                // r0 to r3 are the sums of products of each weight, r5 a limb of `h + block`.
                limb!("r5", "{h1}", 4),
                first!("r0", "{s3}"), first!("r1", "{r0}"), first!("r2", "{r1}"), first!("r3", "{r2}"),
                limb!("r5", "{h2}", 8),
                add!("r0", "{s2}"), add!("r1", "{s3}"), add!("r2", "{r0}"), add!("r3", "{r1}"),
                limb!("r5", "{h3}", 12),
                add!("r0", "{s1}"), add!("r1", "{s2}"), add!("r2", "{s3}"), add!("r3", "{r0}"),
                "r5 = *(u64 *)(r7 + {h4})",
                "r5 += 1",
                first!("r4", "{r0}"), add!("r1", "{s1}"), add!("r2", "{s2}"), add!("r3", "{s3}"),
                // The lowest limb comes last: it is the last to be known.
                limb!("r5", "{h0}", 0),
                add!("r3", "{r3}"), add!("r2", "{r2}"), add!("r1", "{r1}"), add!("r0", "{r0}"),
                // What lies above 2^130 is worth 5 times as much at the bottom.
                "r6 = r3",
                "r6 >>= 32",
                "r4 += r6",
                "r5 = r4",
                "r5 &= -4",
                "r6 = r4",
                "r6 >>= 2",
                "r5 += r6",
                "w6 = w0",
                "r5 += r6",
                "*(u64 *)(r7 + {h0}) = r5",
                "r4 &= 3",
                "*(u64 *)(r7 + {h4}) = r4",
                "r0 >>= 32",
                "w5 = w1",
                "r5 += r0",
                "*(u64 *)(r7 + {h1}) = r5",
                "r1 >>= 32",
                "w5 = w2",
                "r5 += r1",
                "*(u64 *)(r7 + {h2}) = r5",
                "r2 >>= 32",
                "w5 = w3",
                "r5 += r2",
                "*(u64 *)(r7 + {h3}) = r5",
                in("r7") self,
                in("r8") block,
                r0 = const offset_of!(Self, r),
                r1 = const offset_of!(Self, r) + 4,
                r2 = const offset_of!(Self, r) + 8,
                r3 = const offset_of!(Self, r) + 12,
                s1 = const offset_of!(Self, s),
                s2 = const offset_of!(Self, s) + 4,
                s3 = const offset_of!(Self, s) + 8,
                h0 = const offset_of!(Self, h),
                h1 = const offset_of!(Self, h) + 8,
                h2 = const offset_of!(Self, h) + 16,
                h3 = const offset_of!(Self, h) + 24,
                h4 = const offset_of!(Self, h) + 32,
                out("r0") _, out("r1") _, out("r2") _, out("r3") _, out("r4") _, out("r5") _, out("r6") _,
                options(nostack),
            );
        }
    }
}

impl Hash for Poly1305 {
    #[inline(always)]
    unsafe fn absorb_chunk(&mut self, blocks: *const u8) {
        for index in 0..4 {
            // SAFETY: as the caller vouches.
            unsafe { self.multiply(blocks.add(16 * index)) };
        }
    }

    fn absorb(&mut self, block: &[u64; 2]) {
        opaque(absorb(self, block));
    }
}

#[inline(never)]
fn absorb(hash: &mut Poly1305, block: &[u64; 2]) -> u32 {
    // SAFETY: a block has 16 bytes.
    unsafe { hash.multiply(block.as_ptr().cast()) };
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
