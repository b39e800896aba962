//! Frames that this worker has the kernel make, for an XDP program to fill them with finished ones: so many leave at once, and as
//! cheaply as in place of frames that arrive.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};
use gateway_common::{Slot, limits};

use super::config::WorkerConfig;

/// What a worker says that has to do without.
pub(super) const NO_DEPARTURE: &str = "the kernel makes no frames, so that each is sent by itself";

/// Command `BPF_PROG_TEST_RUN` of system call bpf(2).
pub(super) const PROG_TEST_RUN: u32 = 10;
/// Flag `BPF_F_TEST_XDP_LIVE_FRAMES`, since Linux 5.18: what the program redirects is sent
/// (`Documentation/bpf/bpf_prog_run.rst` of the kernel).
const LIVE_FRAMES: u32 = 2;
/// Frames that the kernel makes before it lets whoever receives them work on them. The rings of veth hold eight times as many, and
/// lose what comes beyond that.
const BATCH: u32 = 32;

/// Command `BPF_OBJ_GET` of bpf(2).
const OBJ_GET: u32 = 7;

/// The program, and the frame that it is run on.
pub(super) struct Departure {
    program: OwnedFd,
    vgw0_peer: u32,
    /// As many bytes as a frame for the last lane has.
    template: Vec<u8>,
}

/// `struct xdp_md` of `linux/bpf.h`.
#[repr(C)]
struct Context {
    data: u32,
    data_end: u32,
    data_meta: u32,
    ingress_ifindex: u32,
    rx_queue_index: u32,
    egress_ifindex: u32,
}

/// The fields of `union bpf_attr` of `linux/bpf.h` for [`PROG_TEST_RUN`].
#[repr(C)]
#[derive(Default)]
struct Attributes {
    program: u32,
    result: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// The fields of `union bpf_attr` for [`OBJ_GET`].
#[repr(C)]
#[derive(Default)]
struct ObjectAttributes {
    path: u64,
    descriptor: u32,
    flags: u32,
}

impl Departure {
    /// Takes the program that is pinned in `directory`, for frames that seem to arrive at interface `vgw0_peer`.
    ///
    /// # Errors
    /// There is none, or the kernel refuses.
    pub(super) fn open(directory: &Path, vgw0_peer: u32) -> Result<Self> {
        let path = directory.join(WorkerConfig::PROGRAM);
        let failed = || format!("cannot open program {}", path.display());
        let name = CString::new(path.as_os_str().as_bytes()).with_context(failed)?;
        let attributes =
            ObjectAttributes { path: name.as_ptr().expose_provenance() as u64, ..Default::default() };
        // SAFETY: the structure is that of the command, and the path outlives the call.
        let fd = unsafe { bpf(OBJ_GET, &attributes) }.with_context(failed)?;
        // SAFETY: the descriptor was just opened and belongs to nobody else.
        let program = unsafe { OwnedFd::from_raw_fd(fd) };
        let template = vec![0; (Slot::DEPARTURE + limits::LANES) as usize];
        Ok(Self { program, vgw0_peer, template })
    }

    /// Lets up to `frames` finished frames of `lane` leave.
    ///
    /// # Errors
    /// The kernel refuses; [`is_passing`] tells whether it may not do so again.
    pub(super) fn run(&mut self, lane: u32, frames: u64) -> io::Result<()> {
        let len = (Slot::DEPARTURE + lane).min(self.template.len() as u32);
        let context = Context {
            data: 0,
            data_end: len,
            data_meta: 0,
            ingress_ifindex: self.vgw0_peer,
            rx_queue_index: 0,
            egress_ifindex: 0,
        };
        let frames = u32::try_from(frames).unwrap_or(u32::MAX);
        let attributes = Attributes {
            program: self.program.as_raw_fd().cast_unsigned(),
            data_size_in: len,
            data_in: self.template.as_ptr().expose_provenance() as u64,
            repeat: frames,
            context_size_in: size_of::<Context>() as u32,
            context_in: (&raw const context).expose_provenance() as u64,
            flags: LIVE_FRAMES,
            batch_size: frames.min(BATCH),
            ..Attributes::default()
        };
        // SAFETY: the structure is that of the command, and what it points to outlives the call, which only reads it.
        unsafe { bpf(PROG_TEST_RUN, &attributes) }.map(drop)
    }
}

/// Whether a failure of [`Departure::run`] says nothing about the next time: a signal, or want of memory or of identifiers for it.
pub(super) fn is_passing(error: &io::Error) -> bool {
    let passing = [libc::EINTR, libc::EAGAIN, libc::EBUSY, libc::ENOMEM, libc::ENOSPC, libc::ENFILE];
    error.raw_os_error().is_some_and(|number| passing.contains(&number))
}

/// System call bpf(2).
///
/// # Safety
/// `attributes` must be what `command` takes, and what they point to must be valid.
unsafe fn bpf<T>(command: u32, attributes: &T) -> io::Result<RawFd> {
    // SAFETY: as the caller vouches.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as RawFd) }
}
