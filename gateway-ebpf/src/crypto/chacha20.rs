//! ChaCha20 (RFC 8439 sections 2.1 to 2.4), two blocks at a time.
//!
//! No instruction depends on key or data in its timing. BPF has no rotate instruction: two shifts and an OR stand for it.
//! Multiplying by `2^32 + 1` and shifting once is fewer instructions, but the multiplication makes the chain of dependent
//! instructions longer than the processor can look ahead. Two blocks are interleaved because the chain of one leaves most of the
//! processor idle.

use core::arch::asm;

use super::frame::{nothing, opaque, zero};
use super::pass::KeyStream;

/// "expand 32-byte k" (RFC 8439 section 2.3), two words each.
const CONSTANTS: [u64; 2] = [0x3320_646e_6170_7865, 0x6b20_6574_7962_2d32];
/// Pairs of words in one block.
const PAIRS: usize = 8;
/// The pair whose first word is the block counter.
const COUNTER: usize = 6;

/// A key stream from block 0 on. Words are kept in pairs, the first in the lower half: the stack takes no other
/// alignment.
pub(super) struct ChaCha20 {
    initial: [u64; PAIRS],
    buffer: [[u64; PAIRS]; 2],
}

impl ChaCha20 {
    /// Starts the key stream of `key` (eight little-endian words) and `nonce`.
    #[inline(always)]
    pub(super) fn new(key: &[u32], nonce: [u32; 3]) -> Self {
        let pair = |index: usize| u64::from(key[2 * index]) | u64::from(key[2 * index + 1]) << 32;
        let initial = [
            CONSTANTS[0],
            CONSTANTS[1],
            pair(0),
            pair(1),
            pair(2),
            pair(3),
            u64::from(nonce[0]) << 32,
            u64::from(nonce[1]) | u64::from(nonce[2]) << 32,
        ];
        Self { initial, buffer: [[zero(); PAIRS]; 2] }
    }
}

impl KeyStream for ChaCha20 {
    const CHUNK: usize = 128;
    /// Block 0 is for the Poly1305 key.
    const RESERVED: usize = 64;

    fn fill(&mut self, number: u32) {
        opaque(next_blocks::<2>(self, number));
    }

    fn fill_start(&mut self, number: u32, length: u32) {
        // A single block takes little more than half of the time.
        if length as usize <= size_of_val(&self.buffer[0]) {
            opaque(next_blocks::<1>(self, number));
        } else {
            self.fill(number);
        }
    }

    #[inline(always)]
    fn buffer(&self) -> *const u64 {
        self.buffer.as_ptr().cast()
    }
}

/// Rotates `$word` left by `$left`; `$right` is the rest of 32. Uses w8.
macro_rules! rotate {
    ($word:literal $left:literal $right:literal) => {
        concat!(
            "w8 = ", $word, "\n",
            $word, " <<= ", $left, "\n",
            "w8 >>= ", $right, "\n",
            $word, " |= w8\n",
        )
    };
}

/// Two independent quarter rounds (RFC 8439 section 2.1) on the words at the given byte offsets from r9. Changes r0 to r8.
macro_rules! quarter_rounds {
    ($a:literal $b:literal $c:literal $d:literal, $e:literal $f:literal $g:literal $h:literal) => {
        concat!(
            "w0 = *(u32 *)(r9 + ",
            $a,
            ")\n",
            "w4 = *(u32 *)(r9 + ",
            $e,
            ")\n",
            "w1 = *(u32 *)(r9 + ",
            $b,
            ")\n",
            "w5 = *(u32 *)(r9 + ",
            $f,
            ")\n",
            "w3 = *(u32 *)(r9 + ",
            $d,
            ")\n",
            "w7 = *(u32 *)(r9 + ",
            $h,
            ")\n",
            "w2 = *(u32 *)(r9 + ",
            $c,
            ")\n",
            "w6 = *(u32 *)(r9 + ",
            $g,
            ")\n",
            "w0 += w1\n",
            "w4 += w5\n",
            "w3 ^= w0\n",
            "w7 ^= w4\n",
            rotate!("w3" 16 16),
            rotate!("w7" 16 16),
            "w2 += w3\n",
            "w6 += w7\n",
            "w1 ^= w2\n",
            "w5 ^= w6\n",
            rotate!("w1" 12 20),
            rotate!("w5" 12 20),
            "w0 += w1\n",
            "w4 += w5\n",
            "w3 ^= w0\n",
            "w7 ^= w4\n",
            "*(u32 *)(r9 + ",
            $a,
            ") = w0\n",
            "*(u32 *)(r9 + ",
            $e,
            ") = w4\n",
            rotate!("w3" 8 24),
            rotate!("w7" 8 24),
            "w2 += w3\n",
            "w6 += w7\n",
            "w1 ^= w2\n",
            "w5 ^= w6\n",
            "*(u32 *)(r9 + ",
            $d,
            ") = w3\n",
            "*(u32 *)(r9 + ",
            $h,
            ") = w7\n",
            rotate!("w1" 7 25),
            rotate!("w5" 7 25),
            "*(u32 *)(r9 + ",
            $c,
            ") = w2\n",
            "*(u32 *)(r9 + ",
            $g,
            ") = w6\n",
            "*(u32 *)(r9 + ",
            $b,
            ") = w1\n",
            "*(u32 *)(r9 + ",
            $f,
            ") = w5\n",
        )
    };
}

/// Column and diagonal rounds (RFC 8439 section 2.3) on the words from `$state` on.
macro_rules! double_round {
    ($state:expr, $($instructions:expr),+ $(,)?) => {
        asm!(
            $($instructions,)+
            in("r9") $state,
            out("r0") _, out("r1") _, out("r2") _, out("r3") _, out("r4") _,
            out("r5") _, out("r6") _, out("r7") _, out("r8") _,
            options(nostack),
        )
    };
}

/// Adds the pair of words at the given byte offsets from r4 to that from r3. The latter are read as they were
/// written, one by one: a load that spans two stores would have to wait until both have left the store queue.
macro_rules! add_pair {
    ($low:literal $high:literal) => {
        concat!(
            "w0 = *(u32 *)(r3 + ",
            $low,
            ")\n",
            "w2 = *(u32 *)(r4 + ",
            $low,
            ")\n",
            "w0 += w2\n",
            "w1 = *(u32 *)(r3 + ",
            $high,
            ")\n",
            "w2 = *(u32 *)(r4 + ",
            $high,
            ")\n",
            "w1 += w2\n",
            "r1 <<= 32\n",
            "r0 |= r1\n",
            "*(u64 *)(r3 + ",
            $low,
            ") = r0\n",
        )
    };
}

/// Overwrites the buffer with block `2 * number` and, if `BLOCKS` is 2, the one behind it.
#[inline(never)]
fn next_blocks<const BLOCKS: usize>(stream: &mut ChaCha20, number: u32) -> u32 {
    stream.initial[COUNTER] = stream.initial[COUNTER] & 0xffff_ffff_0000_0000 | u64::from(2 * number);
    for (index, block) in stream.buffer.iter_mut().take(BLOCKS).enumerate() {
        *block = stream.initial;
        block[COUNTER] += index as u64;
    }
    let mut double_rounds = 10;
    while double_rounds != 0 {
        // Opaque, or LLVM would unroll the loop beyond the instruction cache.
        double_rounds = opaque(double_rounds - 1);
        let state = &raw mut stream.buffer;
        // SAFETY: both work on the buffer only.
        unsafe {
            if BLOCKS == 2 {
                double_round!(
                    state,
                    quarter_rounds!(0 16 32 48, 4 20 36 52),
                    quarter_rounds!(64 80 96 112, 68 84 100 116),
                    quarter_rounds!(8 24 40 56, 12 28 44 60),
                    quarter_rounds!(72 88 104 120, 76 92 108 124),
                    quarter_rounds!(0 20 40 60, 4 24 44 48),
                    quarter_rounds!(64 84 104 124, 68 88 108 112),
                    quarter_rounds!(8 28 32 52, 12 16 36 56),
                    quarter_rounds!(72 92 96 116, 76 80 100 120),
                );
            } else {
                double_round!(
                    state,
                    quarter_rounds!(0 16 32 48, 4 20 36 52),
                    quarter_rounds!(8 24 40 56, 12 28 44 60),
                    quarter_rounds!(0 20 40 60, 4 24 44 48),
                    quarter_rounds!(8 28 32 52, 12 16 36 56),
                );
            }
        }
    }
    for (index, block) in stream.buffer.iter_mut().take(BLOCKS).enumerate() {
        stream.initial[COUNTER] += index as u64;
        // SAFETY: works on as many words as a block has.
        unsafe {
            asm!(
                add_pair!(0 4),
                add_pair!(8 12),
                add_pair!(16 20),
                add_pair!(24 28),
                add_pair!(32 36),
                add_pair!(40 44),
                add_pair!(48 52),
                add_pair!(56 60),
                in("r3") block,
                in("r4") &raw const stream.initial,
                out("r0") _, out("r1") _, out("r2") _,
                options(nostack),
            );
        }
    }
    nothing()
}
