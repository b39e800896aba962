//! Memory that user space and the kernel share.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Error;
use crate::frame::Frame;
use crate::sys::{Mapping, set_option};

/// Size of a transparent huge page on x86-64, and on arm64 with pages of 4 KiB.
const HUGE_PAGE: usize = 2 << 20;

/// Size of the chunks of a [`Umem`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    /// 2048 bytes.
    Small = 2048,
    /// 4096 bytes.
    Large = 4096,
}

impl Chunk {
    /// Bytes in front of each received packet (`XDP_PACKET_HEADROOM`).
    pub const HEADROOM: usize = 256;

    /// The smallest chunk that receives packets of `len` bytes; `None` if there is none.
    pub const fn for_packets(len: usize) -> Option<Self> {
        if len <= Self::Small.room() {
            Some(Self::Small)
        } else if len <= Self::Large.room() {
            Some(Self::Large)
        } else {
            None
        }
    }

    /// The largest packet that can be received, in bytes.
    pub const fn room(self) -> usize {
        self.size() - Self::HEADROOM
    }

    /// Bytes.
    pub const fn size(self) -> usize {
        self as usize
    }
}

/// Memory for packets, shared with the kernel. Not part of core dumps and not inherited by child processes: it may carry
/// secrets.
///
/// Sockets that the driver serves without copies and sockets that it serves with copies belong to different registrations of
/// the same memory, because the kernel wants all sockets of one registration alike. Frames go from one to the other all the
/// same.
#[derive(Debug)]
pub struct Umem {
    memory: Mapping,
    /// Start of the chunks, on the border of a huge page.
    base: NonNull<u8>,
    chunk: Chunk,
    count: u32,
    taken: AtomicBool,
    registrations: Mutex<Vec<Registration>>,
}

/// A socket that registered the memory and was bound; it stays open as long as the memory lives, for others to share.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) owner: OwnedFd,
    pub(crate) zero_copy: bool,
}

// SAFETY: the pointer is to memory that this value owns; chunks are accessed through `Frame`s, of which each has one owner.
unsafe impl Send for Umem {}
// SAFETY: as above.
unsafe impl Sync for Umem {}

impl Umem {
    /// Memory of `count` chunks. Sockets register it with the kernel, which pins it (`RLIMIT_MEMLOCK`).
    ///
    /// # Errors
    /// There is too little memory, or `count` is 0.
    pub fn new(count: u32, chunk: Chunk) -> Result<Self, Error> {
        if count == 0 {
            return Err(Error::Size { what: "the number of chunks", rule: "at least 1", value: 0 });
        }
        let bytes = count as usize * chunk.size();
        let failed = |source| Error::Memory { bytes, source };
        let memory = Mapping::anonymous(bytes + HUGE_PAGE).map_err(failed)?;
        memory.advise(libc::MADV_DONTDUMP).map_err(failed)?;
        memory.advise(libc::MADV_DONTFORK).map_err(failed)?;
        // Fewer misses of the address cache; it works without.
        let _ = memory.advise(libc::MADV_HUGEPAGE);
        let start = memory.base();
        // SAFETY: at most a huge page, by which the mapping is longer than the chunks.
        let base = unsafe { start.add(start.align_offset(HUGE_PAGE)) };
        let (taken, registrations) = (AtomicBool::new(false), Mutex::new(Vec::new()));
        Ok(Self { memory, base, chunk, count, taken, registrations })
    }

    /// The handles to all chunks, each with an empty packet behind [`Chunk::HEADROOM`]. There is one handle per chunk, so a
    /// second call returns none.
    pub fn take_frames(&self) -> Vec<Frame<'_>> {
        if self.taken.swap(true, Ordering::Relaxed) {
            return Vec::new();
        }
        let size = self.chunk.size();
        (0..self.count as usize)
            .map(|index| {
                // SAFETY: within the memory; handed out once, to the caller, before any ring.
                unsafe { Frame::new(self.base.add(index * size), size as u16, Chunk::HEADROOM as u16, 0) }
            })
            .collect()
    }

    /// Size of the chunks.
    pub fn chunk(&self) -> Chunk {
        self.chunk
    }

    /// Number of chunks.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Length of the chunks together, in bytes.
    fn len(&self) -> usize {
        self.count as usize * self.chunk.size()
    }

    /// The handle to the packet that a ring gave back; `None` if it lies about the memory.
    ///
    /// # Safety
    /// The chunk must belong to user space now, without any other handle: the kernel gave it back.
    #[inline]
    pub(crate) unsafe fn frame(&self, address: u64, len: u32) -> Option<Frame<'_>> {
        let size = self.chunk.size();
        let address = usize::try_from(address).ok()?;
        let start = address & (size - 1);
        if address >= self.len() || len as usize > size - start {
            return None;
        }
        // SAFETY: checked to lie within the memory; the caller vouches for the rest.
        Some(unsafe { Frame::new(self.base.add(address - start), size as u16, start as u16, len as u16) })
    }

    /// How rings name the packet of `frame`; `None` if it is a chunk of other memory.
    #[inline]
    pub(crate) fn address(&self, frame: &Frame<'_>) -> Option<u64> {
        let chunk = (frame.chunk_ptr().as_ptr() as usize).wrapping_sub(self.base.as_ptr() as usize);
        if chunk < self.len() { Some((chunk + frame.start()) as u64) } else { None }
    }

    /// The registrations, for as long as one socket is being bound.
    pub(crate) fn registrations(&self) -> MutexGuard<'_, Vec<Registration>> {
        self.registrations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the memory known to the kernel as that of socket `fd`.
    pub(crate) fn register(&self, fd: BorrowedFd<'_>) -> io::Result<()> {
        debug_assert!(self.base.as_ptr() as usize + self.len() <= self.memory.end());
        let registration = libc::xdp_umem_reg {
            addr: self.base.as_ptr() as u64,
            len: self.len() as u64,
            chunk_size: self.chunk.size() as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        set_option(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &registration)
    }
}

impl Registration {
    /// The socket to share the memory of.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.owner.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_handed_out_once_and_do_not_overlap() {
        let umem = Umem::new(8, Chunk::Small).unwrap();
        let mut frames = umem.take_frames();
        assert_eq!(frames.len(), 8);
        assert!(umem.take_frames().is_empty());
        for (number, frame) in frames.iter_mut().enumerate() {
            assert_eq!((frame.len(), frame.start(), frame.chunk_size()), (0, 256, 2048));
            frame.chunk_mut().fill(number as u8);
        }
        for (number, frame) in frames.iter_mut().enumerate() {
            assert!(frame.chunk_mut().iter().all(|byte| usize::from(*byte) == number));
        }
    }

    #[test]
    fn a_packet_stays_within_its_chunk() {
        let umem = Umem::new(1, Chunk::Small).unwrap();
        let mut frame = umem.take_frames().remove(0);
        assert!(frame.set_range(0, 2048));
        assert!(frame.set_range(2048, 0));
        assert!(!frame.set_range(1, 2048));
        assert!(!frame.set_range(2049, 0));
        assert!(!frame.set_range(usize::MAX, 2));
        assert_eq!((frame.start(), frame.len()), (2048, 0));
    }

    #[test]
    fn rings_cannot_name_memory_outside() {
        let umem = Umem::new(2, Chunk::Small).unwrap();
        // SAFETY: the handles are the only ones, and each is forgotten before the next is made.
        unsafe {
            assert!(umem.frame(4095, 1).is_some());
            assert!(umem.frame(4095, 2).is_none());
            assert!(umem.frame(4096, 0).is_none());
            assert!(umem.frame(2048 + 300, 2048 - 299).is_none());
            assert!(umem.frame(u64::MAX, 0).is_none());
        }
        let other = Umem::new(1, Chunk::Small).unwrap();
        let frame = other.take_frames().remove(0);
        assert_eq!(umem.address(&frame), None, "a chunk of other memory");
        assert_eq!(other.address(&frame), Some(256));
    }

    #[test]
    fn sizes_follow_the_packets() {
        assert_eq!(Chunk::for_packets(1792), Some(Chunk::Small));
        assert_eq!(Chunk::for_packets(1793), Some(Chunk::Large));
        assert_eq!(Chunk::for_packets(3840), Some(Chunk::Large));
        assert_eq!(Chunk::for_packets(3841), None);
        assert!(Umem::new(0, Chunk::Small).is_err());
    }
}
