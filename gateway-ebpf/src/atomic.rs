//! Atomic instructions on map memory. `core::sync::atomic` has no 64-bit read-modify-write on this target.

use core::arch::asm;

use gateway_common::SharedWord;

/// Adds `value` and returns what was there before.
///
/// # Safety
/// `pointer` must point to an aligned `u64` inside a map value.
#[inline(always)]
pub(crate) unsafe fn fetch_add(pointer: *mut u64, value: u64) -> u64 {
    let mut result = value;
    // SAFETY: the caller vouches for the pointer; the verifier checks it again.
    unsafe {
        asm!("{result} = atomic_fetch_add((u64 *)({pointer} + 0), {result})",
             result = inout(reg) result, pointer = in(reg) pointer);
    }
    result
}

/// Replaces `expected` by `new`; true if the memory held `expected`.
///
/// # Safety
/// As for [`fetch_add`].
#[inline(always)]
pub(crate) unsafe fn compare_exchange(pointer: *mut u64, expected: u64, new: u64) -> bool {
    let mut found = expected;
    // SAFETY: the caller vouches for the pointer; the verifier checks it again.
    unsafe {
        asm!("r0 = cmpxchg_64({pointer} + 0, r0, {new})",
             inout("r0") found, pointer = in(reg) pointer, new = in(reg) new);
    }
    found == expected
}

/// Reads a value that other CPUs write.
///
/// # Safety
/// As for [`fetch_add`].
#[inline(always)]
pub(crate) unsafe fn load(pointer: *const u64) -> u64 {
    // SAFETY: the caller vouches for the pointer; an aligned 64-bit read is one instruction.
    unsafe { pointer.read_volatile() }
}

/// A word of map memory.
#[derive(Clone, Copy)]
pub(crate) struct MapWord(*mut u64);

impl MapWord {
    /// # Safety
    /// As for [`fetch_add`], for as long as the word is used.
    #[inline(always)]
    pub(crate) unsafe fn new(pointer: *mut u64) -> Self {
        Self(pointer)
    }
}

impl SharedWord for MapWord {
    #[inline(always)]
    fn load(self) -> u64 {
        // SAFETY: as vouched for to `new`.
        unsafe { load(self.0) }
    }

    #[inline(always)]
    fn compare_exchange(self, expected: u64, new: u64) -> bool {
        // SAFETY: as vouched for to `new`.
        unsafe { compare_exchange(self.0, expected, new) }
    }

    #[inline(always)]
    fn fetch_add(self, value: u64) -> u64 {
        // SAFETY: as vouched for to `new`.
        unsafe { fetch_add(self.0, value) }
    }
}
