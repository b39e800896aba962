//! Lanes to the workers: which frames a worker gets instead of the kernel engine, and on which way.

use aya_ebpf::bindings::xdp_action::XDP_DROP;
use aya_ebpf::helpers::generated::{bpf_ktime_get_coarse_ns, bpf_xdp_adjust_head};
use aya_ebpf::programs::XdpContext;
use gateway_common::{DropReason, Handoff, Job, Lane, LaneState, Port, Slot};

use crate::drop::drop;
use crate::maps::{LANES, PORTS, XSKS};
use crate::packet::at;
use crate::{atomic, capture, exchange};

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
    produced: u64,
    /// Entries of its ring of slots; 0 if frames go by the socket.
    slots: u64,
    is_empty: bool,
    now_ns: u64,
}

/// The lane of the receive queue at `port` that the frame came from, if its worker is ready for a frame. None for packets of a tunnel
/// that somebody watches: they must pass all the places where they are copied.
#[inline(always)]
pub(crate) fn find(ctx: &XdpContext, port: &Port, tunnel: u32) -> Option<OpenLane> {
    // SAFETY: the context is that of the running program.
    let queue = unsafe { (*ctx.ctx).rx_queue_index };
    if queue >= port.lanes || capture::is_watched(tunnel) {
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
        let slots = atomic::load(&raw const (*lane).slots);
        let progress_ns = atomic::load(&raw const (*lane).progress_ns);
        let waiting_since_ns = atomic::load(&raw const (*lane).waiting_since_ns);
        let diverted = atomic::load(&raw const (*lane).diverted);
        let waiting = Lane::under_way(produced, consumed);
        let held = if slots == 0 {
            waiting
        } else {
            Lane::under_way(produced, atomic::load(&raw const (*lane).sent))
        };
        let now_ns = bpf_ktime_get_coarse_ns();
        let state = Lane::state(limit, held, waiting, progress_ns, waiting_since_ns, diverted, now_ns);
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
        Some(OpenLane { number, lane, produced, slots, is_empty: waiting == 0, now_ns })
    }
}

/// Writes the hand-off header before the frame; false, and the frame is as it was, if there is no room.
#[inline(always)]
fn prepend(ctx: &XdpContext, job: &Job, spi: [u8; 4]) -> bool {
    // SAFETY: helper that checks its arguments; every packet pointer is fetched anew afterwards.
    if unsafe { bpf_xdp_adjust_head(ctx.ctx, -(Handoff::LEN as u32).cast_signed()) } != 0 {
        return false;
    }
    let Some(header) = at::<Handoff>(ctx, 0) else { return false };
    // SAFETY: lies within the frame.
    unsafe { describe(header, job, spi) };
    true
}

/// Writes a hand-off header, field by field, since the stack has no room for one.
///
/// # Safety
/// `header` must be valid for writes; it need not be aligned.
#[inline(always)]
pub(crate) unsafe fn describe(header: *mut Handoff, job: &Job, spi: [u8; 4]) {
    // SAFETY: as the caller vouches.
    unsafe {
        (&raw mut (*header).spi).write(spi);
        (&raw mut (*header).reserved).write_unaligned(0);
        core::ptr::copy_nonoverlapping(
            core::ptr::from_ref(job).cast::<u8>(),
            (&raw mut (*header).job).cast::<u8>(),
            size_of::<Job>(),
        );
    }
}

impl OpenLane {
    /// Puts the frame and what is to be done with it where the worker will find it; false, and the frame is as it was, if there is
    /// no room. The worker does not look there before [`Self::send`].
    #[inline(always)]
    pub(crate) fn load(&self, ctx: &XdpContext, job: &Job, spi: [u8; 4]) -> bool {
        if self.slots == 0 {
            prepend(ctx, job, spi)
        } else {
            exchange::fill(ctx, Slot::index(self.number, self.slots, self.produced), job, spi)
        }
    }

    /// Gives the worker the frame that was loaded; the verdict.
    #[inline(always)]
    pub(crate) fn send(self, ctx: &XdpContext, tunnel: u32) -> u32 {
        // SAFETY: `lane` points into the map; the fields are accessed with atomic instructions only.
        unsafe {
            if self.is_empty {
                (&raw mut (*self.lane).waiting_since_ns).write_volatile(self.now_ns);
            }
            atomic::fetch_add(&raw mut (*self.lane).produced, 1);
            if self.slots != 0 {
                return if self.must_wake() {
                    // The worker needs no byte of it.
                    XSKS.redirect(self.number, 0).unwrap_or(XDP_DROP)
                } else {
                    exchange::take_along(ctx, self.lane, self.number, self.slots)
                };
            }
        }
        // The socket was there a moment ago. If it went away since, its worker has ended.
        XSKS.redirect(self.number, 0).unwrap_or_else(|_| drop(tunnel, DropReason::Worker))
    }

    /// Whether the worker sleeps, and the frame that it was just given is one to wake it for. A worker says that it will
    /// sleep and looks for frames once more after that, so one of the two sees the other.
    ///
    /// # Safety
    /// `lane` must point into map `LANES`.
    #[inline(always)]
    unsafe fn must_wake(&self) -> bool {
        // SAFETY: the caller vouches for `lane`.
        unsafe {
            if atomic::load(&raw const (*self.lane).asleep) == 0 {
                return false;
            }
            // It has said how far it got before it said that it will sleep.
            let waiting = Lane::under_way(self.produced + 1, atomic::load(&raw const (*self.lane).consumed));
            waiting == 1 || waiting.is_multiple_of(Slot::RING_AGAIN)
        }
    }
}
