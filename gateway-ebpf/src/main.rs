//! XDP programs of the gateway.
//!
//! `gateway` is attached to every interface. It classifies a frame, does everything up to the AEAD, and tail-calls one of the
//! programs in [`crypto`], which tail-call [`encap::encap_done`] or [`decap::decap_done`]. Where a worker is ready, it gets the
//! frame instead; what a worker cannot finish it sends to [`returned::returned`] on `vgw0`:
//!
//! ```text
//! gateway ─ encap ─► seal_* ─► encap_done ─► redirect
//!         ├ decap ─► open_* ─► decap_done ─► redirect
//!         ├ lane ──► AF_XDP socket ─► worker ─► AF_XDP socket
//!         │                              └─► vgw0: returned ─► redirect
//!         └ fragments ─► kernel ─► agent ───► vgw0: returned ─► reassembled ─► open_* …
//! ```
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod atomic;
mod budget;
mod capture;
mod checksum;
mod crypto;
mod decap;
mod drop;
mod encap;
mod entry;
mod event;
mod exchange;
mod flows;
mod icmp;
mod lane;
mod log;
mod maps;
mod mss;
mod packet;
mod port_entropy;
mod reassembled;
mod replay;
mod resize;
mod returned;
mod route;
mod sa;
mod way;

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // SAFETY: the verifier refuses a program that could reach this, so it is unreachable in a loaded program.
    unsafe { core::hint::unreachable_unchecked() }
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
