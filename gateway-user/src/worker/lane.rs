//! One lane: a socket, and what the XDP program is told about it.

use std::mem::offset_of;
use std::sync::atomic::Ordering;

use gateway_common::Lane as Shared;
use xsk::{Frame, Socket};

use super::mapped::{Entry, Mapped};
use super::slots::Slots;

/// Frames that may wait at the socket of a lane with slots, where each only wakes the worker.
const WAKING: u64 = 64;

/// A socket and the state of its lane.
///
/// With slots the socket is there to wake the worker and to send. Else,
/// what the XDP program reads always satisfies `limit + consumed <= frames ever given to the kernel to receive into`, whatever the
/// moment at which it reads the two, in the order of `consumed` and `limit`. So the kernel never lacks a frame for what it
/// was allowed to hand over.
pub(super) struct Lane<'umem> {
    pub(super) socket: Socket<'umem>,
    /// Index into map `LANES`.
    pub(super) number: u32,
    /// Where frames are, if not in the receive ring.
    pub(super) slots: Option<Slots<'umem>>,
    /// Frames in the receive ring at most.
    ring: u64,
    /// Frames with the kernel or in the receive ring.
    stock: u64,
    /// As the XDP program sees it.
    limit: u64,
    /// As the XDP program sees it.
    consumed: u64,
    is_open: bool,
    /// Frames that the kernel has dropped before the receive ring, as counted last.
    dropped: u64,
    /// What was handed over when the receive ring was found empty last, if fewer frames had arrived.
    missing_at: Option<u64>,
}

impl<'umem> Lane<'umem> {
    /// A closed lane with a receive ring of `ring` entries.
    pub(super) fn new(socket: Socket<'umem>, number: u32, slots: Option<Slots<'umem>>, ring: u32) -> Self {
        let ring = u64::from(ring);
        Self {
            socket,
            number,
            ring: if slots.is_some() { ring.min(WAKING) } else { ring },
            slots,
            stock: 0,
            limit: 0,
            consumed: 0,
            is_open: false,
            dropped: 0,
            missing_at: None,
        }
    }

    /// Begins to count where the XDP program stands, with nothing on its way. Returns how many frames an earlier worker has left
    /// in the slots.
    pub(super) fn reset(&mut self, lanes: &Mapped<Shared>) -> u64 {
        let Some(entry) = lanes.at(self.number) else { return 0 };
        entry.word(offset_of!(Shared, limit)).store(0, Ordering::SeqCst);
        self.consumed = produced(entry);
        let load = |offset| entry.word(offset).load(Ordering::Acquire);
        let left = match load(offset_of!(Shared, slots)) {
            0 => 0,
            slots => Shared::under_way(self.consumed, load(offset_of!(Shared, sent))).min(slots),
        };
        let size = self.slots.as_ref().map_or(0, Slots::size);
        entry.word(offset_of!(Shared, slots)).store(size, Ordering::Release);
        entry.word(offset_of!(Shared, asleep)).store(0, Ordering::Release);
        if let Some(slots) = &mut self.slots {
            slots.reset(entry, self.consumed);
        }
        entry.word(offset_of!(Shared, consumed)).store(self.consumed, Ordering::Release);
        (self.limit, self.is_open) = (0, false);
        left
    }

    /// Lets the XDP program hand frames over.
    pub(super) fn open(&mut self, lanes: &Mapped<Shared>, now_ns: u64) {
        self.is_open = true;
        self.publish(lanes, now_ns);
    }

    /// Lets the XDP program hand nothing over any more. What is on its way arrives all the same.
    pub(super) fn close(&mut self, lanes: &Mapped<Shared>) {
        self.is_open = false;
        if let Some(entry) = lanes.at(self.number) {
            entry.word(offset_of!(Shared, limit)).store(0, Ordering::Release);
        }
        self.limit = 0;
    }

    /// Takes up to `most` received frames, appending them to `batch`. Returns how many.
    #[inline]
    pub(super) fn take(&mut self, batch: &mut Vec<Frame<'umem>>, most: usize) -> usize {
        let waiting = (self.socket.received() as usize).min(most);
        for _ in 0..waiting {
            // A frame that makes no sense is lost for good.
            batch.extend(self.socket.receive());
        }
        if waiting > 0 {
            self.socket.release_received();
            self.stock = self.stock.saturating_sub(waiting as u64);
            if self.slots.is_none() {
                self.consumed += waiting as u64;
            }
        }
        waiting
    }

    /// Frames that were handed over and not taken. Those in slots can be worked on at once.
    #[inline]
    pub(super) fn waiting(&self, lanes: &Mapped<Shared>) -> u64 {
        lanes.at(self.number).map_or(0, |entry| Shared::under_way(produced(entry), self.consumed))
    }

    /// Frames in slots that have left, of all.
    #[inline]
    pub(super) fn sent(&self, lanes: &Mapped<Shared>) -> u64 {
        let load = |entry: Entry<'_, Shared>| entry.word(offset_of!(Shared, sent)).load(Ordering::Acquire);
        lanes.at(self.number).map_or(self.consumed, load)
    }

    /// Frames that are done, of all.
    #[inline]
    pub(super) fn done(&self) -> u64 {
        self.consumed
    }

    /// Counts a frame in a slot as done. The XDP program sees it after [`Self::show_done`].
    #[inline]
    pub(super) fn finish(&mut self) {
        self.consumed += 1;
    }

    /// Lets the XDP program take along what is done.
    #[inline]
    pub(super) fn show_done(&self, lanes: &Mapped<Shared>) {
        if let Some(entry) = lanes.at(self.number) {
            entry.word(offset_of!(Shared, consumed)).store(self.consumed, Ordering::Release);
        }
    }

    /// Says whether a frame must come to the socket to wake the worker. Who says so must look at [`Self::waiting`] afterwards.
    pub(super) fn show_asleep(&self, lanes: &Mapped<Shared>, is_asleep: bool) {
        if self.slots.is_some()
            && let Some(entry) = lanes.at(self.number)
        {
            entry.word(offset_of!(Shared, asleep)).swap(is_asleep.into(), Ordering::SeqCst);
        }
    }

    /// Takes what came to the socket to wake the worker.
    pub(super) fn take_waking(&mut self, free: &mut Vec<Frame<'umem>>) {
        if self.slots.is_some() && self.take(free, usize::MAX) > 0 {
            self.restock(free);
        }
    }

    /// Gives the kernel frames to receive into, as far as there are any.
    #[inline]
    pub(super) fn restock(&mut self, free: &mut Vec<Frame<'umem>>) {
        let before = self.stock;
        while self.stock < self.ring
            && let Some(frame) = free.pop()
        {
            if let Err(frame) = self.socket.fill(frame) {
                free.push(frame);
                break;
            }
            self.stock += 1;
        }
        if self.stock != before {
            self.socket.publish_fill();
            // A driver without copies may have stopped for want of frames, and others may keep this worker from its sleep, which
            // would wake it. Should it refuse, the next sleep does.
            if self.socket.fill_needs_wakeup() {
                let _ = self.socket.wake_receive();
            }
        }
    }

    /// Shows the XDP program the state of the lane, and that the worker is alive.
    #[inline]
    pub(super) fn publish(&mut self, lanes: &Mapped<Shared>, now_ns: u64) {
        let Some(entry) = lanes.at(self.number) else { return };
        let room = self.slots.as_ref().map_or(self.stock, Slots::room);
        let limit = if self.is_open { room } else { 0 };
        if limit != self.limit {
            self.limit = limit;
            entry.word(offset_of!(Shared, limit)).store(limit, Ordering::Release);
        }
        entry.word(offset_of!(Shared, consumed)).store(self.consumed, Ordering::Release);
        entry.word(offset_of!(Shared, progress_ns)).store(now_ns, Ordering::Release);
    }

    /// Whether frames are on their way, or lost. Exact only while the receive ring is empty.
    pub(super) fn is_missing_frames(&self, lanes: &Mapped<Shared>) -> bool {
        self.slots.is_none() && self.waiting(lanes) > 0
    }

    /// Finds frames that were handed over and will never arrive, and stops waiting for them. To be called now and then, with
    /// at least some milliseconds in between. Returns how many there are.
    pub(super) fn give_up_lost(&mut self, lanes: &Mapped<Shared>) -> u64 {
        let mut lost = 0;
        if self.slots.is_some() {
            return 0;
        }
        if let Ok(statistics) = self.socket.statistics() {
            let dropped = statistics.receive_dropped + statistics.receive_ring_full;
            lost = dropped - self.dropped;
            self.dropped = dropped;
        }
        self.consumed += lost;
        let Some(entry) = lanes.at(self.number) else { return lost };
        let produced = produced(entry);
        let missing = Shared::under_way(produced, self.consumed);
        // Frames reach the ring at the end of the driver's round. When the ring is empty, and was so with the same frames
        // missing a while ago, they went down with something: an earlier worker, or a queue of the driver.
        if self.socket.received() > 0 {
            self.missing_at = None;
        } else if missing == 0 {
            // One that was given up came after all: it was counted twice.
            self.consumed = produced;
            self.missing_at = None;
        } else if self.missing_at == Some(produced) {
            self.consumed += missing;
            lost += missing;
            self.missing_at = None;
        } else {
            self.missing_at = Some(produced);
        }
        lost
    }
}

#[inline]
fn produced(entry: Entry<'_, Shared>) -> u64 {
    entry.word(offset_of!(Shared, produced)).load(Ordering::Acquire)
}
