//! What an AEAD program was asked to do, checked.

use aya_ebpf::bindings::xdp_action::XDP_PASS;
use aya_ebpf::programs::XdpContext;
use gateway_common::limits::MAX_FRAME;
use gateway_common::{CapturePoint, DropReason, Job, ProgramSlot, Sa};

use crate::maps::{JOB, PROGRAMS, SAS};
use crate::{capture, drop, event, packet};

use super::frame;

/// Length of the ICV of every AEAD here, in bytes (RFC 7634 section 2, RFC 4106 section 6).
pub(super) const ICV_LEN: u32 = 16;

/// The job of this run of the program, with offsets known to lie within the frame.
pub(super) struct Task {
    pub(super) ctx: XdpContext,
    pub(super) job: &'static Job,
    pub(super) sa: &'static Sa,
    /// Offset of the payload.
    pub(super) offset: u32,
    /// Length of the payload without ICV.
    pub(super) length: u32,
}

impl Task {
    /// Reads the job. `Err` is the verdict on a job that cannot be done, already counted.
    #[inline(always)]
    pub(super) fn begin(ctx: XdpContext) -> Result<Self, u32> {
        let Some(job) = JOB.get(0) else { return Err(drop::drop(0, DropReason::Internal)) };
        let Some(sa) = SAS.get(job.sa) else { return Err(refuse(&ctx, job, DropReason::Internal)) };
        let (offset, length) = (job.offset, job.length);
        let frame_len = packet::frame_len(&ctx).min(MAX_FRAME as u32);
        if offset > frame_len
            || length > frame_len
            || offset + length + ICV_LEN > frame_len
            || (job.aad_len != 8 && job.aad_len != 12)
        {
            return Err(refuse(&ctx, job, DropReason::Malformed));
        }
        Ok(Self { ctx, job, sa, offset, length })
    }

    /// The additional authenticated data, padded with zeros to a block.
    #[inline(always)]
    pub(super) fn aad_block(&self) -> [u64; 2] {
        let aad = self.job.aad.as_ptr();
        // SAFETY: the field has 12 bytes.
        unsafe {
            let third = if self.job.aad_len == 12 { aad.add(8).cast::<u32>().read_unaligned() } else { 0 };
            [aad.cast::<u64>().read_unaligned(), u64::from(third)]
        }
    }

    /// The three 32-bit words of the nonce as they lie in memory.
    #[inline(always)]
    pub(super) fn nonce(&self) -> [u32; 3] {
        let nonce = self.job.nonce.as_ptr().cast::<u32>();
        // SAFETY: the field has 12 bytes.
        unsafe { [nonce.read_unaligned(), nonce.add(1).read_unaligned(), nonce.add(2).read_unaligned()] }
    }

    /// Writes the ICV behind the payload; false if it does not fit.
    #[inline(always)]
    pub(super) fn write_icv(&self, icv: [u64; 2]) -> bool {
        let Some(place) = frame::window(self.ctx.ctx, self.offset + self.length, ICV_LEN as usize) else {
            return false;
        };
        // SAFETY: the window has 16 bytes.
        unsafe { place.cast::<[u64; 2]>().write_unaligned(icv) };
        true
    }

    /// Whether the ICV behind the payload is `icv`. Takes the same time wherever they differ.
    #[inline(always)]
    pub(super) fn icv_matches(&self, icv: [u64; 2]) -> bool {
        let Some(place) = frame::window(self.ctx.ctx, self.offset + self.length, ICV_LEN as usize) else {
            return false;
        };
        // SAFETY: the window has 16 bytes.
        let received = unsafe { place.cast::<[u64; 2]>().read_unaligned() };
        let difference = (received[0] ^ icv[0]) | (received[1] ^ icv[1]);
        frame::opaque(difference as u32 | (difference >> 32) as u32) == 0
    }

    /// Hands the frame to the next program.
    #[inline(always)]
    pub(super) fn finish(&self) -> u32 {
        // SAFETY: the context is that of the running program.
        unsafe { PROGRAMS.tail_call(&self.ctx, self.job.next) };
        if self.job.next == ProgramSlot::Empty as u32 {
            return XDP_PASS;
        }
        self.refuse(DropReason::Internal)
    }

    /// Counts and reports a wrong ICV; returns the verdict.
    #[inline(always)]
    pub(super) fn reject(&self) -> u32 {
        event::authentication_failed(self.job, self.sa);
        self.refuse(DropReason::AuthenticationFailed)
    }

    /// Counts a frame that ended before its payload; returns the verdict.
    #[inline(always)]
    pub(super) fn malformed(&self) -> u32 {
        self.refuse(DropReason::Malformed)
    }

    /// Counts a drop; returns the verdict.
    #[inline(always)]
    pub(super) fn refuse(&self, reason: DropReason) -> u32 {
        refuse(&self.ctx, self.job, reason)
    }
}

#[inline(always)]
fn refuse(ctx: &XdpContext, job: &Job, reason: DropReason) -> u32 {
    let is_sealing = job.next == ProgramSlot::EncapDone as u32;
    let point = if is_sealing { CapturePoint::DroppedSealing } else { CapturePoint::DroppedOpening };
    capture::after(ctx, point, 0, drop::drop(job.tunnel, reason))
}
