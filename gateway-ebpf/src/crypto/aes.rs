//! AES in counter mode as GCM uses it (FIPS 197, NIST SP 800-38D section 6.5).
//!
//! Table look-ups: the time of an access may depend on secrets through the processor's cache. ChaCha20-Poly1305 has no
//! such accesses.

use core::arch::asm;
use core::ptr;

use gateway_common::limits::MAX_FRAME;

use super::aes_tables::{LAST, ROW_OFFSET, TABLES};
use super::frame::{at, nothing, opaque};
use super::pass::KeyStream;

/// Blocks computed side by side: the look-ups of one leave the processor waiting.
const LANES: usize = 2;

/// A frame's last counter fits the byte that [`AesCtr`] lets change.
const _: () = assert!(MAX_FRAME / 16 + 4 < 256);

/// The state of one block by columns.
type State = [u64; 4];

/// A key stream from counter 1 on.
///
/// The counter of a packet stays below 256, so only the last byte of the counter block changes. It reaches one column
/// in round 1 and one byte of each column in round 2; the rest of these rounds is computed once per packet.
pub(super) struct AesCtr<const ROUNDS: usize> {
    /// Round keys as in [`gateway_common::Sa::key`].
    key: *const u64,
    /// Row 3 of column 3 after AddRoundKey, but for the counter: a table offset.
    counter_key: u64,
    /// Column 0 after round 1, but for the contribution of the counter.
    first: u64,
    /// The columns after round 2, but for the contributions of [`Self::first`].
    second: State,
    /// The last round key.
    last: [u64; 2],
    buffer: [[u64; 2]; 4],
}

impl<const ROUNDS: usize> AesCtr<ROUNDS> {
    /// A key stream that [`Self::start`] must follow.
    ///
    /// # Safety
    /// `key` must point to `4 * (ROUNDS + 1)` round key words as in [`gateway_common::Sa::key`].
    #[inline(always)]
    pub(super) unsafe fn new(key: *const u32) -> Self {
        Self { key: key.cast(), counter_key: 0, first: 0, second: [0; 4], last: [0; 2], buffer: [[0; 2]; 4] }
    }

    /// Starts the key stream for `nonce`.
    #[inline(always)]
    pub(super) fn start(&mut self, nonce: &[u8; 12]) {
        opaque(prepare(self, nonce));
    }
}

impl<const ROUNDS: usize> KeyStream for AesCtr<ROUNDS> {
    const CHUNK: usize = 64;
    /// The first block masks the tag.
    const RESERVED: usize = 16;

    fn fill(&mut self, number: u32) {
        opaque(next_blocks(self, number));
    }

    #[inline(always)]
    fn buffer(&self) -> *const u64 {
        self.buffer.as_ptr().cast()
    }
}

/// Computes what all blocks share.
#[inline(never)]
fn prepare<const ROUNDS: usize>(stream: &mut AesCtr<ROUNDS>, nonce: &[u8; 12]) -> u32 {
    let tables = tables();
    // SAFETY: the key has as many words, the nonce has three, and `states` point to four columns.
    unsafe {
        let word = |index: usize| *stream.key.add(index);
        let nonce = |index: usize| spread(nonce.as_ptr().cast::<u32>().add(index).read_unaligned());
        let mut states = [[nonce(0) ^ word(0), nonce(1) ^ word(1), nonce(2) ^ word(2), word(3)], [0; 4]];
        let [state, after_first] = memory(&mut states);
        let state = state.as_ptr();
        // Round 1 moves row 3 of column 3, where the counter is, to column 0.
        let mut first = word(4);
        for row in 0..3 {
            first ^= look_up(tables, state, row, row);
        }
        for (index, column_after) in after_first.iter_mut().enumerate().skip(1) {
            *column_after = column(tables, state, index, word(4 + index));
        }
        let after_first = after_first.as_ptr();
        let mut second = [word(8), word(9), word(10), word(11)];
        for (index, column) in second.iter_mut().enumerate() {
            for row in 0..4 {
                if (index + row) % 4 != 0 {
                    *column ^= look_up(tables, after_first, (index + row) % 4, row);
                }
            }
        }
        let last = |index: usize| word(4 * ROUNDS + index) | word(4 * ROUNDS + index + 1) << 32;
        (stream.last, stream.counter_key) = ([last(0), last(2)], word(3) >> 48);
        (stream.first, stream.second) = (first, second);
    }
    nothing()
}

/// Overwrites the buffer with the four blocks from counter `4 * number + 1` on.
#[inline(never)]
fn next_blocks<const ROUNDS: usize>(stream: &mut AesCtr<ROUNDS>, number: u32) -> u32 {
    let tables = tables();
    let mut states = [[[0_u64; 4]; LANES]; 2];
    let states = memory(&mut states);
    let mut counter = u64::from(4 * number + 1);
    for pair in 0..4 / LANES {
        let [even, odd] = &mut *states;
        // SAFETY: every pointer is to four columns, and the key has as many words as the rounds need.
        unsafe {
            for state in even.iter_mut() {
                first_rounds(stream, tables, counter, state);
                counter += 1;
            }
            round(tables, even, odd, stream.key.add(12));
            let mut index = 4;
            while index < ROUNDS {
                round(tables, odd, even, stream.key.add(4 * index));
                round(tables, even, odd, stream.key.add(4 * index + 4));
                index += 2;
            }
            for (lane, state) in odd.iter().enumerate() {
                let block = &mut stream.buffer[LANES * pair + lane];
                *block = stream.last;
                finish(tables, state, block);
            }
        }
    }
    nothing()
}

/// Rounds 1 and 2 of the next counter block.
#[inline(always)]
unsafe fn first_rounds<const ROUNDS: usize>(
    stream: &AesCtr<ROUNDS>,
    tables: *const u8,
    counter: u64,
    state: &mut State,
) {
    let offset = (stream.counter_key ^ counter << 4) & 0xff0;
    // SAFETY: the offset is that of an entry; `changed` stands for four columns of which only the first is used.
    unsafe {
        let mut changed = [stream.first ^ entry(tables, offset as u16, ROW_OFFSET[3])];
        let changed = memory(&mut changed);
        for (index, column) in state.iter_mut().enumerate() {
            let row = (4 - index) % 4;
            *column = stream.second[index] ^ look_up(tables, changed.as_ptr(), 0, row);
        }
    }
}

/// A round with four columns of round key at `key`, on all lanes.
#[inline(always)]
unsafe fn round(tables: *const u8, from: &[State; LANES], to: &mut [State; LANES], key: *const u64) {
    for index in 0..4 {
        for (from, to) in from.iter().zip(to.iter_mut()) {
            // SAFETY: as the caller vouches.
            to[index] = unsafe { column(tables, from.as_ptr(), index, *key.add(index)) };
        }
    }
}

/// The last round but for AddRoundKey, XORed to `block`.
#[inline(always)]
unsafe fn finish(tables: *const u8, state: &State, block: &mut [u64; 2]) {
    for (half, out) in block.iter_mut().enumerate() {
        for byte in 0..8 {
            let (index, row) = (2 * half + byte / 4, byte % 4);
            // SAFETY: as the caller vouches.
            *out ^= unsafe { entry(tables, offset(state.as_ptr(), (index + row) % 4, row), LAST + 7 - byte) };
        }
    }
}

/// Column `index` after SubBytes, ShiftRows, MixColumns and AddRoundKey.
#[inline(always)]
unsafe fn column(tables: *const u8, state: *const u64, index: usize, key: u64) -> u64 {
    let mut column = key;
    for row in 0..4 {
        // SAFETY: as the caller vouches.
        column ^= unsafe { look_up(tables, state, (index + row) % 4, row) };
    }
    column
}

/// What the byte at `row` of column `index` contributes.
#[inline(always)]
unsafe fn look_up(tables: *const u8, state: *const u64, index: usize, row: usize) -> u64 {
    // SAFETY: as the caller vouches.
    unsafe { entry(tables, offset(state, index, row), ROW_OFFSET[row]) }
}

/// Table offset of the byte at `row` of column `index`. The load is volatile, or LLVM would keep the columns in registers
/// and take them apart with shifts and masks.
#[inline(always)]
unsafe fn offset(state: *const u64, index: usize, row: usize) -> u16 {
    // SAFETY: as the caller vouches.
    unsafe { ptr::read_volatile(state.cast::<u16>().add(4 * index + row)) }
}

#[inline(always)]
unsafe fn entry(tables: *const u8, offset: u16, within: usize) -> u64 {
    // SAFETY: as the caller vouches.
    unsafe { at(tables, offset).byte_add(within).read_unaligned() }
}

/// A column from its four bytes.
#[inline(always)]
fn spread(word: u32) -> u64 {
    let byte = |row: u32| u64::from(word >> (8 * row) & 0xff) << (16 * row + 4);
    byte(0) | byte(1) | byte(2) | byte(3)
}

/// Keeps `states` in one piece in memory, where LLVM would split it into variables of 16 bits.
#[inline(always)]
fn memory<T>(states: &mut T) -> &mut T {
    let mut address = &raw mut *states;
    // SAFETY: no instruction; the address stays that of `states`.
    unsafe {
        asm!("", inout("r1") address, options(nostack, preserves_flags));
        &mut *address
    }
}

/// Address of the tables, kept in a register: LLVM would rather load it anew for every look-up.
#[expect(clippy::pointers_in_nomem_asm_block, reason = "the block is empty")]
#[inline(always)]
fn tables() -> *const u8 {
    let mut address = (&raw const TABLES).cast();
    // SAFETY: no instruction.
    unsafe { asm!("", inout("r1") address, options(nomem, nostack, preserves_flags)) };
    address
}
