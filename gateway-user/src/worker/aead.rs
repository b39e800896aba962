//! The AEAD in place (RFC 4106, RFC 7634).

use gateway_common::Job;
use gateway_common::wire::ESP_ICV_LEN;
use ring::aead::{Aad, LessSafeKey, Nonce};

/// Why a frame cannot be worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The description of the work does not fit the frame.
    Unfit,
    /// The integrity check value is wrong.
    Forged,
}

/// Encrypts what `job` describes in `frame`, which begins with the Ethernet header, and writes the ICV behind it. Returns
/// the length of the sealed frame in bytes.
///
/// # Errors
/// [`Failure::Unfit`].
#[inline]
pub(super) fn seal(frame: &mut [u8], job: &Job, key: &LessSafeKey) -> Result<usize, Failure> {
    let (start, end, aad) = layout(job)?;
    let (text, icv) = frame.split_at_mut_checked(end).ok_or(Failure::Unfit)?;
    let icv = icv.first_chunk_mut::<ESP_ICV_LEN>().ok_or(Failure::Unfit)?;
    let nonce = Nonce::assume_unique_for_key(job.nonce);
    let text = text.get_mut(start..).ok_or(Failure::Unfit)?;
    let tag = key.seal_in_place_separate_tag(nonce, Aad::from(aad), text).map_err(|_| Failure::Unfit)?;
    icv.copy_from_slice(tag.as_ref());
    Ok(end + ESP_ICV_LEN)
}

/// Checks the ICV of what `job` describes in `frame`, which begins with the Ethernet header, and decrypts it.
///
/// # Errors
/// A forged packet: its content is worthless then.
#[inline]
pub(super) fn open(frame: &mut [u8], job: &Job, key: &LessSafeKey) -> Result<(), Failure> {
    let (start, end, aad) = layout(job)?;
    let text = frame.get_mut(start..end + ESP_ICV_LEN).ok_or(Failure::Unfit)?;
    let nonce = Nonce::assume_unique_for_key(job.nonce);
    key.open_in_place(nonce, Aad::from(aad), text).map_err(|_| Failure::Forged)?;
    Ok(())
}

/// Start and end of the text, and the associated data.
#[inline]
fn layout(job: &Job) -> Result<(usize, usize, &[u8]), Failure> {
    let aad = job.aad.get(..job.aad_len as usize).ok_or(Failure::Unfit)?;
    // On machines of 64 bits, where XDP runs, the sum of two `u32` cannot overflow.
    let start = job.offset as usize;
    Ok((start, start + job.length as usize, aad))
}
