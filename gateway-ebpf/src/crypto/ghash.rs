//! GHASH (NIST SP 800-38D section 6.4) with one table per nibble of a block.

use core::ptr;

use gateway_common::GhashTables;

use super::aes::memory;
use super::frame::{nothing, opaque};
use super::pass::Hash;

/// Bytes from the table of one nibble to the next.
const TABLE_LEN: usize = 256;

/// A running GHASH over full blocks.
pub(super) struct Ghash {
    tables: *const u8,
    y: [u64; 2],
}

impl Ghash {
    /// Starts with the tables of one key.
    #[inline(always)]
    pub(super) fn new(tables: &GhashTables) -> Self {
        Self { tables: (&raw const *tables).cast(), y: [0; 2] }
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

/// `x * H`: the sum of the entries that the nibbles of `x` select. A second copy of `x`, shifted by one nibble, has the
/// low nibbles where the first has the high ones, already multiplied by the size of an entry.
#[inline(always)]
unsafe fn multiply(tables: *const u8, x: [u64; 2]) -> [u64; 2] {
    let mut nibbles = [x, [x[0] << 4, x[1] << 4]];
    let nibbles = memory(&mut nibbles);
    let mut product = [0_u64; 2];
    for byte in 0..16 {
        for (low, nibbles) in nibbles.iter().enumerate() {
            // SAFETY: one of 32 tables of 16 entries. The load is volatile, or LLVM would use shifts instead.
            unsafe {
                let offset = ptr::read_volatile(nibbles.as_ptr().cast::<u8>().add(byte)) & 0xf0;
                let entry = tables.add(usize::from(offset)).add((2 * byte + low) * TABLE_LEN).cast::<u64>();
                product[0] ^= *entry;
                product[1] ^= *entry.add(1);
            }
        }
    }
    product
}
