//! GHASH (NIST SP 800-38D section 6.4) with one table per nibble of a block.

use core::arch::asm;

use gateway_common::GhashTables;

use super::frame::{nothing, opaque, zero};
use super::pass::Hash;

/// Bytes from the table of one nibble to the next.
const TABLE_LEN: usize = 256;
/// The high nibble of each byte.
const HIGH_NIBBLES: u64 = 0xf0f0_f0f0_f0f0_f0f0;

/// A running GHASH over full blocks.
pub(super) struct Ghash {
    tables: *const u8,
    y: [u64; 2],
}

impl Ghash {
    /// Starts with the tables of one key.
    #[inline(always)]
    pub(super) fn new(tables: &GhashTables) -> Self {
        Self { tables: (&raw const *tables).cast(), y: [zero(); 2] }
    }

    /// The hash of all blocks absorbed.
    #[inline(always)]
    pub(super) fn sum(&self) -> [u64; 2] {
        self.y
    }
}

impl Hash for Ghash {
    #[inline(always)]
    unsafe fn absorb_chunk(&mut self, blocks: *const u8) {
        let tables = self.tables;
        let mut y = self.y;
        for index in 0..4 {
            // SAFETY: as the caller vouches.
            let block = unsafe { blocks.add(16 * index).cast::<[u64; 2]>().read_unaligned() };
            // SAFETY: `tables` come from a `GhashTables`.
            y = unsafe { multiply(tables, [y[0] ^ block[0], y[1] ^ block[1]]) };
        }
        self.y = y;
    }

    fn absorb(&mut self, block: &[u64; 2]) {
        opaque(absorb(self, block));
    }
}

#[inline(never)]
fn absorb(hash: &mut Ghash, block: &[u64; 2]) -> u32 {
    // SAFETY: `tables` come from a `GhashTables`.
    hash.y = unsafe { multiply(hash.tables, [hash.y[0] ^ block[0], hash.y[1] ^ block[1]]) };
    nothing()
}

/// `x * H`: the sum of the entries that the nibbles of `x` select. The high nibbles of each byte, and the low ones shifted to
/// their place, are already multiplied by the size of an entry. They are added up in two sums, since one would be a chain of 32
/// additions, each waiting for the one before.
#[inline(always)]
unsafe fn multiply(tables: *const u8, x: [u64; 2]) -> [u64; 2] {
    let high = x.map(|half| half & HIGH_NIBBLES);
    let low = x.map(|half| half << 4 & HIGH_NIBBLES);
    let nibbles = [high, low];
    let nibbles = nibbles.as_ptr().cast();
    let mut sums = [[zero(); 2]; 2];
    macro_rules! bytes {
        ($($byte:literal)+) => {
            $(
                // SAFETY: `nibbles` has 32 bytes.
                unsafe {
                    add_multiple::<$byte, { 2 * $byte }>(tables, nibbles, &mut sums[0]);
                    add_multiple::<{ 16 + $byte }, { 2 * $byte + 1 }>(tables, nibbles, &mut sums[1]);
                }
            )+
        };
    }
    bytes!(0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15);
    [sums[0][0] ^ sums[1][0], sums[0][1] ^ sums[1][1]]
}

/// Adds the entry that byte `BYTE` of `nibbles` selects in the table of nibble `POSITION`. In assembly, because
/// LLVM hoists the loads of many look-ups at once and overflows the stack.
#[inline(always)]
unsafe fn add_multiple<const BYTE: usize, const POSITION: usize>(
    tables: *const u8,
    nibbles: *const u8,
    sum: &mut [u64; 2],
) {
    // SAFETY: reads one of 32 tables of 16 entries.
    unsafe {
        asm!(
            "{a} = *(u8 *)({nibbles} + {byte})",
            "{a} += {tables}",
            "{b} = *(u64 *)({a} + {first})",
            "{sum0} ^= {b}",
            "{a} = *(u64 *)({a} + {second})",
            "{sum1} ^= {a}",
            a = out(reg) _,
            b = out(reg) _,
            sum0 = inout(reg) sum[0],
            sum1 = inout(reg) sum[1],
            tables = in(reg) tables,
            nibbles = in(reg) nibbles,
            byte = const BYTE,
            first = const POSITION * TABLE_LEN,
            second = const POSITION * TABLE_LEN + 8,
            options(readonly, nostack),
        );
    }
}
