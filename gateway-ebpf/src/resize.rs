//! Growing a frame at both ends.

use aya_ebpf::helpers::generated::{bpf_xdp_adjust_head, bpf_xdp_adjust_tail};
use aya_ebpf::programs::XdpContext;
use gateway_common::limits::MAX_FRAME;
use gateway_common::wire::ETH_LEN;

/// How far a packet is moved to the front when its frame cannot grow at the end: more than ESP ever adds there, and more
/// than a word, so that words may overlap.
const SHIFT: usize = 24;
const WORD: usize = size_of::<u64>();
/// Words that are moved between two bounds checks.
const CHUNK: usize = 8;

/// Makes room for `headers` bytes before, and up to 21 bytes behind, the IP packet of `inner_len` bytes: afterwards the
/// packet starts at `ETH_LEN + headers` and the frame ends `tail` bytes behind the start of the packet. False if the
/// frame has no room; it is in disorder then.
///
/// Drivers leave room behind a frame as they please: veth rounds up to a cache line, which is often too little. The
/// room in front is guaranteed (`XDP_PACKET_HEADROOM`), so the packet moves there if need be.
#[inline(always)]
pub(crate) fn grow(ctx: &XdpContext, old_len: u32, inner_len: u32, headers: u32, tail: u32) -> bool {
    let growth = (ETH_LEN as u32 + tail).cast_signed() - old_len.cast_signed();
    // SAFETY: helpers that check their arguments; no packet pointer is used afterwards.
    unsafe {
        if bpf_xdp_adjust_tail(ctx.ctx, growth) == 0 {
            return bpf_xdp_adjust_head(ctx.ctx, -headers.cast_signed()) == 0;
        }
        bpf_xdp_adjust_head(ctx.ctx, -(headers + SHIFT as u32).cast_signed()) == 0
            && move_to_front(ctx, ETH_LEN as u32 + headers, inner_len).is_some()
            && bpf_xdp_adjust_tail(ctx.ctx, growth - (SHIFT as u32).cast_signed()) == 0
    }
}

/// Moves `len` bytes (at least a word) that start [`SHIFT`] bytes behind `offset` to `offset`.
#[inline(always)]
fn move_to_front(ctx: &XdpContext, offset: u32, len: u32) -> Option<()> {
    let mut done = 0;
    for _ in 0..MAX_FRAME / (CHUNK * WORD) {
        if done + (CHUNK * WORD) as u32 > len {
            break;
        }
        move_words::<CHUNK>(ctx, offset + done)?;
        done += (CHUNK * WORD) as u32;
    }
    for _ in 0..CHUNK {
        if done + WORD as u32 > len {
            break;
        }
        move_words::<1>(ctx, offset + done)?;
        done += WORD as u32;
    }
    // The last word overlaps the one before; its source lies behind everything written so far.
    move_words::<1>(ctx, offset + len - WORD as u32)
}

#[inline(always)]
fn move_words<const COUNT: usize>(ctx: &XdpContext, offset: u32) -> Option<()> {
    // Masked, so that the verifier can bound it.
    let to = ctx.data() + (offset as usize & MAX_FRAME);
    if to + SHIFT + COUNT * WORD > ctx.data_end() {
        return None;
    }
    for word in 0..COUNT {
        // SAFETY: checked to lie within the frame; unaligned accesses are enabled on this target.
        unsafe {
            let value = ((to + SHIFT + word * WORD) as *const u64).read_unaligned();
            ((to + word * WORD) as *mut u64).write_unaligned(value);
        }
    }
    Some(())
}
