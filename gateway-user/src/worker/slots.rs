//! A lane's ring of slots: frames that the XDP program left there for the worker, and takes along again when others arrive.

use std::collections::VecDeque;
use std::mem::offset_of;
use std::sync::atomic::Ordering;

use gateway_common::{Handoff, Lane as Shared, Slot};
use xsk::Frame;

use super::mapped::{Entry, Mapped};
use super::plain;

/// Frames in one batch that show that they arrive fast.
const BURST: usize = 8;
/// For how long frames count as arriving fast after a burst, or after one was taken along, in ns. Otherwise finished frames
/// are sent at once.
const BUSY_NS: u64 = 250_000;
/// How long a finished frame waits for one that takes it along while frames arrive fast, in ns: to send it costs the worker, and the
/// next hop, several times as much.
const PATIENCE_NS: u64 = 100_000;
/// Time after which a frame that was taken along has left, in ns: the XDP program's redirects take effect at the end of the
/// driver's round, which is 64 frames at most.
const LEAVING_NS: u64 = 70_000;

/// The slots of one lane.
pub(super) struct Slots<'map> {
    map: &'map Mapped<Slot>,
    lane: u32,
    size: u64,
    /// [`Shared::sent`] as it was when this worker looked last.
    sent: u64,
    /// When it was found to have been moved by others.
    taken_ns: u64,
    /// Until when frames count as arriving fast.
    busy_until_ns: u64,
    /// Ends of batches of which something may wait, and when they were finished.
    finished: VecDeque<(u64, u64)>,
    /// Whether the XDP program takes nothing along.
    is_held: bool,
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
    pub(super) fn new(map: &'map Mapped<Slot>, lane: u32, size: u32) -> Option<Self> {
        let size = u64::from(size);
        map.at(Slot::index(lane, size, size - 1))?;
        Some(Self {
            map,
            lane,
            size,
            sent: 0,
            taken_ns: 0,
            busy_until_ns: 0,
            finished: VecDeque::new(),
            is_held: false,
        })
    }

    /// Number of slots.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Frames that may be in slots at once.
    pub(super) fn room(&self) -> u64 {
        self.size.saturating_sub(Slot::EMPTY)
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
            let handoff = entry.bytes(offset_of!(Slot, handoff));
            let handoff = plain::read(std::slice::from_raw_parts(handoff, Handoff::LEN))?;
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
        }
        if batch >= BURST {
            self.busy_until_ns = now_ns + BUSY_NS;
        }
    }

    /// Whether this worker is to send the finished frames itself, now that those before `sent` have left: none that arrived has
    /// taken them along in time, or none is likely to. Those that were taken along before have left then.
    #[inline]
    pub(super) fn is_to_send(&mut self, shared: Entry<'_, Shared>, now_ns: u64) -> bool {
        self.look(shared, now_ns);
        let Some((_, since_ns)) = self.finished.front() else {
            self.release(shared);
            return false;
        };
        let waited_ns = now_ns.saturating_sub(*since_ns);
        if self.is_held {
            return now_ns.saturating_sub(self.taken_ns) >= LEAVING_NS;
        }
        if now_ns >= self.busy_until_ns || waited_ns >= PATIENCE_NS {
            self.hold(shared);
        }
        // A run of the XDP program that did not see it yet is over at the next look.
        false
    }

    /// Has the XDP program take nothing along.
    pub(super) fn hold(&mut self, shared: Entry<'_, Shared>) {
        shared.word(offset_of!(Shared, hold)).swap(1, Ordering::SeqCst);
        self.is_held = true;
    }

    /// Whether there may be something to send, or frames are held.
    #[inline]
    pub(super) fn is_waiting(&self) -> bool {
        self.is_held || !self.finished.is_empty()
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
        let until_ns = if self.is_held { self.taken_ns + LEAVING_NS } else { since_ns + PATIENCE_NS };
        Some(until_ns.saturating_sub(now_ns))
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
        self.map.at(Slot::index(self.lane, self.size, number))
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64};

    use super::*;

    const LANE: u32 = 2;
    const SIZE: u32 = 8;
    /// Long after the start.
    const NOW: u64 = 1_000_000_000;

    struct Maps {
        slots: Mapped<Slot>,
        lanes: Mapped<Shared>,
    }

    impl Maps {
        fn new() -> Self {
            Self { slots: Mapped::anonymous(LANE * SIZE), lanes: Mapped::anonymous(LANE + 1) }
        }

        fn slots(&self) -> Slots<'_> {
            Slots::new(&self.slots, LANE, SIZE).unwrap()
        }

        fn shared(&self) -> Entry<'_, Shared> {
            self.lanes.at(LANE).unwrap()
        }

        fn word(&self, offset: usize) -> &AtomicU64 {
            self.shared().word(offset)
        }

        /// What the XDP program does with a frame that arrives; the number of the one taken along.
        fn take_along(&self, done: u64) -> Option<u64> {
            if self.word(offset_of!(Shared, hold)).load(Ordering::SeqCst) != 0 {
                return None;
            }
            let sent = self.word(offset_of!(Shared, sent));
            let number = sent.load(Ordering::SeqCst);
            let is_there = Shared::under_way(done, number) > 0;
            let is_taken =
                || sent.compare_exchange(number, number + 1, Ordering::SeqCst, Ordering::SeqCst).is_ok();
            (is_there && is_taken()).then_some(number)
        }
    }

    #[test]
    fn there_must_be_as_many_slots_as_the_lane_is_to_have() {
        let maps = Maps::new();
        assert!(Slots::new(&maps.slots, LANE, SIZE).is_some());
        assert!(Slots::new(&maps.slots, LANE, 2 * SIZE).is_none());
        assert!(Slots::new(&maps.slots, LANE + 1, SIZE).is_none());
        assert_eq!(maps.slots().room(), u64::from(SIZE) - 2, "two stay empty");
    }

    #[test]
    fn single_frames_are_sent_at_once() {
        let maps = Maps::new();
        let mut slots = maps.slots();
        assert_eq!(slots.time_left(0, NOW), None);
        assert!(!slots.is_to_send(maps.shared(), NOW), "there is nothing");
        slots.note_batch(1, 1, NOW);
        assert!(slots.is_waiting());
        assert!(!slots.is_to_send(maps.shared(), NOW), "the XDP program is told first");
        assert!(slots.is_to_send(maps.shared(), NOW));
        assert_eq!(maps.take_along(1), None, "frames that arrive meanwhile leave it alone");
        assert!(slots.claim(maps.shared(), 0, 1));
        slots.release(maps.shared());
        assert!(!slots.is_to_send(maps.shared(), NOW) && !slots.is_waiting());
    }

    #[test]
    fn many_frames_wait_a_little_for_others() {
        let maps = Maps::new();
        let mut slots = maps.slots();
        slots.note_batch(BURST, BURST as u64, NOW);
        assert!(!slots.is_to_send(maps.shared(), NOW));
        assert_eq!(slots.time_left(0, NOW), Some(PATIENCE_NS));
        assert_eq!(slots.time_left(BURST as u64, NOW), None, "all have left");
        let due = NOW + PATIENCE_NS;
        assert!(!slots.is_to_send(maps.shared(), due - 1) && !slots.is_to_send(maps.shared(), due - 1));
        assert!(!slots.is_to_send(maps.shared(), due) && slots.is_to_send(maps.shared(), due));
    }

    #[test]
    fn what_was_taken_along_leaves_before_the_rest_is_sent() {
        let maps = Maps::new();
        let mut slots = maps.slots();
        slots.note_batch(3, 3, NOW);
        assert_eq!(maps.take_along(3), Some(0));
        assert!(!slots.is_to_send(maps.shared(), NOW), "one is taken along, so more may come");
        let taken = NOW + PATIENCE_NS - LEAVING_NS / 2;
        assert_eq!(maps.take_along(3), Some(1));
        assert!(!slots.is_to_send(maps.shared(), taken));
        let due = NOW + PATIENCE_NS;
        assert!(
            !slots.is_to_send(maps.shared(), due) && !slots.is_to_send(maps.shared(), due),
            "it may be here"
        );
        assert_eq!(maps.take_along(3), None);
        assert_eq!(slots.time_left(2, due), Some(taken + LEAVING_NS - due));
        assert!(slots.is_to_send(maps.shared(), taken + LEAVING_NS));
        assert!(slots.claim(maps.shared(), 2, 3));
        slots.release(maps.shared());
        slots.note_batch(1, 4, taken + LEAVING_NS);
        assert_eq!(maps.take_along(4), Some(3));
    }

    #[test]
    fn of_frames_that_were_taken_along_none_is_claimed() {
        let maps = Maps::new();
        let mut slots = maps.slots();
        slots.note_batch(2, 2, NOW);
        assert_eq!(maps.take_along(2), Some(0));
        assert!(!slots.claim(maps.shared(), 0, 2));
        assert_eq!(maps.word(offset_of!(Shared, sent)).load(Ordering::SeqCst), 1);
        slots.hold(maps.shared());
        assert!(!slots.is_to_send(maps.shared(), NOW), "it was taken along just now");
        assert!(slots.is_to_send(maps.shared(), NOW + LEAVING_NS));
    }

    #[test]
    fn every_frame_leaves_once_whoever_is_faster() {
        const FRAMES: u64 = 50_000;
        let maps = Maps::new();
        let left: Vec<AtomicU64> = (0..FRAMES).map(|_| AtomicU64::new(0)).collect();
        let leave = |number: u64| {
            left[number as usize].fetch_add(1, Ordering::Relaxed);
        };
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    let done = maps.word(offset_of!(Shared, consumed)).load(Ordering::SeqCst);
                    match maps.take_along(done) {
                        Some(number) => leave(number),
                        None => std::thread::yield_now(),
                    }
                }
            });
            let (mut slots, mut now) = (maps.slots(), NOW);
            let sent = || maps.word(offset_of!(Shared, sent)).load(Ordering::SeqCst);
            let mut done = 0;
            while sent() < FRAMES {
                let batch = (FRAMES - done).min(1 + done % 5);
                done += batch;
                maps.word(offset_of!(Shared, consumed)).store(done, Ordering::SeqCst);
                slots.note_batch(batch as usize, done, now);
                now += PATIENCE_NS;
                if slots.is_to_send(maps.shared(), now) {
                    let first = sent();
                    if slots.claim(maps.shared(), first, done) {
                        (first..done).for_each(leave);
                    }
                    slots.release(maps.shared());
                }
                if done.is_multiple_of(64) {
                    std::thread::yield_now();
                }
            }
            is_over.store(true, Ordering::Relaxed);
        });
        assert!(left.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn a_worker_says_what_of_a_frame_is_to_be_sent() {
        let maps = Maps::new();
        let slots = maps.slots();
        let mut slot = Slot {
            handoff: Handoff::default(),
            len: 100,
            out_start: 0,
            out_len: 0,
            out_ifindex: 0,
            reserved: [0; 8],
            frame: [7; Slot::ROOM + Slot::OUT_START_MAX + 1],
        };
        slot.handoff.spi = [1, 2, 3, 4];
        let entry = maps.slots.at(Slot::index(LANE, SIZE.into(), 9)).unwrap();
        entry.store(&slot);
        // SAFETY: the only handle.
        let filled = unsafe { slots.filled(9) }.unwrap();
        assert_eq!((filled.frame.len(), filled.handoff.spi), (100, [1, 2, 3, 4]));
        let half = |offset| entry.half(offset).load(Ordering::Relaxed);
        assert!(filled.finish(58, 42, 3));
        assert_eq!(
            [offset_of!(Slot, out_start), offset_of!(Slot, out_len), offset_of!(Slot, out_ifindex)].map(half),
            [58, 42, 3]
        );
        assert!(!filled.finish(Slot::OUT_START_MAX + 1, 42, 3));
        assert_eq!(half(offset_of!(Slot, out_len)), 0);
        assert!(!filled.finish(0, Slot::ROOM + 1, 3));
        assert!(filled.finish(0, 42, 3));
        slots.leave_nothing(9);
        assert_eq!(half(offset_of!(Slot, out_len)), 0);
        slot.len = Slot::ROOM as u32 + 1;
        entry.store(&slot);
        // SAFETY: nothing is handed out.
        assert!(unsafe { slots.filled(9) }.is_none(), "longer than a slot");
    }
}
