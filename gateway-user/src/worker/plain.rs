//! Structures of `gateway-common` in the bytes of a frame.

use gateway_common::Pod;

/// The `T` at the start of `bytes`, if there are enough.
#[inline]
pub(super) fn read<T: Pod>(bytes: &[u8]) -> Option<T> {
    if bytes.len() < size_of::<T>() {
        return None;
    }
    // SAFETY: enough bytes, and every bit pattern is a value of `T`.
    Some(unsafe { bytes.as_ptr().cast::<T>().read_unaligned() })
}

/// Writes `value` to the start of `bytes`; false, and nothing is written, if there is too little room.
#[inline]
#[must_use]
pub(super) fn write<T: Pod>(bytes: &mut [u8], value: &T) -> bool {
    if bytes.len() < size_of::<T>() {
        return false;
    }
    // SAFETY: enough room; the value has no padding, so all its bytes are initialised.
    unsafe { bytes.as_mut_ptr().cast::<T>().write_unaligned(*value) };
    true
}
