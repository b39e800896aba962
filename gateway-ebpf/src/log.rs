//! Log lines of the programs. Functions of their own, so that the programs need not keep room for them on their stacks.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::programs::XdpContext;
use aya_log_ebpf::debug;
use gateway_common::ip::{Words, from_words};

/// A packet to `destination` finds no outbound SA.
#[inline(always)]
pub(crate) fn no_outbound_sa(ctx: &XdpContext, destination: Words) {
    let [front, back] = destination;
    write_no_outbound_sa(ctx.as_ptr(), front, back);
}

/// ESP with the unknown SPI `spi`, network order, arrived from `source`.
#[inline(always)]
pub(crate) fn unknown_spi(ctx: &XdpContext, spi: [u8; 4], source: Words) {
    let [front, back] = source;
    write_unknown_spi(ctx.as_ptr(), u32::from_be_bytes(spi), front, back);
}

#[inline(never)]
fn write_no_outbound_sa(ctx: *mut core::ffi::c_void, front: u64, back: u64) {
    let ctx = XdpContext::new(ctx.cast());
    debug!(&ctx, "no outbound SA for {:i}", from_words([front, back]));
}

#[inline(never)]
fn write_unknown_spi(ctx: *mut core::ffi::c_void, spi: u32, front: u64, back: u64) {
    let ctx = XdpContext::new(ctx.cast());
    debug!(&ctx, "unknown SPI {:x} from {:i}", spi, from_words([front, back]));
}
