//! A lane's ring of slots: frames that the XDP program left there for the worker, and takes along again when others arrive.

use std::collections::VecDeque;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

use gateway_common::{Handoff, Lane as Shared, Slot};
use xsk::Frame;

use super::mapped::{Entry, Mapped};

/// Frames in one batch that show that they arrive fast.
const BURST: usize = 8;
/// For how long frames count as arriving fast after a burst, or after one was taken along, in ns. Otherwise finished frames
/// are sent at once.
const BUSY_NS: u64 = 250_000;
/// Least and most time that a finished frame waits for one that takes it along while frames arrive fast, in ns. To send it costs
/// the worker several times as much.
const PATIENCE_NS: (u64, u64) = (20_000, 100_000);
/// Time after which a frame that was taken along has left, in ns: the XDP program's redirects take effect at the end of the
/// driver's round, which is 64 frames at most.
const LEAVING_NS: u64 = 70_000;

/// The slots of one lane.
pub(super) struct Slots<'map> {
    slots: &'map Mapped<Slot>,
    lane: u32,
    size: u64,
    /// [`Shared::sent`] as it was when this worker looked last.
    sent: u64,
    /// When it was found to have been moved by others.
    taken_ns: u64,
    /// Until when frames count as arriving fast.
    busy_until_ns: u64,
    /// When the last batch was finished.
    batch_ns: u64,
    /// Time between batches: grows at once and shrinks slowly.
    gap_ns: u64,
    /// Ends of batches of which something may wait, and when they were finished.
    finished: VecDeque<(u64, u64)>,
    /// Whether the XDP program takes nothing along.
    is_held: bool,
    pat: u64,
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
        Some(Self {
            slots,
            lane,
            size,
            sent: 0,
            taken_ns: 0,
            busy_until_ns: 0,
            batch_ns: 0,
            gap_ns: 0,
            finished: VecDeque::new(),
            is_held: false,
            pat: std::env::var("VGW_PAT").ok().and_then(|v| v.parse().ok()).unwrap_or(PATIENCE_NS.1),
        })
    }

    /// Number of slots.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Frames that may be in slots at once.
    pub(super) fn room(&self) -> u64 {
        self.size - 1
    }

    /// Begins to count at `number`, with nothing in any slot. The lane is closed.
    pub(super) fn reset(&mut self, shared: Entry<'_, Shared>, number: u64) {
        shared.word(offset_of!(Shared, sent)).store(number, Ordering::Release);
        shared.word(offset_of!(Shared, hold)).store(0, Ordering::Release);
        (self.sent, self.is_held) = (number, false);
        self.finished.clear();
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

    /// Takes note of a batch of `batch` frames, possibly none, after which the frames before `done` are finished.
    #[inline]
    pub(super) fn note_batch(&mut self, batch: usize, done: u64, now_ns: u64) {
        if batch > 0 {
            self.finished.push_back((done, now_ns));
            let gap = now_ns.saturating_sub(self.batch_ns);
            self.gap_ns = gap.max(self.gap_ns - self.gap_ns / 8);
            self.batch_ns = now_ns;
        }
        if batch >= BURST {
            self.busy_until_ns = now_ns + BUSY_NS;
        }
    }

    /// Whether this worker is to send the finished frames itself, now that those before `sent` have left: none that arrived has
    /// taken them along in time, or none is likely to. Those that were taken along before have left then.
    #[inline]
    pub(super) fn is_to_send(&mut self, shared: Entry<'_, Shared>, at_once: bool, now_ns: u64) -> bool {
        self.look(shared, now_ns);
        let Some((_, since_ns)) = self.finished.front() else {
            self.release(shared);
            return false;
        };
        let waited_ns = now_ns.saturating_sub(*since_ns);
        if !at_once && !self.is_held && now_ns < self.busy_until_ns && waited_ns < self.patience() {
            return false;
        }
        if !self.is_held {
            shared.word(offset_of!(Shared, hold)).swap(1, Ordering::SeqCst);
            self.is_held = true;
            self.look(shared, now_ns);
        }
        now_ns.saturating_sub(self.taken_ns) >= LEAVING_NS
    }

    /// Lets the XDP program take frames along again.
    #[inline]
    pub(super) fn release(&mut self, shared: Entry<'_, Shared>) {
        if self.is_held {
            shared.word(offset_of!(Shared, hold)).store(0, Ordering::Release);
            self.is_held = false;
        }
    }

    /// Time until [`Self::is_to_send`] may come to another result, in ns, if nothing arrives; `None` if nothing waits.
    pub(super) fn time_left(&self, sent: u64, now_ns: u64) -> Option<u64> {
        let (_, since_ns) = self.finished.iter().find(|(end, _)| Shared::under_way(*end, sent) > 0)?;
        let until_ns = if self.is_held { self.taken_ns + LEAVING_NS } else { since_ns + self.patience() };
        Some(until_ns.saturating_sub(now_ns))
    }

    /// How long a finished frame may wait: somewhat longer than it takes until the next ones arrive, within limits.
    fn patience(&self) -> u64 {
        (self.gap_ns + self.gap_ns / 2).clamp(PATIENCE_NS.0, self.pat)
    }

    /// Looks at what was taken along.
    fn look(&mut self, shared: Entry<'_, Shared>, now_ns: u64) {
        let sent = shared.word(offset_of!(Shared, sent)).load(Ordering::SeqCst);
        if sent != self.sent {
            self.sent = sent;
            self.taken_ns = now_ns;
            self.busy_until_ns = now_ns + BUSY_NS;
        }
        while self.finished.front().is_some_and(|(end, _)| Shared::under_way(*end, sent) == 0) {
            self.finished.pop_front();
        }
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

    /// Makes the finished frames from `sent` up to `end` this worker's to send. False, and the XDP program has taken one along,
    /// if they are not all there any more.
    #[must_use]
    pub(super) fn claim(&mut self, shared: Entry<'_, Shared>, sent: u64, end: u64) -> bool {
        let word = shared.word(offset_of!(Shared, sent));
        let is_claimed = word.compare_exchange(sent, end, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if is_claimed {
            self.sent = end;
        }
        is_claimed
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
