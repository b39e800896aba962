//! Takes fields off the front of a slice.

use crate::wire::ParseError;

pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(octets: &'a [u8]) -> Self {
        Self(octets)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], ParseError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(ParseError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(ParseError::Truncated)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(super) fn u8(&mut self) -> Result<u8, ParseError> {
        self.array::<1>().map(|[octet]| octet)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ParseError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ParseError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, ParseError> {
        self.array().map(u64::from_be_bytes)
    }

    /// Everything that is left.
    pub(super) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    /// A structure whose 16-bit length was just read and counts `already_read` octets in front of it.
    pub(super) fn nested(&mut self, length: u16, already_read: usize) -> Result<Self, ParseError> {
        let len = usize::from(length).checked_sub(already_read).ok_or(ParseError::Invalid("length"))?;
        self.take(len).map(Self)
    }

    pub(super) fn finish(&self) -> Result<(), ParseError> {
        if self.0.is_empty() { Ok(()) } else { Err(ParseError::TrailingOctets) }
    }
}

/// Appends a structure written by `write` and stores its length, which counts from `out`'s present end, in the two
/// octets at `length_at` octets from there.
pub(super) fn with_length(out: &mut Vec<u8>, length_at: usize, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    write(out);
    let length = u16::try_from(out.len() - start).expect("structures built here are shorter than 64 KiB");
    out[start + length_at..][..2].copy_from_slice(&length.to_be_bytes());
}
