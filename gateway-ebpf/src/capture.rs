//! Copies of frames for user space, while somebody watches a tunnel.
//!
//! Copies go into buffers of a fixed size, one for each CPU, of which user space reads; what finds no room is counted there
//! and lost, and the packet goes on as it would have.

use aya_ebpf::bindings::xdp_action::XDP_DROP;
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_perf_event_output};
use aya_ebpf::programs::XdpContext;
use gateway_common::{CapturePoint, CaptureRecord, DropReason};

use crate::maps::{CAPTURES, DROPPED, FRAMES, RECORD};
use crate::packet::frame_len;

/// Index into a perf event array: the buffer of the CPU that the program runs on (`BPF_F_CURRENT_CPU`).
const THIS_CPU: u64 = 0xffff_ffff;

/// Whether somebody watches `tunnel`.
#[inline(always)]
pub(crate) fn is_watched(tunnel: u32) -> bool {
    wanted(tunnel).0 != 0
}

/// Copies the frame as it is at `point` if somebody wants it.
#[inline(always)]
pub(crate) fn frame(ctx: &XdpContext, point: CapturePoint, tunnel: u32) {
    let (what, snap_len) = wanted(tunnel);
    if what & point.bit() != 0 {
        copy(ctx, point, tunnel, 0, 0, snap_len);
    }
}

/// Notes why this CPU drops the frame that it has, for [`after`], which ends every program.
#[inline(always)]
pub(crate) fn note_drop(tunnel: u32, reason: DropReason) {
    if let Some(noted) = DROPPED.get_ptr_mut(0) {
        // SAFETY: the map is per CPU and XDP does not preempt itself on one CPU.
        unsafe { *noted = u64::from(tunnel) << 32 | (reason as u64 + 1) };
    }
}

/// Ends a program that gives `verdict`: copies a frame that it dropped for a reason if somebody wants it. `offset` tells where the
/// packet of a VNet starts in a frame that was opened; else it is 0. Returns the verdict.
#[inline(always)]
pub(crate) fn after(ctx: &XdpContext, point: CapturePoint, offset: u32, verdict: u32) -> u32 {
    if verdict != XDP_DROP {
        return verdict;
    }
    let Some(noted) = DROPPED.get_ptr_mut(0) else { return verdict };
    // SAFETY: the map is per CPU and XDP does not preempt itself on one CPU.
    let (tunnel, reason) = unsafe {
        let word = *noted;
        *noted = 0;
        ((word >> 32) as u32, word as u32)
    };
    // A frame that has served its purpose is dropped without a reason.
    if reason != 0 {
        let (what, snap_len) = wanted(tunnel);
        if what & point.bit() != 0 {
            copy(ctx, point, tunnel, reason - 1, offset, snap_len);
        }
    }
    verdict
}

/// What is wanted of `tunnel`, and how much of each frame.
#[inline(always)]
fn wanted(tunnel: u32) -> (u32, u32) {
    match CAPTURES.get(tunnel) {
        Some(capture) => (capture.what, capture.snap_len),
        None => (0, 0),
    }
}

#[inline(always)]
fn copy(ctx: &XdpContext, point: CapturePoint, tunnel: u32, reason: u32, offset: u32, snap_len: u32) {
    let Some(record) = RECORD.get_ptr_mut(0) else { return };
    let len = frame_len(ctx);
    let captured = len.min(snap_len);
    // SAFETY: the map is per CPU and XDP does not preempt itself on one CPU. The helpers check their arguments.
    unsafe {
        record.write(CaptureRecord {
            time_ns: bpf_ktime_get_ns(),
            tunnel,
            point: point as u32,
            reason,
            len,
            captured,
            offset,
        });
        bpf_perf_event_output(
            ctx.ctx.cast(),
            (&raw const FRAMES).cast_mut().cast(),
            u64::from(captured) << 32 | THIS_CPU,
            record.cast(),
            size_of::<CaptureRecord>() as u64,
        );
    }
}
