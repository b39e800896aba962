//! A lane's ring of slots: frames that the XDP program left there for the worker, and takes along again when others arrive.

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use gateway_common::{Handoff, Lane as Shared, Slot};
use xsk::Frame;

use super::mapped::{Entry, Mapped};

/// How long a finished frame waits for one that arrives and can take its place, in ns. Sending it costs the worker more than
/// that way costs everybody together, but nobody may wait for what does not come.
const PATIENCE_NS: u64 = 20_000;
/// Frames in one batch that make it likely that more arrive soon.
const BURST: usize = 8;

/// The slots of one lane.
pub(super) struct Slots<'map> {
    slots: &'map Mapped<Slot>,
    lane: u32,
    size: u64,
    /// [`Shared::sent`] as it was when this worker looked last.
    sent: u64,
    /// Until when finished frames wait.
    waits_until_ns: u64,
}

/// The frame in a slot.
pub(super) struct Filled<'map> {
    entry: Entry<'map, Slot>,
    pub(super) handoff: Handoff,
    /// Begins with the Ethernet header.
    pub(super) frame: &'map mut [u8],
}

impl<'map> Slots<'map> {
    /// The `size` slots of `lane`; `None` if there are not as many.
    pub(super) fn new(slots: &'map Mapped<Slot>, lane: u32, size: u32) -> Option<Self> {
        let size = u64::from(size);
        slots.at(Slot::index(lane, size, size - 1))?;
        Some(Self { slots, lane, size, sent: 0, waits_until_ns: 0 })
    }

    /// Number of slots.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Begins to count at `number`, with nothing in any slot. The lane is closed.
    pub(super) fn reset(&mut self, shared: Entry<'_, Shared>, number: u64) {
        shared.word(offset_of!(Shared, sent)).store(number, Ordering::Release);
        self.sent = number;
    }

    /// Frame `number`, which this worker is to work on. `None` if what the slot says of it makes no sense.
    ///
    /// # Safety
    /// The frame must have been handed over and not be finished, and there must be no other handle to it: then the slot is
    /// this worker's.
    #[inline]
    pub(super) unsafe fn filled(&self, number: u64) -> Option<Filled<'map>> {
        let entry = self.entry(number)?;
        let len = entry.half(offset_of!(Slot, len)).load(Ordering::Relaxed) as usize;
        if len > Slot::ROOM {
            return None;
        }
        // SAFETY: both lie within the value, and as the caller vouches nobody else touches them now.
        unsafe {
            let handoff = entry.bytes(offset_of!(Slot, handoff)).cast::<Handoff>().read();
            let frame = std::slice::from_raw_parts_mut(entry.bytes(offset_of!(Slot, frame)), len);
            Some(Filled { entry, handoff, frame })
        }
    }

    /// Asks the processor to fetch the start of frame `number`.
    #[inline]
    pub(super) fn prefetch(&self, number: u64) {
        if let Some(entry) = self.entry(number) {
            for line in [0, 64, offset_of!(Slot, frame), offset_of!(Slot, frame) + 64] {
                xsk::prefetch_line(entry.bytes(line));
            }
        }
    }

    /// Says that nothing of frame `number` is to be sent.
    #[inline]
    pub(super) fn leave_nothing(&self, number: u64) {
        if let Some(entry) = self.entry(number) {
            leave_nothing(entry);
        }
    }

    /// Whether this worker has to send the finished frames itself, those before `done`, after it has worked on `batch` frames: those
    /// that arrive do not take them along.
    #[inline]
    pub(super) fn must_send(&mut self, sent: u64, done: u64, batch: usize, now_ns: u64) -> bool {
        if sent != self.sent || batch >= BURST {
            self.sent = sent;
            self.waits_until_ns = now_ns + PATIENCE_NS;
        }
        let pending = done.wrapping_sub(sent);
        pending > 0 && (now_ns >= self.waits_until_ns || pending > self.size / 2)
    }

    /// Copies finished frame `number` into `frame`; the interface that it is for, or `None` if nothing is to be sent. What was
    /// copied is worthless unless [`Self::claim`] makes the frame this worker's afterwards.
    pub(super) fn copy(&self, number: u64, frame: &mut Frame<'_>) -> Option<u32> {
        let entry = self.entry(number)?;
        let half = |offset| entry.half(offset).load(Ordering::Relaxed);
        let (start, len) = (half(offset_of!(Slot, out_start)), half(offset_of!(Slot, out_len)) as usize);
        let start = start as usize & Slot::OUT_START_MAX;
        if len == 0 || len > Slot::ROOM || !frame.set_range(xsk::Chunk::HEADROOM, len) {
            return None;
        }
        let from = entry.bytes(offset_of!(Slot, frame) + start);
        // SAFETY: start and length lie within the value. If the XDP program writes to the slot meanwhile, the copy is thrown away.
        unsafe { std::ptr::copy_nonoverlapping(from, frame.bytes_mut().as_mut_ptr(), len) };
        Some(half(offset_of!(Slot, out_ifindex)))
    }

    /// Makes the finished frames from `*sent` up to `end` this worker's to send, those excepted that were taken along meanwhile:
    /// moves `*sent` past them.
    pub(super) fn claim(&mut self, shared: Entry<'_, Shared>, sent: &mut u64, end: u64) {
        let word = shared.word(offset_of!(Shared, sent));
        let mut current = *sent;
        while end.wrapping_sub(current).cast_signed() > 0 {
            match word.compare_exchange(current, end, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    self.sent = end;
                    break;
                }
                Err(moved) => current = moved,
            }
        }
        *sent = current;
    }

    #[inline]
    fn entry(&self, number: u64) -> Option<Entry<'map, Slot>> {
        self.slots.at(Slot::index(self.lane, self.size, number))
    }
}

impl Filled<'_> {
    /// Says that nothing of the frame is to be sent.
    pub(super) fn leave_nothing(&self) {
        leave_nothing(self.entry);
    }

    /// Says what of the frame is to be sent: `len` bytes from `start` on, to `ifindex`. False if that cannot be.
    #[inline]
    #[must_use]
    pub(super) fn finish(&self, start: usize, len: usize, ifindex: u32) -> bool {
        let fits = start <= Slot::OUT_START_MAX && len <= Slot::ROOM;
        let store = |offset, value: usize| self.entry.half(offset).store(value as u32, Ordering::Relaxed);
        store(offset_of!(Slot, out_start), start);
        store(offset_of!(Slot, out_len), if fits { len } else { 0 });
        store(offset_of!(Slot, out_ifindex), ifindex as usize);
        fits
    }
}

fn leave_nothing(entry: Entry<'_, Slot>) {
    entry.half(offset_of!(Slot, out_len)).store(0, Ordering::Relaxed);
}
