//! Access to frame bytes in the forms that the verifier accepts.

use core::arch::asm;

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::{bpf_xdp_load_bytes, bpf_xdp_store_bytes};

/// Offsets are masked with this wherever the verifier cannot know their range; covers `limits::MAX_FRAME`.
pub(super) const OFFSET_MASK: u32 = 0x7ff;

/// Hides a value from LLVM, which would otherwise drop bounds that only the verifier needs.
#[inline(always)]
pub(super) fn opaque(mut value: u32) -> u32 {
    // SAFETY: no instruction.
    unsafe { asm!("", inout("w0") value, options(nomem, nostack, preserves_flags)) };
    value
}

/// Zero, unknown to LLVM: it would fill memory with a known one by calling `memset`, here a loop over single bytes.
#[inline(always)]
pub(super) fn zero() -> u64 {
    u64::from(opaque(0))
}

/// `base + offset` in one instruction, where LLVM would first copy the base.
#[expect(clippy::pointers_in_nomem_asm_block, reason = "the block only adds")]
#[inline(always)]
pub(super) fn at(base: *const u8, offset: u16) -> *const u64 {
    let mut address = u64::from(offset);
    // SAFETY: arithmetic only.
    unsafe { asm!("{0} += {1}", inout(reg) address, in(reg) base, options(nomem, nostack)) };
    address as *const u64
}

/// What a subprogram without a result returns, and what its caller passes to [`opaque`]. Without a result, r0 may hold a
/// pointer to the stack at the exit, which the verifier refuses; a constant or unused result LLVM would remove.
#[inline(always)]
pub(super) fn nothing() -> u32 {
    opaque(0)
}

/// Pointer to the `size` bytes at `offset` from the start of the frame, if they lie within the frame.
#[inline(always)]
pub(super) fn window(ctx: *mut xdp_md, offset: u32, size: usize) -> Option<*mut u8> {
    // SAFETY: `ctx` is the context of the running program.
    let (data, end) = unsafe { ((*ctx).data as usize, (*ctx).data_end as usize) };
    let start = data + (opaque(offset) & OFFSET_MASK) as usize;
    if start + size > end { None } else { Some(start as *mut u8) }
}

/// Copies `length` bytes at `offset` of the frame into `buffer`. False if they do not lie within the frame, or if
/// `buffer` is shorter or `length` zero.
#[inline(always)]
pub(super) fn load(ctx: *mut xdp_md, offset: u32, buffer: &mut [u64], length: u32) -> bool {
    let length = opaque(length);
    length != 0
        && length as usize <= size_of_val(buffer)
        // SAFETY: the buffer is long enough.
        && unsafe { bpf_xdp_load_bytes(ctx, offset, buffer.as_mut_ptr().cast(), length) } == 0
}

/// Copies `length` bytes of `buffer` to `offset` of the frame. False if they do not lie within the frame, or if
/// `buffer` is shorter or `length` zero.
#[inline(always)]
pub(super) fn store(ctx: *mut xdp_md, offset: u32, buffer: &mut [u64], length: u32) -> bool {
    let length = opaque(length);
    length != 0
        && length as usize <= size_of_val(buffer)
        // SAFETY: the buffer is long enough.
        && unsafe { bpf_xdp_store_bytes(ctx, offset, buffer.as_mut_ptr().cast(), length) } == 0
}
