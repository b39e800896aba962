//! Headers on the wire that only the XDP programs use, and bounds-checked access to all of them.

use aya_ebpf::programs::XdpContext;
use gateway_common::wire::ESP_IV_LEN;

/// UDP header.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Udp {
    pub(crate) source: [u8; 2],
    pub(crate) destination: [u8; 2],
    pub(crate) len: [u8; 2],
    pub(crate) checksum: [u8; 2],
}

/// ESP header (RFC 4303 section 2).
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Esp {
    pub(crate) spi: [u8; 4],
    pub(crate) sequence: [u8; 4],
}

/// IV of the AEADs.
pub(crate) type Iv = [u8; ESP_IV_LEN];

/// Start of an ESP packet of any SA: the shortest with an implicit IV is longer, too.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct EspStart {
    pub(crate) header: Esp,
    /// The first bytes of the ciphertext where the IV is implicit.
    pub(crate) iv: Iv,
}

/// Pointer to a `T` at `offset` bytes from the start of the frame, if it lies within the frame.
#[inline(always)]
pub(crate) fn at<T>(ctx: &XdpContext, offset: usize) -> Option<*mut T> {
    let start = ctx.data();
    if start + offset + size_of::<T>() > ctx.data_end() { None } else { Some((start + offset) as *mut T) }
}

/// Length of the frame in bytes.
#[inline(always)]
pub(crate) fn frame_len(ctx: &XdpContext) -> u32 {
    let (mut start, mut end) = (ctx.data(), ctx.data_end());
    // SAFETY: no instruction; the barrier keeps LLVM from narrowing packet pointers, which the verifier forbids.
    unsafe { core::arch::asm!("", inout("r2") start, inout("r3") end, options(nomem, nostack)) };
    (end - start) as u32
}
