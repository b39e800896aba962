//! The UDP checksum of sealed packets over IPv6.

use aya_ebpf::helpers::generated::bpf_csum_diff;
use aya_ebpf::programs::XdpContext;
use gateway_common::limits::MAX_FRAME;
use gateway_common::wire::{ETH_LEN, IPV6_LEN, PROTO_UDP};

use crate::packet::{Udp, at};

/// Bytes that one call of the kernel's helper sums up.
const CHUNK: usize = 64;
/// Source and destination address, the end of the IPv6 header.
const ADDRESSES: usize = 32;
/// Where the UDP header begins.
const UDP_AT: usize = ETH_LEN + IPV6_LEN;

/// Computes the UDP checksum (RFC 768, pseudo-header of RFC 8200 section 8.1) of the frame, which holds an IPv6 and a UDP header whose
/// checksum is 0, and as many bytes as they say. `None` if the frame is too short for that.
#[inline(always)]
pub(crate) fn complete_udp6(ctx: &XdpContext) -> Option<()> {
    let udp = at::<Udp>(ctx, UDP_AT)?;
    // SAFETY: lies within the frame.
    let len = u32::from(u16::from_be_bytes(unsafe { (*udp).len }));
    // Length and protocol of the pseudo-header, as the words that the helper sums up: in network order.
    let mut sum = (len.to_be()).wrapping_add(u32::from(PROTO_UDP).to_be());
    if sum < len.to_be() {
        sum += 1;
    }
    // The addresses stand before the UDP header, and are summed up with it.
    let mut offset = UDP_AT - ADDRESSES;
    let end = UDP_AT + len as usize;
    for _ in 0..MAX_FRAME / CHUNK {
        if offset + CHUNK > end {
            break;
        }
        sum = add::<CHUNK>(ctx, offset, sum)?;
        offset += CHUNK;
    }
    for _ in 0..CHUNK / 4 {
        if offset + 4 > end {
            break;
        }
        sum = add::<4>(ctx, offset, sum)?;
        offset += 4;
    }
    // ESP is padded to four bytes, and so is all that is summed up.
    if offset != end {
        return None;
    }
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !((folded & 0xffff) + (folded >> 16)) as u16;
    let udp = at::<Udp>(ctx, UDP_AT)?;
    // Zero would say that there is no checksum.
    // SAFETY: lies within the frame. The sum is in network order as it is.
    unsafe { (*udp).checksum = if checksum == 0 { [0xff; 2] } else { checksum.to_ne_bytes() } };
    Some(())
}

/// `sum` and the words of `LEN` bytes at `offset`.
#[inline(always)]
fn add<const LEN: usize>(ctx: &XdpContext, offset: usize, sum: u32) -> Option<u32> {
    let bytes = at::<[u8; LEN]>(ctx, offset & MAX_FRAME)?;
    // SAFETY: the bytes lie within the frame; the helper only reads them.
    let sum = unsafe { bpf_csum_diff(core::ptr::null_mut(), 0, bytes.cast(), LEN as u32, sum) };
    u32::try_from(sum).ok()
}
