//! AES in counter mode as GCM uses it (FIPS 197, NIST SP 800-38D section 6.5).
//!
//! Table look-ups: the time of an access may depend on secrets through the processor's cache. ChaCha20-Poly1305 has no
//! such accesses.

use core::arch::asm;
use core::ptr;

use gateway_common::limits::MAX_FRAME;

use super::aes_tables::{LAST, ROW_OFFSET, TABLES};
use super::frame::{at, nothing, opaque, zero};
use super::pass::KeyStream;

/// Blocks computed side by side: the look-ups of one leave the processor waiting.
const LANES: usize = 4;

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
    buffer: [[u64; 2]; LANES],
}

impl<const ROUNDS: usize> AesCtr<ROUNDS> {
    /// A key stream that [`Self::start`] must follow.
    ///
    /// # Safety
    /// `key` must point to `4 * (ROUNDS + 1)` round key words as in [`gateway_common::Sa::key`].
    #[inline(always)]
    pub(super) unsafe fn new(key: *const u32) -> Self {
        Self {
            key: key.cast(),
            counter_key: zero(),
            first: zero(),
            second: [zero(); 4],
            last: [zero(); 2],
            buffer: [[zero(); 2]; LANES],
        }
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
        opaque(next_blocks::<ROUNDS, LANES>(self, number));
    }

    fn fill_start(&mut self, number: u32, length: u32) {
        // Two blocks take little more than half of the time.
        if length as usize <= size_of_val(&self.buffer) / 2 {
            opaque(next_blocks::<ROUNDS, { LANES / 2 }>(self, number));
        } else {
            self.fill(number);
        }
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
        let mut states = [[nonce(0) ^ word(0), nonce(1) ^ word(1), nonce(2) ^ word(2), word(3)], [zero(); 4]];
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

/// Overwrites the first `BLOCKS` blocks of the buffer with those from counter `LANES * number + 1` on.
#[inline(never)]
fn next_blocks<const ROUNDS: usize, const BLOCKS: usize>(stream: &mut AesCtr<ROUNDS>, number: u32) -> u32 {
    let tables = tables();
    let mut states = [[zero(); 4]; BLOCKS];
    let states = memory(&mut states);
    let first = LANES as u32 * number + 1;
    // Indices are opaque, or LLVM would unroll the loops beyond the instruction cache and the stack.
    let mut index = 0;
    while index < BLOCKS as u32 {
        // SAFETY: the state has four columns, and the key stream was started.
        unsafe { first_rounds(stream, tables, u64::from(first + index), &mut states[index as usize]) };
        index = opaque(index + 1);
    }
    let mut number = 3;
    while number < ROUNDS as u32 {
        for state in states.iter_mut() {
            // SAFETY: the key has four columns for each round.
            unsafe { round(tables, state, stream.key.add(4 * number as usize)) };
        }
        number = opaque(number + 1);
    }
    let mut index = 0;
    while index < BLOCKS as u32 {
        // SAFETY: the state has four columns.
        stream.buffer[index as usize] = unsafe { last_round(tables, &states[index as usize], stream.last) };
        index = opaque(index + 1);
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

/// XORs to column `$out` what the byte at offset `$byte` of the state, in row `$row`, contributes.
macro_rules! contribute {
    ($out:literal, $byte:literal $row:literal) => {
        concat!(
            "{entry} = *(u16 *)({state} + ",
            $byte,
            ")\n",
            "{entry} += {tables}\n",
            "{entry} = *(u64 *)({entry} + {row",
            $row,
            "})\n",
            "{column",
            $out,
            "} ^= {entry}\n",
        )
    };
}

/// SubBytes, ShiftRows, MixColumns and AddRoundKey with the four columns at `key`. In assembly, because LLVM would load all
/// table offsets first and overflow the stack.
#[inline(always)]
unsafe fn round(tables: *const u8, state: &mut State, key: *const u64) {
    // SAFETY: an offset in the state is that of an entry; the rest as the caller vouches.
    unsafe {
        asm!(
            contribute!(0, 0 0), contribute!(1, 8 0), contribute!(2, 16 0), contribute!(3, 24 0),
            contribute!(3, 2 1), contribute!(0, 10 1), contribute!(1, 18 1), contribute!(2, 26 1),
            contribute!(2, 4 2), contribute!(3, 12 2), contribute!(0, 20 2), contribute!(1, 28 2),
            contribute!(1, 6 3), contribute!(2, 14 3), contribute!(3, 22 3), contribute!(0, 30 3),
            "*(u64 *)({state} + 0) = {column0}",
            "*(u64 *)({state} + 8) = {column1}",
            "*(u64 *)({state} + 16) = {column2}",
            "*(u64 *)({state} + 24) = {column3}",
            tables = in(reg) tables,
            state = in(reg) state,
            entry = out(reg) _,
            column0 = inout(reg) *key => _,
            column1 = inout(reg) *key.add(1) => _,
            column2 = inout(reg) *key.add(2) => _,
            column3 = inout(reg) *key.add(3) => _,
            row0 = const ROW_OFFSET[0],
            row1 = const ROW_OFFSET[1],
            row2 = const ROW_OFFSET[2],
            row3 = const ROW_OFFSET[3],
            options(nostack),
        );
    }
}

/// XORs to byte `$byte` of half `$half` what the byte at offset `$from` of the state is substituted by.
macro_rules! substitute {
    ($half:literal, $from:literal $byte:literal) => {
        concat!(
            "{entry} = *(u16 *)({state} + ",
            $from,
            ")\n",
            "{entry} += {tables}\n",
            "{entry} = *(u64 *)({entry} + {byte",
            $byte,
            "})\n",
            "{half",
            $half,
            "} ^= {entry}\n",
        )
    };
}

/// The last round: SubBytes, ShiftRows and AddRoundKey with `key`. In assembly like [`round`].
#[inline(always)]
unsafe fn last_round(tables: *const u8, state: &State, key: [u64; 2]) -> [u64; 2] {
    let [mut half0, mut half1] = key;
    // SAFETY: an offset in the state is that of an entry; the rest as the caller vouches.
    unsafe {
        asm!(
            substitute!(0, 0 0), substitute!(0, 10 1), substitute!(0, 20 2), substitute!(0, 30 3),
            substitute!(0, 8 4), substitute!(0, 18 5), substitute!(0, 28 6), substitute!(0, 6 7),
            substitute!(1, 16 0), substitute!(1, 26 1), substitute!(1, 4 2), substitute!(1, 14 3),
            substitute!(1, 24 4), substitute!(1, 2 5), substitute!(1, 12 6), substitute!(1, 22 7),
            tables = in(reg) tables,
            state = in(reg) state,
            entry = out(reg) _,
            half0 = inout(reg) half0,
            half1 = inout(reg) half1,
            byte0 = const LAST + 7,
            byte1 = const LAST + 6,
            byte2 = const LAST + 5,
            byte3 = const LAST + 4,
            byte4 = const LAST + 3,
            byte5 = const LAST + 2,
            byte6 = const LAST + 1,
            byte7 = const LAST,
            options(readonly, nostack),
        );
    }
    [half0, half1]
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
