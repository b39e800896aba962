//! ChaCha20-Poly1305 for ESP (RFC 8439 section 2.8, RFC 7634).

use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;

use super::chacha20::ChaCha20;
use super::pass::{Hash, KeyStream, authenticate, encrypt};
use super::poly1305::Poly1305;
use super::task::Task;

/// Seals the payload of the job.
#[xdp]
pub(crate) fn seal_chacha20_poly1305(ctx: XdpContext) -> u32 {
    let task = match Task::begin(ctx) {
        Ok(task) => task,
        Err(verdict) => return verdict,
    };
    let mut stream = ChaCha20::new(&task.sa.key, task.nonce());
    stream.fill(0);
    // SAFETY: the buffer has more than 32 bytes; block 0 is the one-time key (RFC 8439 section 2.6).
    let mut hash = unsafe { Poly1305::new(stream.buffer()) };
    if !encrypt(task.ctx.ctx, task.offset, task.length, &mut stream) {
        return task.malformed();
    }
    match icv(&task, &mut hash) {
        Some(icv) if task.write_icv(icv) => task.finish(),
        _ => task.malformed(),
    }
}

/// Opens the payload of the job.
#[xdp]
pub(crate) fn open_chacha20_poly1305(ctx: XdpContext) -> u32 {
    let task = match Task::begin(ctx) {
        Ok(task) => task,
        Err(verdict) => return verdict,
    };
    let mut stream = ChaCha20::new(&task.sa.key, task.nonce());
    stream.fill(0);
    // SAFETY: the buffer has more than 32 bytes; block 0 is the one-time key (RFC 8439 section 2.6).
    let mut hash = unsafe { Poly1305::new(stream.buffer()) };
    let Some(icv) = icv(&task, &mut hash) else { return task.malformed() };
    if !task.icv_matches(icv) {
        return task.reject();
    }
    if !encrypt(task.ctx.ctx, task.offset, task.length, &mut stream) {
        return task.malformed();
    }
    task.finish()
}

/// The ICV over AAD and ciphertext (RFC 8439 section 2.8).
#[inline(always)]
fn icv(task: &Task, hash: &mut Poly1305) -> Option<[u64; 2]> {
    hash.absorb(&task.aad_block());
    if !authenticate(task.ctx.ctx, task.offset, task.length, hash) {
        return None;
    }
    hash.absorb(&[u64::from(task.job.aad_len), u64::from(task.length)]);
    Some(hash.tag())
}
