//! Lanes to the AF_XDP workers: which frames a worker gets instead of the kernel engine.

use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_xdp_adjust_head};
use aya_ebpf::programs::XdpContext;
use gateway_common::{DropReason, Handoff, Job, Lane, LaneState, Port};

use crate::atomic;
use crate::drop::drop;
use crate::maps::{LANES, PORTS, XSKS};
use crate::packet::at;

/// Whether a worker has a socket on the interface to send on.
#[inline(always)]
pub(crate) fn serves(ifindex: u32) -> bool {
    // SAFETY: entries are only replaced as a whole by the agent.
    match unsafe { PORTS.get(ifindex) } {
        Some(port) => port.first_lane != 0,
        None => false,
    }
}

/// A lane whose worker takes the frame of this run.
pub(crate) struct OpenLane {
    number: u32,
    lane: *mut Lane,
    is_empty: bool,
    now_ns: u64,
}

/// The lane of the receive queue at `port` that the frame came from, if its worker is ready for a frame.
#[inline(always)]
pub(crate) fn find(ctx: &XdpContext, port: &Port) -> Option<OpenLane> {
    // SAFETY: the context is that of the running program.
    let queue = unsafe { (*ctx.ctx).rx_queue_index };
    if queue >= port.lanes {
        return None;
    }
    let number = port.first_lane + queue;
    let lane = LANES.get_ptr_mut(number)?;
    // SAFETY: `lane` points into the map; the fields are accessed with atomic instructions only.
    unsafe {
        let produced = atomic::load(&raw const (*lane).produced);
        // Before the limit, which a worker short of buffers lowers before it takes frames out.
        let consumed = atomic::load(&raw const (*lane).consumed);
        let limit = atomic::load(&raw const (*lane).limit);
        let progress_ns = atomic::load(&raw const (*lane).progress_ns);
        let waiting_since_ns = atomic::load(&raw const (*lane).waiting_since_ns);
        let diverted = atomic::load(&raw const (*lane).diverted);
        let now_ns = bpf_ktime_get_coarse_ns();
        let state = Lane::state(limit, produced, consumed, progress_ns, waiting_since_ns, diverted, now_ns);
        match state {
            LaneState::Open => 0,
            LaneState::Closed => return None,
            LaneState::Full => atomic::fetch_add(&raw mut (*lane).full, 1),
            LaneState::Stalled => atomic::fetch_add(&raw mut (*lane).stalled, 1),
        };
        if diverted != state as u64 {
            (&raw mut (*lane).diverted).write_volatile(state as u64);
        }
        if state != LaneState::Open {
            return None;
        }
        XSKS.get(number)?;
        Some(OpenLane { number, lane, is_empty: Lane::under_way(produced, consumed) == 0, now_ns })
    }
}

/// Writes the hand-off header before the frame; false, and the frame is as it was, if there is no room.
#[inline(always)]
pub(crate) fn prepend(ctx: &XdpContext, job: &Job, spi: [u8; 4]) -> bool {
    // SAFETY: helper that checks its arguments; every packet pointer is fetched anew afterwards.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(Handoff::LEN as u32).cast_signed()) } != 0 {
        return false;
    }
    let Some(header) = at::<Handoff>(ctx, 0) else { return false };
    // SAFETY: lies within the frame, which has no alignment.
    unsafe { header.write_unaligned(Handoff { spi, reserved: 0, job: *job }) };
    true
}

impl OpenLane {
    /// Sends the frame to the worker; the verdict.
    #[inline(always)]
    pub(crate) fn send(self, tunnel: u32) -> u32 {
        // SAFETY: `lane` points into the map; the fields are accessed with atomic instructions only.
        unsafe {
            if self.is_empty {
                (&raw mut (*self.lane).waiting_since_ns).write_volatile(self.now_ns);
            }
            atomic::fetch_add(&raw mut (*self.lane).produced, 1);
        }
        // The socket was there a moment ago. If it went away since, its worker has ended.
        XSKS.redirect(self.number, 0).unwrap_or_else(|_| drop(tunnel, DropReason::Worker))
    }
}
