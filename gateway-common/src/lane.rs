//! Lanes: the way of frames from one receive queue of an interface to a worker.

use crate::Pod;

/// Value of array map `LANES` (mmap-able), same index as the socket's in map `XSKS`: `Port::first_lane` plus the receive
/// queue.
///
/// Frames go by the socket, or with `slots` by a ring of [`crate::Slot`]s; then the socket only wakes the worker.
///
/// The XDP program hands a frame over only while fewer than `limit` frames are on their way and the worker makes
/// progress; else the kernel engine takes the frame. Fields that different sides write lie in different cache lines, and all
/// are accessed with atomic instructions. Times may lag by a tick of the kernel's clock (`CLOCK_MONOTONIC_COARSE`).
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Lane {
    /// Frames that may be on their way at once: what the rings have room for, or all slots but [`crate::Slot::EMPTY`]. 0 closes
    /// the lane. Written by the worker.
    pub limit: u64,
    /// Frames taken out of the receive ring, or known to be lost before it; with slots, frames that are worked on. Written by
    /// the worker.
    pub consumed: u64,
    /// Time of the last progress, ns of the monotonic clock. Written by the worker.
    pub progress_ns: u64,
    /// Entries of the lane's ring of slots, a power of two; 0 if frames go by the socket. Written by the worker.
    pub slots: u64,
    /// 1 while the worker sleeps, or is about to, and a frame at its socket is needed to wake it. Written by the worker.
    pub asleep: u64,
    /// 1 while the worker has finished frames sent itself, or is about to, and the XDP program must take none along, which would
    /// overtake those. Written by the worker.
    pub hold: u64,
    /// Explicit padding to a cache line.
    pub reserved: [u64; 2],
    /// Frames handed over. Written by the XDP programs; in generic mode several CPUs may serve one queue.
    pub produced: u64,
    /// Time at which a frame was handed to an empty lane, ns of the monotonic clock. Written by the XDP program.
    pub waiting_since_ns: u64,
    /// Frames that found the lane full and went through the kernel engine.
    pub full: u64,
    /// Frames that found the worker without progress and went through the kernel engine.
    pub stalled: u64,
    /// Frames of this lane's worker that came back to `vgw0`, of every [`crate::ReturnKind`], and are done, dropped ones included.
    pub returned: u64,
    /// A [`LaneState`] as its number when the lane was found full or its worker without progress: until every frame that
    /// waits is done the kernel engine takes all, so that frames of a flow change the engine seldom. Else 0. Written by the XDP
    /// programs.
    pub diverted: u64,
    /// Frames that left their slot in place of a frame that arrived.
    pub exchanged: u64,
    /// Explicit padding to a cache line.
    pub reserved_line: u64,
    /// Frames that have left their slots. Moved with compare-and-swap by the XDP program, one at a time, and by the worker.
    pub sent: u64,
    /// Explicit padding to a cache line.
    pub reserved_both: [u64; 7],
}

/// What becomes of a frame that might go to a worker.
#[repr(u64)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaneState {
    /// Hand it over.
    Open = 0,
    /// No worker serves the lane.
    Closed = 1,
    /// As many frames as may be are on their way, or were and still are not done.
    Full = 2,
    /// Frames wait and the worker has done nothing for [`Lane::STALL_NS`], or had not and they still are not done.
    Stalled = 3,
}

impl Lane {
    /// Time without progress, while frames wait, after which a worker counts as hanging, in ns.
    pub const STALL_NS: u64 = 20_000_000;

    /// Frames that are on their way. A worker that had given a frame up for lost may have counted one too many: then none.
    #[inline(always)]
    pub const fn under_way(produced: u64, consumed: u64) -> u64 {
        let difference = produced.wrapping_sub(consumed);
        if difference.cast_signed() < 0 { 0 } else { difference }
    }

    /// What to do with a frame at `now_ns` while `waiting` frames wait for the worker and `held` have not left the lane, and what
    /// [`Lane::diverted`] is to be if that is the kernel engine.
    #[inline(always)]
    pub const fn state(
        limit: u64,
        held: u64,
        waiting: u64,
        progress_ns: u64,
        waiting_since_ns: u64,
        diverted: u64,
        now_ns: u64,
    ) -> LaneState {
        if limit == 0 {
            return LaneState::Closed;
        }
        if held >= limit {
            return LaneState::Full;
        }
        if waiting == 0 {
            return LaneState::Open;
        }
        let latest = if progress_ns > waiting_since_ns { progress_ns } else { waiting_since_ns };
        // A time of the other side may lie a little ahead of `now_ns`.
        if now_ns > latest && now_ns - latest > Self::STALL_NS {
            return LaneState::Stalled;
        }
        if diverted == LaneState::Full as u64 {
            LaneState::Full
        } else if diverted == LaneState::Stalled as u64 {
            LaneState::Stalled
        } else {
            LaneState::Open
        }
    }
}

/// The single entry of array map `CONTROL` (mmap-able).
#[repr(C, align(64))]
#[derive(Clone, Copy, Debug, Default)]
pub struct Control {
    /// Changes whenever prefixes or tunnels change: what was noted in map `FLOWS` under another epoch is void. Written by
    /// the agent.
    pub epoch: u64,
    /// Explicit padding to a cache line.
    pub reserved: [u64; 7],
}

// SAFETY: repr(C), integers only; the sizes show that nothing is padded implicitly.
unsafe impl Pod for Lane {}
// SAFETY: as above.
unsafe impl Pod for Control {}
const _: () = assert!(size_of::<Lane>() == 192);
const _: () = assert!(core::mem::offset_of!(Lane, produced) == 64);
const _: () = assert!(core::mem::offset_of!(Lane, sent) == 128);
const _: () = assert!(size_of::<Control>() == 64);

#[cfg(test)]
mod tests {
    use super::*;

    /// A lane that takes eight frames, `waiting` of which wait.
    fn state(waiting: u64, progress_ns: u64, since_ns: u64, diverted: u64, now: u64) -> LaneState {
        Lane::state(8, waiting, waiting, progress_ns, since_ns, diverted, now)
    }

    #[test]
    fn closes_fills_and_stalls() {
        let now = 1_000_000_000;
        assert_eq!(Lane::state(0, 0, 0, now, now, 0, now), LaneState::Closed);
        assert_eq!(state(0, 0, 0, 0, now), LaneState::Open, "an idle worker makes no progress");
        assert_eq!(Lane::under_way(4, 5), 0, "a frame was given up for lost and came after all");
        assert_eq!(state(8, now, now, 0, now), LaneState::Full);
        assert_eq!(state(7, now, 0, 0, now), LaneState::Open);
        let late = now + Lane::STALL_NS + 1;
        assert_eq!(state(1, 0, now, 0, late), LaneState::Stalled);
        assert_eq!(state(1, now, 0, 0, late - 1), LaneState::Open);
        assert_eq!(state(1, late + 7, 0, 0, late), LaneState::Open, "clocks differ a little");
    }

    #[test]
    fn a_lane_once_full_takes_frames_again_when_none_waits() {
        let now = 1_000_000_000;
        for diverted in [LaneState::Full, LaneState::Stalled] {
            assert_eq!(state(1, now, now, diverted as u64, now), diverted);
            assert_eq!(state(0, now, now, diverted as u64, now), LaneState::Open);
        }
    }

    #[test]
    fn frames_that_are_done_but_not_sent_hold_their_slots() {
        let now = 1_000_000_000;
        assert_eq!(Lane::state(8, 8, 0, now, now, 0, now), LaneState::Full);
        assert_eq!(Lane::state(8, 7, 0, now, now, LaneState::Full as u64, now), LaneState::Open);
    }
}
