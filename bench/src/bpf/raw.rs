//! The few system calls of bpf(2) that benchmarks need for XDP programs of a dozen instructions, without a compiler.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use anyhow::{Context as _, Result};
use nix::errno::Errno;

const MAP_CREATE: libc::c_long = 0;
const MAP_LOOKUP_ELEM: libc::c_long = 1;
const PROG_LOAD: libc::c_long = 5;
const PROG_TEST_RUN: libc::c_long = 10;
const LINK_CREATE: libc::c_long = 28;

const MAP_TYPE_ARRAY: u32 = 2;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
/// Frames that the kernel injects between two flushes, as a driver's receive loop does.
const BATCH: u32 = 64;

/// One instruction (`struct bpf_insn`): operation, destination and source register, offset, immediate value.
#[derive(Clone, Copy)]
pub(super) struct Instruction(pub(super) u8, pub(super) u8, pub(super) u8, pub(super) i16, pub(super) i32);

/// Number of helper `bpf_redirect` (`include/uapi/linux/bpf.h`).
pub(super) const REDIRECT: i32 = 23;
/// Number of helper `bpf_xdp_adjust_tail`.
pub(super) const ADJUST_TAIL: i32 = 65;
/// Verdict "drop".
pub(super) const XDP_DROP: i32 = 1;
/// Verdict "pass".
pub(super) const XDP_PASS: i32 = 2;

impl Instruction {
    /// `register = value`.
    pub(super) const fn set(register: u8, value: i32) -> Self {
        Self(0xb7, register, 0, 0, value)
    }

    /// Calls a helper.
    pub(super) const fn call(helper: i32) -> Self {
        Self(0x85, 0, 0, 0, helper)
    }

    /// Returns register 0.
    pub(super) const fn exit() -> Self {
        Self(0x95, 0, 0, 0, 0)
    }

    /// `register = address of the numbers of map`.
    pub(super) fn load_address(register: u8, map: &Map) -> [Self; 2] {
        [Self(0x18, register, 2, 0, map.descriptor.as_raw_fd()), Self(0, 0, 0, 0, 0)]
    }

    fn encode(self) -> u64 {
        let Self(operation, destination, source, offset, immediate) = self;
        u64::from(operation)
            | u64::from(destination) << 8
            | u64::from(source) << 12
            | u64::from(offset.cast_unsigned()) << 16
            | u64::from(immediate.cast_unsigned()) << 32
    }
}

/// A few numbers of 64 bits that programs and this process share.
pub(crate) struct Map {
    descriptor: OwnedFd,
    numbers: usize,
}

impl Map {
    /// One number.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub(crate) fn counter() -> Result<Self> {
        Self::counters(1)
    }

    /// So many numbers. They are one value of an array map: only that has an address that programs can be given.
    ///
    /// # Errors
    /// The kernel refuses it.
    pub(crate) fn counters(numbers: usize) -> Result<Self> {
        let value_size = (numbers * size_of::<u64>()) as u32;
        let mut attributes =
            MapCreate { kind: MAP_TYPE_ARRAY, key_size: 4, value_size, entries: 1, flags: 0 };
        // SAFETY: no pointers; the command returns a descriptor.
        let descriptor = unsafe { new_descriptor(MAP_CREATE, &mut attributes) };
        Ok(Self { descriptor: descriptor.context("cannot make a map (root is needed)")?, numbers })
    }

    /// The first number.
    ///
    /// # Errors
    /// The kernel refuses the look-up.
    pub(crate) fn count(&self) -> Result<u64> {
        Ok(self.counts()?[0])
    }

    /// All numbers.
    ///
    /// # Errors
    /// The kernel refuses the look-up.
    pub(crate) fn counts(&self) -> Result<Vec<u64>> {
        let (key, mut value) = (0_u32, vec![0_u64; self.numbers]);
        let mut attributes = Element {
            map: self.descriptor.as_raw_fd().cast_unsigned(),
            padding: 0,
            key: (&raw const key).expose_provenance() as u64,
            value: value.as_mut_ptr().expose_provenance() as u64,
            flags: 0,
        };
        // SAFETY: key and value outlive the call and have the sizes that the map was made with.
        unsafe { bpf(MAP_LOOKUP_ELEM, &mut attributes) }.context("cannot read counters")?;
        Ok(value)
    }
}

impl AsFd for Map {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// An XDP program in the kernel.
pub(crate) struct Program(OwnedFd);

/// Keeps a program attached to its interface.
pub(crate) struct Link {
    _descriptor: OwnedFd,
}

impl Program {
    /// Loads a program.
    ///
    /// # Errors
    /// The kernel refuses it; the message holds the verifier's log.
    pub(super) fn load(instructions: &[Instruction]) -> Result<Self> {
        let code: Vec<u64> = instructions.iter().map(|instruction| instruction.encode()).collect();
        let mut log = vec![0_u8; 1 << 16];
        let mut attributes = ProgLoad {
            kind: PROG_TYPE_XDP,
            count: code.len() as u32,
            instructions: code.as_ptr().expose_provenance() as u64,
            license: c"Dual MIT/GPL".as_ptr().expose_provenance() as u64,
            log_level: 1,
            log_size: log.len() as u32,
            log: log.as_mut_ptr().expose_provenance() as u64,
            kernel_version: 0,
            flags: 0,
        };
        // SAFETY: the code, the licence and the log outlive the call; the command returns a descriptor.
        let result = unsafe { new_descriptor(PROG_LOAD, &mut attributes) };
        result.map(Self).with_context(|| {
            let end = log.iter().position(|byte| *byte == 0).unwrap_or(log.len());
            format!("the kernel refuses an XDP program: {}", String::from_utf8_lossy(&log[..end]))
        })
    }

    /// Attaches the program, in native mode, to `interface` of the calling thread's network namespace.
    ///
    /// # Errors
    /// There is no such interface, or its driver refuses.
    pub(crate) fn attach(&self, interface: &str) -> Result<Link> {
        self.attach_in_mode(interface, XDP_FLAGS_DRV_MODE)
    }

    /// As [`Self::attach`], but in generic mode, which asks nothing of the driver.
    ///
    /// # Errors
    /// There is no such interface, or it has a program.
    pub(crate) fn attach_generic(&self, interface: &str) -> Result<Link> {
        self.attach_in_mode(interface, XDP_FLAGS_SKB_MODE)
    }

    fn attach_in_mode(&self, interface: &str, flags: u32) -> Result<Link> {
        let mut attributes = LinkCreate {
            program: self.0.as_raw_fd().cast_unsigned(),
            interface: nix::net::if_::if_nametoindex(interface)
                .with_context(|| format!("no interface {interface}"))?,
            attach_type: ATTACH_XDP,
            flags,
        };
        // SAFETY: no pointers; the command returns a descriptor.
        let descriptor = unsafe { new_descriptor(LINK_CREATE, &mut attributes) };
        let descriptor = descriptor.with_context(|| format!("{interface} refuses an XDP program"))?;
        Ok(Link { _descriptor: descriptor })
    }

    /// Runs the program on a copy of `frame`. Returns the time that the kernel measured, in ns.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn run(&self, frame: &[u8]) -> Result<f64> {
        let mut attributes = TestRun {
            program: self.0.as_raw_fd().cast_unsigned(),
            data_size_in: frame.len() as u32,
            data_in: frame.as_ptr().expose_provenance() as u64,
            repeat: 1,
            ..TestRun::default()
        };
        // SAFETY: the frame outlives the call.
        unsafe { bpf(PROG_TEST_RUN, &mut attributes) }.context("the kernel refuses to run an XDP program")?;
        Ok(f64::from(attributes.duration))
    }

    /// Runs the program on `count` live frames that begin as copies of `frame`: what it redirects is really sent. The
    /// calling thread works until the last one is out of its hands, its namespace is the one that counts. What others
    /// wrote into a frame is still there when the kernel uses the memory again.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn inject(&self, frame: &[u8], count: u32) -> Result<()> {
        let mut attributes = TestRun {
            program: self.0.as_raw_fd().cast_unsigned(),
            data_size_in: frame.len() as u32,
            data_in: frame.as_ptr().expose_provenance() as u64,
            repeat: count,
            flags: TEST_XDP_LIVE_FRAMES,
            batch_size: BATCH,
            ..TestRun::default()
        };
        // SAFETY: the frame outlives the call.
        let result = unsafe { bpf(PROG_TEST_RUN, &mut attributes) };
        result.map(|_| ()).context("the kernel refuses to run an XDP program on live frames")
    }
}

/// Fields of `union bpf_attr` for `BPF_MAP_CREATE`.
#[repr(C)]
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
    flags: u32,
}

/// Fields of `union bpf_attr` for the commands on elements of maps.
#[repr(C)]
struct Element {
    map: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Fields of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct ProgLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
}

/// Fields of `union bpf_attr` for `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkCreate {
    program: u32,
    interface: u32,
    attach_type: u32,
    flags: u32,
}

/// Fields of `union bpf_attr` for `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    program: u32,
    return_value: u32,
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

/// # Safety
/// As for [`bpf`]; and `command` must be one that returns a new descriptor.
unsafe fn new_descriptor<T>(command: libc::c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the caller vouches for the attributes.
    let descriptor = unsafe { bpf(command, attributes) }?;
    // SAFETY: the caller vouches that the command returned a new descriptor, which nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// # Safety
/// `attributes` must be the fields of `union bpf_attr` that `command` reads, and pointers among them must be valid.
unsafe fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<libc::c_int> {
    // SAFETY: the kernel reads and writes `size_of::<T>()` bytes of `attributes`; the caller vouches for the pointers inside.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    Ok(Errno::result(result)? as libc::c_int)
}
