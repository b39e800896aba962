//! Handles to chunks of the shared memory.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::umem::Umem;

/// A chunk of a [`Umem`] that belongs to user space, and the part of it that holds a packet.
///
/// There is one handle per chunk. One that is dropped is lost until the `Umem` is gone, so give it back to a ring or keep it.
#[must_use = "a dropped handle loses its chunk"]
pub struct Frame<'umem> {
    chunk: NonNull<u8>,
    start: u16,
    len: u16,
    size: u16,
    umem: PhantomData<&'umem Umem>,
}

// SAFETY: the handle owns its chunk as a `Box` would, and `Umem` outlives it.
unsafe impl Send for Frame<'_> {}

impl Frame<'_> {
    /// Wraps a chunk of `size` bytes, with a packet of `len` bytes at `start`.
    ///
    /// # Safety
    /// The chunk must lie within a [`Umem`] that lives as long as `'umem`, belong to user space, and have no other handle. The
    /// packet must lie within the chunk.
    #[inline]
    pub(crate) unsafe fn new(chunk: NonNull<u8>, size: u16, start: u16, len: u16) -> Self {
        debug_assert!(usize::from(start) + usize::from(len) <= usize::from(size));
        Self { chunk, start, len, size, umem: PhantomData }
    }

    /// The packet.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: start and length lie within the chunk, which this handle owns.
        unsafe { std::slice::from_raw_parts(self.start_ptr(), usize::from(self.len)) }
    }

    /// The packet, for writing.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and the handle is borrowed for as long.
        unsafe { std::slice::from_raw_parts_mut(self.start_ptr(), usize::from(self.len)) }
    }

    /// All bytes of the chunk.
    #[inline]
    pub fn chunk_mut(&mut self) -> &mut [u8] {
        // SAFETY: the handle owns the chunk of this size.
        unsafe { std::slice::from_raw_parts_mut(self.chunk.as_ptr(), usize::from(self.size)) }
    }

    /// Length of the packet in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether there is no packet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Offset of the packet from the start of the chunk, in bytes: so much room is in front of it.
    #[inline]
    pub fn start(&self) -> usize {
        usize::from(self.start)
    }

    /// Size of the chunk in bytes.
    #[inline]
    pub fn chunk_size(&self) -> usize {
        usize::from(self.size)
    }

    /// Moves the borders of the packet; its bytes stay where they are. False, and nothing has changed, if it would leave the
    /// chunk.
    #[inline]
    #[must_use]
    pub fn set_range(&mut self, start: usize, len: usize) -> bool {
        let fits = start <= self.chunk_size() && len <= self.chunk_size() - start;
        if fits {
            (self.start, self.len) = (start as u16, len as u16);
        }
        fits
    }

    /// Asks the processor to fetch the first `lines` cache lines of the packet.
    #[inline]
    pub fn prefetch(&self, lines: usize) {
        const LINE: usize = 64;
        for line in 0..lines {
            prefetch_line(self.start_ptr().wrapping_add(line * LINE));
        }
    }

    #[inline]
    pub(crate) fn chunk_ptr(&self) -> NonNull<u8> {
        self.chunk
    }

    #[inline]
    fn start_ptr(&self) -> *mut u8 {
        self.chunk.as_ptr().wrapping_add(usize::from(self.start))
    }
}

impl fmt::Debug for Frame<'_> {
    // The content is not shown: it may be anybody's secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Frame {{ start: {}, len: {} }}", self.start, self.len)
    }
}

/// Asks the processor to fetch the cache line of `address`, which may be any.
#[cfg(target_arch = "x86_64")]
#[inline]
pub fn prefetch_line(address: *const u8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint that reads nothing; any address may be given.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
}

/// Asks the processor to fetch the cache line of `address`; no such instruction is known here.
#[cfg(not(target_arch = "x86_64"))]
#[inline]
pub fn prefetch_line(_address: *const u8) {}
