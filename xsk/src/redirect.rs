//! An XDP program that redirects frames to sockets by their receive queue, for programs that have none of their own: forwarders,
//! generators, tests.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use crate::socket::Socket;
use crate::sys;

/// The program on one interface. It leaves the interface when this is dropped.
#[derive(Debug)]
pub struct Redirect {
    map: OwnedFd,
    _program: OwnedFd,
    _link: OwnedFd,
}

impl Redirect {
    /// Attaches the program to `interface` in native mode, for receive queues 0 to `queues` - 1. Frames of queues without a
    /// socket go on to the kernel.
    ///
    /// # Errors
    /// There is no such interface, it has a program already, its driver has no native XDP, or privileges are missing (CAP_BPF,
    /// CAP_NET_ADMIN).
    pub fn attach(interface: &str, queues: u32) -> io::Result<Self> {
        const BPF_MAP_TYPE_XSKMAP: u32 = 17;
        const XDP_FLAGS_DRV_MODE: u32 = 4;
        let index = sys::interface_index(interface)?;
        let map = MapCreate {
            map_type: BPF_MAP_TYPE_XSKMAP,
            key_size: 4,
            value_size: 4,
            max_entries: queues,
            map_flags: 0,
        };
        let map = new_fd(Command::MapCreate, &map)?;
        let program = load(map.as_raw_fd())?;
        let link = LinkCreate {
            prog_fd: program.as_raw_fd(),
            target_ifindex: index,
            attach_type: BPF_XDP,
            flags: XDP_FLAGS_DRV_MODE,
        };
        let link = new_fd(Command::LinkCreate, &link)?;
        Ok(Self { map, _program: program, _link: link })
    }

    /// Sends the frames of the socket's queue to the socket, until it is dropped. It must be bound to the interface that this
    /// program is attached to.
    ///
    /// # Errors
    /// The queue was not announced at [`Redirect::attach`].
    pub fn insert(&self, socket: &Socket<'_>) -> io::Result<()> {
        let (key, value) = (socket.queue(), socket.as_fd().as_raw_fd());
        let update = MapUpdate {
            map_fd: self.map.as_fd().as_raw_fd(),
            reserved: 0,
            key: &raw const key as u64,
            value: &raw const value as u64,
            flags: 0,
        };
        // SAFETY: key and value live until the call returns, and are as long as the map says.
        unsafe { bpf(Command::MapUpdate, &update) }.map(|_| ())
    }
}

/// `BPF_XDP` of `enum bpf_attach_type`.
const BPF_XDP: u32 = 37;

/// Commands of `bpf(2)`.
#[derive(Clone, Copy)]
enum Command {
    MapCreate = 0,
    MapUpdate = 2,
    ProgramLoad = 5,
    LinkCreate = 28,
}

// The beginnings of `union bpf_attr` for each command (`include/uapi/linux/bpf.h`); the kernel takes the rest as zeros.

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
}

#[repr(C)]
struct MapUpdate {
    map_fd: RawFd,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgramLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

#[repr(C)]
struct LinkCreate {
    prog_fd: RawFd,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// `struct bpf_insn`.
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Loads `return bpf_redirect_map(map, ctx->rx_queue_index, XDP_PASS)`.
fn load(map: RawFd) -> io::Result<OwnedFd> {
    const BPF_PROG_TYPE_XDP: u32 = 6;
    const RX_QUEUE_INDEX: i16 = 16;
    const BPF_PSEUDO_MAP_FD: u8 = 1;
    const XDP_PASS: i32 = 2;
    const BPF_FUNC_REDIRECT_MAP: i32 = 51;
    let instruction = |code, destination: u8, source: u8, offset, immediate| Instruction {
        code,
        registers: if cfg!(target_endian = "little") {
            source << 4 | destination
        } else {
            destination << 4 | source
        },
        offset,
        immediate,
    };
    let program = [
        // r2 = ctx->rx_queue_index
        instruction(0x61, 2, 1, RX_QUEUE_INDEX, 0),
        // r1 = map, an instruction of double length
        instruction(0x18, 1, BPF_PSEUDO_MAP_FD, 0, map),
        instruction(0, 0, 0, 0, 0),
        // r3 = XDP_PASS
        instruction(0xb7, 3, 0, 0, XDP_PASS),
        // r0 = bpf_redirect_map(r1, r2, r3)
        instruction(0x85, 0, 0, 0, BPF_FUNC_REDIRECT_MAP),
        // return r0
        instruction(0x95, 0, 0, 0, 0),
    ];
    let attributes = ProgramLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    new_fd(Command::ProgramLoad, &attributes)
}

/// Carries out a command that makes something.
fn new_fd<T>(command: Command, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: pointers in the attributes of these commands are to memory that the caller keeps until this returns.
    let fd = unsafe { bpf(command, attributes)? };
    // SAFETY: the descriptor is new and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// Pointers in `attributes` must be valid for what the command does with them.
unsafe fn bpf<T>(command: Command, attributes: &T) -> io::Result<RawFd> {
    // SAFETY: the attributes are valid for their size; the caller vouches for the pointers within.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command as libc::c_long, std::ptr::from_ref(attributes), size_of::<T>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as RawFd) }
}
