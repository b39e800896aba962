//! Look-up tables of AES encryption.
//!
//! A column of the state is a 64-bit number with row `r` in bits `16 r + 4` to `16 r + 11`. So a 16-bit load from a
//! column in memory is at once the byte offset of a 16-byte entry, and XOR of entries is XOR of columns.

use gateway_common::aes::{S_BOX, times_x};

/// The tables, and behind them zeros up to the largest offset that the verifier can imagine a 16-bit load to yield.
/// They make a mask on every look-up unnecessary.
#[repr(C, align(64))]
pub(super) struct Tables {
    /// SubBytes and MixColumns of one byte (FIPS 197 sections 5.1.1 and 5.1.3): the column that it contributes from
    /// row 0, twice. The column from another row is the same, rotated: it lies [`ROW_OFFSET`] bytes into the entry.
    rounds: [[u16; 8]; 256],
    /// SubBytes of one byte, at byte 7 of zeros: loading 64 bits from byte `7 - k` puts it to byte `k`.
    last: [[u8; 16]; 256],
    padding: [u8; PADDING],
}

/// Where the column of each row starts in an entry of the round table.
pub(super) const ROW_OFFSET: [usize; 4] = [0, 6, 4, 2];
/// Where the table of the last round starts.
pub(super) const LAST: usize = 4096;

/// With what the largest offset is reached: 2^16 - 1 into the second table, and an entry.
const PADDING: usize = 0x1_0000 - 4096 + 64;

pub(super) static TABLES: Tables = tables();

#[expect(clippy::large_stack_arrays, reason = "evaluated at compile time")]
const fn tables() -> Tables {
    let mut rounds = [[0; 8]; 256];
    let mut last = [[0; 16]; 256];
    let mut byte = 0;
    while byte < 256 {
        let once = S_BOX[byte];
        let twice = times_x(once);
        let column = [twice, once, once, twice ^ once];
        let mut lane = 0;
        while lane < 8 {
            rounds[byte][lane] = (column[lane % 4] as u16) << 4;
            lane += 1;
        }
        last[byte][7] = once;
        byte += 1;
    }
    Tables { rounds, last, padding: [0; PADDING] }
}
