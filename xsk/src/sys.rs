//! System calls, as small safe functions.

use std::ffi::{CString, c_int, c_void};
use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr::{NonNull, null_mut};

/// Most frames that one call sends in copy mode (`include/uapi/linux/if_xdp.h`, Linux 6.17).
pub(crate) const XDP_MAX_TX_SKB_BUDGET: c_int = 9;

/// Types that are passed to and from the kernel as they are.
///
/// # Safety
/// Every bit pattern must be a value, and no byte may be padding.
pub(crate) unsafe trait Plain: Copy {}
// SAFETY: integers.
unsafe impl Plain for c_int {}
// SAFETY: integers.
unsafe impl Plain for u32 {}
// SAFETY: integers only, 32 bytes without padding.
unsafe impl Plain for libc::xdp_umem_reg {}
// SAFETY: integers only.
unsafe impl Plain for libc::xdp_mmap_offsets {}
// SAFETY: integers only.
unsafe impl Plain for libc::xdp_statistics {}
// SAFETY: one integer.
unsafe impl Plain for libc::xdp_options {}

/// A new AF_XDP socket.
pub(crate) fn xdp_socket() -> io::Result<OwnedFd> {
    // SAFETY: no pointer is passed.
    let fd = unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
    check(fd)?;
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets an option of a socket.
pub(crate) fn set_option<T: Plain>(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &T,
) -> io::Result<()> {
    let len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer is valid for reads of `len` bytes.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, std::ptr::from_ref(value).cast(), len) })
}

/// Reads an option of a socket.
pub(crate) fn option<T: Plain>(fd: BorrowedFd<'_>, level: c_int, name: c_int) -> io::Result<T> {
    // Older kernels write less than all of it.
    let mut value = MaybeUninit::<T>::zeroed();
    let mut len = size_of::<T>() as libc::socklen_t;
    // SAFETY: the pointer is valid for writes of `len` bytes.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, value.as_mut_ptr().cast(), &raw mut len) })?;
    // SAFETY: initialised by zeros, and every bit pattern is a value.
    Ok(unsafe { value.assume_init() })
}

/// Binds a socket to a queue.
pub(crate) fn bind(fd: BorrowedFd<'_>, address: &libc::sockaddr_xdp) -> io::Result<()> {
    let len = size_of::<libc::sockaddr_xdp>() as libc::socklen_t;
    // SAFETY: the address is valid for `len` bytes.
    check(unsafe { libc::bind(fd.as_raw_fd(), std::ptr::from_ref(address).cast(), len) })
}

/// Makes the kernel look at the send ring (copy mode: sends from it).
pub(crate) fn kick_tx(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: a message of no bytes; no pointer is read.
    let sent =
        unsafe { libc::sendto(fd.as_raw_fd(), null_mut(), 0, libc::MSG_DONTWAIT, std::ptr::null(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes the driver look at the fill ring.
pub(crate) fn kick_rx(fd: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: room for no bytes; no pointer is written.
    let received =
        unsafe { libc::recvfrom(fd.as_raw_fd(), null_mut(), 0, libc::MSG_DONTWAIT, null_mut(), null_mut()) };
    if received < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Index of an interface of this network namespace.
pub(crate) fn interface_index(name: &str) -> io::Result<u32> {
    let name = CString::new(name).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
    // SAFETY: a string that ends with zero.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(io::Error::last_os_error()),
        index => Ok(index),
    }
}

/// Memory mapped into this process.
#[derive(Debug)]
pub(crate) struct Mapping {
    base: NonNull<c_void>,
    len: usize,
}

// SAFETY: a mapping is memory like any other, owned by this value.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Anonymous memory, zeroed.
    pub(crate) fn anonymous(len: usize) -> io::Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice disturbs nothing.
        let base = unsafe {
            let (protection, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
            libc::mmap(null_mut(), len, protection, flags, -1, 0)
        };
        Self::checked(base, len)
    }

    /// A ring of a socket.
    pub(crate) fn ring(fd: BorrowedFd<'_>, len: usize, offset: libc::off_t) -> io::Result<Self> {
        // SAFETY: as above; the kernel shares the pages, which are accessed as the ring protocol says.
        let base = unsafe {
            let (protection, flags) =
                (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_POPULATE);
            libc::mmap(null_mut(), len, protection, flags, fd.as_raw_fd(), offset)
        };
        Self::checked(base, len)
    }

    /// Start of the memory.
    pub(crate) fn base(&self) -> NonNull<u8> {
        self.base.cast()
    }

    /// Address behind the last byte.
    pub(crate) fn end(&self) -> usize {
        self.base.as_ptr() as usize + self.len
    }

    /// Gives the kernel an advice of `madvise(2)` about all of it.
    pub(crate) fn advise(&self, advice: c_int) -> io::Result<()> {
        // SAFETY: the memory is this value's own; the advices used here do not change its content.
        check(unsafe { libc::madvise(self.base.as_ptr(), self.len, advice) })
    }

    fn checked(base: *mut c_void, len: usize) -> io::Result<Self> {
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base: NonNull::new(base).ok_or(io::ErrorKind::OutOfMemory)?, len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by this value; whoever holds pointers into it borrows from it.
        unsafe { libc::munmap(self.base.as_ptr(), self.len) };
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
