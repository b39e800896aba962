//! The rings: arrays in memory shared with the kernel, with one writer and one reader each.
//!
//! A position counts on for ever and is masked to find the entry. The writer publishes entries by a release store of its
//! position, which the reader takes with acquire; the reader gives room back the same way.

use std::io;
use std::os::fd::BorrowedFd;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::sys::Mapping;

/// A ring that user space writes: fill or send.
#[derive(Debug)]
pub(crate) struct Producer<T> {
    ring: Ring<T>,
    /// Position of the next entry to write.
    next: u32,
    /// Position that the kernel had read up to when it was asked last.
    read: u32,
}

/// A ring that the kernel writes: received or sent.
#[derive(Debug)]
pub(crate) struct Consumer<T> {
    ring: Ring<T>,
    /// Position of the next entry to read.
    next: u32,
    /// Position that the kernel had written up to when it was asked last.
    written: u32,
}

#[derive(Debug)]
struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    mask: u32,
    /// Keeps the pointers above valid.
    _memory: Mapping,
}

// SAFETY: the ring owns its mapping; what lies there are integers.
unsafe impl<T: Copy + Send> Send for Ring<T> {}

impl<T: Copy> Producer<T> {
    /// Maps a ring of `size` entries, a power of two, that the kernel made at `page_offset` of socket `fd`.
    pub(crate) fn map(
        fd: BorrowedFd<'_>,
        page_offset: libc::off_t,
        layout: &libc::xdp_ring_offset,
        size: u32,
    ) -> io::Result<Self> {
        let ring = Ring::map(fd, page_offset, layout, size)?;
        let (next, read) = (ring.producer().load(Ordering::Relaxed), ring.consumer().load(Ordering::Acquire));
        Ok(Self { ring, next, read })
    }

    /// Entries that may be written now.
    #[inline]
    pub(crate) fn room(&mut self) -> u32 {
        self.read = self.ring.consumer().load(Ordering::Acquire);
        self.known_room()
    }

    /// Writes an entry, to be seen by the kernel after [`Self::publish`]; false if there is no room.
    #[inline]
    pub(crate) fn push(&mut self, entry: T) -> bool {
        if self.known_room() == 0 && self.room() == 0 {
            return false;
        }
        // SAFETY: the kernel has read this entry and does not look at it before it is published.
        unsafe { self.ring.entry(self.next).write(entry) };
        self.next = self.next.wrapping_add(1);
        true
    }

    /// Shows the kernel what was written.
    #[inline]
    pub(crate) fn publish(&mut self) {
        self.ring.producer().store(self.next, Ordering::Release);
    }

    /// Entries that the kernel has not read, those not published included.
    #[inline]
    pub(crate) fn pending(&mut self) -> u32 {
        self.ring.mask + 1 - self.room()
    }

    /// Whether the kernel sleeps until it is woken.
    #[inline]
    pub(crate) fn needs_wakeup(&self) -> bool {
        self.ring.flags().load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    #[inline]
    fn known_room(&self) -> u32 {
        self.ring.mask + 1 - self.next.wrapping_sub(self.read)
    }
}

impl<T: Copy> Consumer<T> {
    /// As [`Producer::map`].
    pub(crate) fn map(
        fd: BorrowedFd<'_>,
        page_offset: libc::off_t,
        layout: &libc::xdp_ring_offset,
        size: u32,
    ) -> io::Result<Self> {
        let ring = Ring::map(fd, page_offset, layout, size)?;
        let (next, written) =
            (ring.consumer().load(Ordering::Relaxed), ring.producer().load(Ordering::Acquire));
        Ok(Self { ring, next, written })
    }

    /// Entries that may be read now.
    #[inline]
    pub(crate) fn available(&mut self) -> u32 {
        self.written = self.ring.producer().load(Ordering::Acquire);
        self.written.wrapping_sub(self.next)
    }

    /// Reads an entry, whose place the kernel gets back at [`Self::release`].
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<T> {
        if self.written == self.next && self.available() == 0 {
            return None;
        }
        // SAFETY: the kernel has published this entry and does not write to it before it is released.
        let entry = unsafe { self.ring.entry(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Gives the kernel the places of what was read.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.ring.consumer().store(self.next, Ordering::Release);
    }
}

impl<T: Copy> Ring<T> {
    fn map(
        fd: BorrowedFd<'_>,
        page_offset: libc::off_t,
        layout: &libc::xdp_ring_offset,
        size: u32,
    ) -> io::Result<Self> {
        let len = layout.desc as usize + size as usize * size_of::<T>();
        let memory = Mapping::ring(fd, len, page_offset)?;
        let base = memory.base();
        // SAFETY: the kernel says where in the mapping its fields lie, and aligns them.
        unsafe {
            Ok(Self {
                producer: base.add(layout.producer as usize).cast(),
                consumer: base.add(layout.consumer as usize).cast(),
                flags: base.add(layout.flags as usize).cast(),
                entries: base.add(layout.desc as usize).cast(),
                mask: size - 1,
                _memory: memory,
            })
        }
    }

    #[inline]
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: lies in the mapping; both sides access it atomically.
        unsafe { self.producer.as_ref() }
    }

    #[inline]
    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.consumer.as_ref() }
    }

    #[inline]
    fn flags(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.flags.as_ref() }
    }

    #[inline]
    fn entry(&self, position: u32) -> NonNull<T> {
        // SAFETY: masked to the entries of the mapping.
        unsafe { self.entries.add((position & self.mask) as usize) }
    }
}
