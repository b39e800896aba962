//! Slots: a frame is copied out for the worker, and in its place one that the worker has finished goes on. So nothing has
//! to be allocated for a frame that leaves, neither here nor by a socket of the worker's.

use aya_ebpf::bindings::xdp_action::XDP_DROP;
use aya_ebpf::helpers::generated::{
    bpf_xdp_adjust_head, bpf_xdp_adjust_tail, bpf_xdp_load_bytes, bpf_xdp_store_bytes,
};
use aya_ebpf::programs::XdpContext;
use gateway_common::wire::ETH_LEN;
use gateway_common::{DropReason, Job, Lane, Slot};

use crate::drop::drop;
use crate::maps::SLOTS;
use crate::packet::frame_len;
use crate::{atomic, lane, route};

/// Copies the frame into slot `index`, with what is to be done with it. False if it does not fit.
#[inline(always)]
pub(crate) fn fill(ctx: &XdpContext, index: u32, job: &Job, spi: [u8; 4]) -> bool {
    let len = bounded(frame_len(ctx));
    if len == 0 {
        return false;
    }
    let Some(slot) = SLOTS.get_ptr_mut(index) else { return false };
    // SAFETY: `slot` points into the map, and is nobody else's until it is handed over. The helper checks its arguments.
    unsafe {
        lane::describe(&raw mut (*slot).handoff, job, spi);
        (&raw mut (*slot).len).write(len);
        bpf_xdp_load_bytes(ctx.ctx, 0, (&raw mut (*slot).frame).cast(), len) == 0
    }
}

/// Lets the oldest frame that the worker of `lane` has finished leave in place of the one of this run, which nobody needs any
/// more; the verdict.
///
/// # Safety
/// `lane` must point into map `LANES`, and be number `number` with a ring of `slots`.
#[inline(always)]
pub(crate) unsafe fn take_along(ctx: &XdpContext, lane: *mut Lane, number: u32, slots: u64) -> u32 {
    // SAFETY: the caller vouches for `lane`.
    let (consumed, sent) =
        unsafe { (atomic::load(&raw const (*lane).consumed), atomic::load(&raw const (*lane).sent)) };
    // SAFETY: the caller vouches for `lane`.
    if Lane::under_way(consumed, sent) == 0 || unsafe { atomic::load(&raw const (*lane).hold) } != 0 {
        return XDP_DROP;
    }
    let Some(slot) = SLOTS.get_ptr_mut(Slot::index(number, slots, sent)) else { return XDP_DROP };
    // SAFETY: `slot` points into the map. What is read of one that leaves otherwise meanwhile is thrown away.
    let said = unsafe { (&raw const (*slot).out_len).read_volatile() };
    let len = bounded(said);
    if len != 0 && !resize(ctx, len) {
        // The worker sends it, or a longer frame takes it along.
        return XDP_DROP;
    }
    // From here on it is this run's. The slot is not filled anew meanwhile, since some always stay empty.
    // SAFETY: the caller vouches for `lane`.
    if !unsafe { atomic::compare_exchange(&raw mut (*lane).sent, sent, sent.wrapping_add(1)) } {
        return XDP_DROP;
    }
    // The exchange orders what is read now behind `consumed`; what was read before may be of the slot's last frame on processors
    // that reorder loads.
    // SAFETY: `slot` points into the map.
    let (start, ifindex, is_said) = unsafe {
        (
            (&raw const (*slot).out_start).read_volatile(),
            (&raw const (*slot).out_ifindex).read_volatile(),
            (&raw const (*slot).out_len).read_volatile() == said,
        )
    };
    if !is_said {
        return drop(0, DropReason::Worker);
    }
    // Frames that were not to be sent count, too.
    if len == 0 {
        return XDP_DROP;
    }
    // SAFETY: the start is masked and the length was checked, so that both lie within the field. The helper checks its
    // arguments.
    unsafe {
        let frame = (&raw mut (*slot).frame).cast::<u8>().add(start as usize & Slot::OUT_START_MAX);
        if bpf_xdp_store_bytes(ctx.ctx, 0, frame.cast(), len) != 0 {
            return drop(0, DropReason::Worker);
        }
        (&raw mut (*lane).exchanged).write_volatile(atomic::load(&raw const (*lane).exchanged) + 1);
    }
    route::redirect(ifindex)
}

/// The length of a frame that fits into a slot, in a form that lets the verifier see both its bounds; 0 if it does not. Not an
/// `Option`: LLVM would read registers that the verifier knows to be unset.
#[inline(always)]
fn bounded(len: u32) -> u32 {
    const HEADER: u64 = ETH_LEN as u64;
    let mut behind_header = u64::from(len).wrapping_sub(HEADER);
    if behind_header > Slot::ROOM as u64 - HEADER {
        return 0;
    }
    // SAFETY: no instruction; the barrier keeps LLVM from going back to `len`, of which the verifier knows nothing.
    unsafe {
        core::arch::asm!("", inout("r2") behind_header, options(nomem, nostack, preserves_flags));
    }
    (behind_header + HEADER) as u32
}

/// Makes the frame `len` bytes long, whatever it holds then. False if there is no room.
#[inline(always)]
fn resize(ctx: &XdpContext, len: u32) -> bool {
    let growth = len.cast_signed() - frame_len(ctx).cast_signed();
    // SAFETY: helpers that check their arguments; no packet pointer is used afterwards.
    unsafe {
        growth == 0
            // The room in front is guaranteed, that at the end is not.
            || growth > 0 && bpf_xdp_adjust_head(ctx.ctx, -growth) == 0
            || bpf_xdp_adjust_tail(ctx.ctx, growth) == 0
    }
}
