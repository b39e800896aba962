//! AES-GCM with a 16-byte ICV for ESP (RFC 4106, NIST SP 800-38D section 7).

use aya_ebpf::macros::xdp;
use aya_ebpf::programs::XdpContext;
use gateway_common::DropReason;

use crate::maps::GHASH;

use super::aes::AesCtr;
use super::ghash::Ghash;
use super::pass::{Hash as _, KeyStream as _, authenticate, encrypt};
use super::task::Task;

/// Rounds of AES-128 (FIPS 197 section 5).
const AES128_ROUNDS: usize = 10;
/// Rounds of AES-256 (FIPS 197 section 5).
const AES256_ROUNDS: usize = 14;

/// Seals the payload of the job.
#[xdp]
pub(crate) fn seal_aes128_gcm(ctx: XdpContext) -> u32 {
    seal::<AES128_ROUNDS>(ctx).unwrap_or_else(|verdict| verdict)
}

/// Opens the payload of the job.
#[xdp]
pub(crate) fn open_aes128_gcm(ctx: XdpContext) -> u32 {
    open::<AES128_ROUNDS>(ctx).unwrap_or_else(|verdict| verdict)
}

/// Seals the payload of the job.
#[xdp]
pub(crate) fn seal_aes256_gcm(ctx: XdpContext) -> u32 {
    seal::<AES256_ROUNDS>(ctx).unwrap_or_else(|verdict| verdict)
}

/// Opens the payload of the job.
#[xdp]
pub(crate) fn open_aes256_gcm(ctx: XdpContext) -> u32 {
    open::<AES256_ROUNDS>(ctx).unwrap_or_else(|verdict| verdict)
}

#[inline(always)]
fn seal<const ROUNDS: usize>(ctx: XdpContext) -> Result<u32, u32> {
    let task = Task::begin(ctx)?;
    let mut hash = keyed_hash(&task)?;
    // SAFETY: the SA's key has room for the words of any AES key.
    let mut stream = unsafe { AesCtr::<ROUNDS>::new(task.sa.key.as_ptr()) };
    stream.start(&task.job.nonce);
    stream.fill(0);
    let mask = tag_mask(&stream);
    if !encrypt(task.ctx.ctx, task.offset, task.length, &mut stream) {
        return Err(task.malformed());
    }
    match icv(&task, &mut hash, mask) {
        Some(icv) if task.write_icv(icv) => Ok(task.finish()),
        _ => Err(task.malformed()),
    }
}

#[inline(always)]
fn open<const ROUNDS: usize>(ctx: XdpContext) -> Result<u32, u32> {
    let task = Task::begin(ctx)?;
    let mut hash = keyed_hash(&task)?;
    // SAFETY: the SA's key has room for the words of any AES key.
    let mut stream = unsafe { AesCtr::<ROUNDS>::new(task.sa.key.as_ptr()) };
    stream.start(&task.job.nonce);
    stream.fill(0);
    let mask = tag_mask(&stream);
    let icv = icv(&task, &mut hash, mask).ok_or_else(|| task.malformed())?;
    if !task.icv_matches(icv) {
        return Err(task.reject());
    }
    if !encrypt(task.ctx.ctx, task.offset, task.length, &mut stream) {
        return Err(task.malformed());
    }
    Ok(task.finish())
}

/// GHASH with the key of the job's SA.
#[inline(always)]
fn keyed_hash(task: &Task) -> Result<Ghash, u32> {
    match GHASH.get(task.job.sa) {
        Some(tables) => Ok(Ghash::new(tables)),
        None => Err(task.refuse(DropReason::Internal)),
    }
}

/// The block of key stream that masks the tag: that of counter 1, the first of the buffer.
#[inline(always)]
fn tag_mask<const ROUNDS: usize>(stream: &AesCtr<ROUNDS>) -> [u64; 2] {
    // SAFETY: the buffer is longer.
    unsafe { *stream.buffer().cast() }
}

/// The ICV over AAD and ciphertext (NIST SP 800-38D section 7.1).
#[inline(always)]
fn icv(task: &Task, hash: &mut Ghash, mask: [u64; 2]) -> Option<[u64; 2]> {
    hash.absorb(&task.aad_block());
    if !authenticate(task.ctx.ctx, task.offset, task.length, hash) {
        return None;
    }
    hash.absorb(&[(u64::from(task.job.aad_len) * 8).to_be(), (u64::from(task.length) * 8).to_be()]);
    let sum = hash.sum();
    Some([sum[0] ^ mask[0], sum[1] ^ mask[1]])
}
