//! The one payload of a protected message: SK, or SKF of a fragment (RFC 7296 §3.14, RFC 7383 §2.5, RFC 5282 §3).

use zeroize::Zeroizing;

use crate::crypto::{CryptoError, SkAlgorithms, SkCipher};
use crate::wire::message::{HEADER_LEN, Header, write_length};
use crate::wire::reader::Reader;
use crate::wire::{OpenError, ParseError, PayloadType};

const GENERIC_HEADER_LEN: usize = 4;

/// What stands in front of the IV, all of it authenticated.
pub(super) struct Outside<'a> {
    pub(super) header: &'a Header,
    /// SK or SKF.
    pub(super) kind: PayloadType,
    /// Type of the first payload inside.
    pub(super) first: PayloadType,
    /// What follows the generic header of the payload.
    pub(super) fields: &'a [u8],
}

/// The message whose only payload protects `content`. `number` must never repeat for this key.
pub(super) fn seal_content(cipher: &SkCipher, number: u64, outside: &Outside<'_>, content: &[u8]) -> Vec<u8> {
    let body_len = cipher.algorithms().body_len(content.len());
    let payload_len = GENERIC_HEADER_LEN + outside.fields.len() + body_len;
    let mut out = Vec::new();
    outside.header.encode(outside.kind, &mut out);
    write_length(&mut out, HEADER_LEN + payload_len);
    out.extend([outside.first.0, 0]);
    out.extend(u16::try_from(payload_len).expect("messages built here fit a datagram").to_be_bytes());
    out.extend(outside.fields);
    let body = cipher.seal(number, &out, content);
    out.extend(body);
    out
}

/// Octets of the longest content that a message of `largest` octets has room for, with `fields` octets behind the
/// generic header; `None` when there is none.
pub(super) fn largest_content(algorithms: SkAlgorithms, fields: usize, largest: usize) -> Option<usize> {
    algorithms.largest_content(largest.checked_sub(HEADER_LEN + GENERIC_HEADER_LEN + fields)?)
}

/// The payload of a protected message, not yet opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sealed<'a> {
    pub(super) first: PayloadType,
    /// What follows the generic header.
    pub(super) fields: &'a [u8],
    aad: &'a [u8],
    body: &'a [u8],
}

impl<'a> Sealed<'a> {
    /// Parses a message whose only payload is of type `kind`, with `fields_len` octets behind its generic header. Any
    /// other gives [`ParseError::Protection`].
    pub(super) fn parse(
        datagram: &'a [u8],
        kind: PayloadType,
        fields_len: usize,
    ) -> Result<(Header, Self), ParseError> {
        let (header, outer) = Header::parse(datagram)?;
        if outer != kind {
            return Err(ParseError::Protection);
        }
        let mut reader = Reader::new(&datagram[HEADER_LEN..]);
        let first = PayloadType(reader.u8()?);
        reader.u8()?;
        let length = reader.u16()?;
        let mut body = reader.nested(length, GENERIC_HEADER_LEN)?;
        reader.finish()?;
        let fields = body.take(fields_len)?;
        let aad = &datagram[..HEADER_LEN + GENERIC_HEADER_LEN + fields_len];
        Ok((header, Self { first, fields, aad, body: body.rest() }))
    }

    /// Checks integrity, decrypts and removes the padding.
    pub(super) fn open(&self, cipher: &SkCipher) -> Result<Zeroizing<Vec<u8>>, OpenError> {
        cipher.open(self.aad, self.body).map_err(|error| match error {
            CryptoError::InvalidPadding => OpenError::Content(ParseError::Invalid("padding")),
            _ => OpenError::Integrity,
        })
    }
}
