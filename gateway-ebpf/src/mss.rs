//! Announcements of maximum segment sizes, lowered to what a tunnel carries.

use aya_ebpf::bindings::xdp_md;
use aya_ebpf::helpers::generated::bpf_xdp_load_bytes;
use aya_ebpf::programs::XdpContext;
use gateway_common::limits::MAX_FRAME;
use gateway_common::mss::{
    self, CHECKSUM_AT, DATA_OFFSET_AT, END_OF_OPTIONS, FLAGS_AT, MAX_OPTIONS, MAXIMUM_SEGMENT_SIZE,
    NO_OPERATION, OPTION_LEN, SYN, TCP_LEN,
};
use gateway_common::wire::ETH_LEN;

use crate::maps::{CONFIG, TCP_OPTIONS, TUNNELS};
use crate::packet::at;
use crate::route::Family;

/// Largest offset that a masked one can be.
const MASK: usize = 63;

/// The options of a segment, outside the stack.
#[repr(C)]
pub(crate) struct TcpOptions {
    bytes: [u8; MASK + 1 + OPTION_LEN],
    /// Where the next one begins. In memory, so that the verifier knows nothing of it, and looks at the walk over them once per step and
    /// not once per step and offset.
    next: u32,
}

/// Lowers what the packet `ip`, which stands behind the Ethernet header, announces to what fits `tunnel`, if it is the first segment
/// of an end of a TCP connection. Options that are not as they should be end the walk over them, and stay.
#[inline(always)]
pub(crate) fn clamp<I: Family>(ctx: &XdpContext, ip: &I, tunnel: u32) {
    if mss::precedes_segment(ip) {
        let start = ETH_LEN as u32;
        let headers = (I::LEN + TCP_LEN) as u32;
        lower(ctx.ctx, start + ip.header_len(), start + ip.total_len(), headers, tunnel);
    }
}

/// A function of its own, because the stack of the programs that call it is full. The segment begins at `tcp_at` and ends at `end`.
#[inline(never)]
fn lower(ctx: *mut xdp_md, tcp_at: u32, end: u32, headers: u32, tunnel: u32) {
    let ctx = &XdpContext::new(ctx);
    let tcp_at = tcp_at as usize & MAX_FRAME;
    let Some(header) = at::<[u8; TCP_LEN]>(ctx, tcp_at) else { return };
    // SAFETY: lies within the frame.
    let (flags, header_len) =
        unsafe { ((*header)[FLAGS_AT], usize::from((*header)[DATA_OFFSET_AT] >> 4) * 4) };
    if flags & SYN == 0 || tcp_at + header_len > end as usize {
        return;
    }
    let (Some(config), Some(entry), Some(options)) =
        (CONFIG.get(0), TUNNELS.get(tunnel), TCP_OPTIONS.get_ptr_mut(0))
    else {
        return;
    };
    if config.mss_limit == mss::LEAVE {
        return;
    }
    let limit = mss::limit(config.mss_limit, entry.mtu, headers);
    let mut above_one = (header_len as u32).wrapping_sub(TCP_LEN as u32 + 1);
    if above_one >= MAX_OPTIONS as u32 {
        return;
    }
    // SAFETY: no instruction; the barrier keeps LLVM from checking another register than the one that is used.
    unsafe { core::arch::asm!("", inout("r2") above_one, options(nomem, nostack)) };
    let len = above_one + 1;
    // SAFETY: the map is per CPU and XDP does not preempt itself on one CPU; the helper checks that the frame has as many bytes.
    unsafe {
        let buffer = (&raw mut (*options).bytes).cast();
        if bpf_xdp_load_bytes(ctx.ctx, (tcp_at + TCP_LEN) as u32, buffer, len) != 0 {
            return;
        }
        (&raw mut (*options).next).write_volatile(0);
    }
    for _ in 0..MAX_OPTIONS {
        // SAFETY: as above; masked offsets lie within the buffer.
        unsafe {
            let next = (&raw const (*options).next).read_volatile();
            if next + OPTION_LEN as u32 > len {
                return;
            }
            let option_at = next as usize & MASK;
            let kind = byte(options, option_at);
            let mut option_len = 1;
            if kind == END_OF_OPTIONS {
                return;
            }
            if kind != NO_OPERATION {
                option_len = byte(options, option_at + 1);
                if option_len < 2 {
                    return;
                }
                if kind == MAXIMUM_SEGMENT_SIZE && usize::from(option_len) == OPTION_LEN {
                    let old = [byte(options, option_at + 2), byte(options, option_at + 3)];
                    if u32::from(u16::from_be_bytes(old)) > limit {
                        replace(ctx, tcp_at, tcp_at + TCP_LEN + option_at + 2, limit as u16);
                    }
                }
            }
            (&raw mut (*options).next).write_volatile(next + u32::from(option_len));
        }
    }
}

/// # Safety
/// `options` must be valid for reads, and `offset` below its length.
#[inline(always)]
unsafe fn byte(options: *const TcpOptions, offset: usize) -> u8 {
    // SAFETY: as the caller vouches.
    unsafe { (&raw const (*options).bytes).cast::<u8>().add(offset).read_volatile() }
}

/// Sets the field at `field_at` of the segment at `tcp_at`.
#[inline(always)]
fn replace(ctx: &XdpContext, tcp_at: usize, field_at: usize, new: u16) {
    let field = at::<[u8; 2]>(ctx, field_at & MAX_FRAME);
    let checksum = at::<[u8; 2]>(ctx, (tcp_at + CHECKSUM_AT) & MAX_FRAME);
    let (Some(field), Some(checksum)) = (field, checksum) else { return };
    let is_odd = (field_at - tcp_at) & 1 != 0;
    // SAFETY: both lie within the frame.
    unsafe {
        let old = u16::from_be_bytes(*field);
        let mended = mss::mended(u16::from_be_bytes(*checksum), old, new, is_odd);
        *field = new.to_be_bytes();
        *checksum = mended.to_be_bytes();
    }
}
