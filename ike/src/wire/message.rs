//! Whole messages: the header, and the SK payload that protects everything behind it.

use zeroize::Zeroizing;

use crate::crypto::SkCipher;
use crate::wire::payload::{encode_chain, first_kind, parse_chain};
use crate::wire::reader::Reader;
use crate::wire::sealed::{Outside, Sealed, seal_content};
use crate::wire::{ExchangeType, OpenError, ParseError, Payload, PayloadType};

/// Octets of the IKE header.
pub const HEADER_LEN: usize = 28;
const VERSION: u8 = 0x20;
const FLAG_INITIATOR: u8 = 0x08;
const FLAG_RESPONSE: u8 = 0x20;
/// Where the header keeps its length field, which spans four octets.
const LENGTH_AT: usize = 24;

/// The IKE header (RFC 7296 §3.1) without what follows from the message: next payload, version 2.0, length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The original initiator's SPI.
    pub spi_i: u64,
    /// The original responder's SPI; zero in the first request.
    pub spi_r: u64,
    /// Exchange type.
    pub exchange: ExchangeType,
    /// The sender is the original initiator of the IKE SA.
    pub from_initiator: bool,
    /// The message answers the request with the same message ID.
    pub response: bool,
    /// Message ID.
    pub message_id: u32,
}

impl Header {
    /// Parses the header of `datagram` and the type of its first payload, and checks version and length.
    pub fn parse(datagram: &[u8]) -> Result<(Self, PayloadType), ParseError> {
        let (header, first, version) = Self::parse_any_version(datagram)?;
        if version != VERSION >> 4 {
            return Err(ParseError::MajorVersion(version));
        }
        Ok((header, first))
    }

    /// The header of a message of a major version that is newer than 2, if it has the form it has now.
    pub(crate) fn of_newer_version(datagram: &[u8]) -> Option<Self> {
        let (header, _, version) = Self::parse_any_version(datagram).ok()?;
        (version > VERSION >> 4).then_some(header)
    }

    /// The header, the first payload's type and the major version.
    fn parse_any_version(datagram: &[u8]) -> Result<(Self, PayloadType, u8), ParseError> {
        let mut reader = Reader::new(datagram);
        let spi_i = reader.u64()?;
        let spi_r = reader.u64()?;
        let first = PayloadType(reader.u8()?);
        let version = reader.u8()?;
        let exchange = ExchangeType(reader.u8()?);
        let flags = reader.u8()?;
        let message_id = reader.u32()?;
        let length = reader.u32()?;
        if usize::try_from(length) != Ok(datagram.len()) {
            return Err(ParseError::MessageLength { header: length, datagram: datagram.len() });
        }
        let from_initiator = flags & FLAG_INITIATOR != 0;
        let response = flags & FLAG_RESPONSE != 0;
        let header = Self { spi_i, spi_r, exchange, from_initiator, response, message_id };
        Ok((header, first, version >> 4))
    }

    /// Appends the header, with zeros where the length belongs: see [`write_length`].
    pub(super) fn encode(&self, first: PayloadType, out: &mut Vec<u8>) {
        out.extend(self.spi_i.to_be_bytes());
        out.extend(self.spi_r.to_be_bytes());
        let initiator = if self.from_initiator { FLAG_INITIATOR } else { 0 };
        let response = if self.response { FLAG_RESPONSE } else { 0 };
        out.extend([first.0, VERSION, self.exchange.0, initiator | response]);
        out.extend(self.message_id.to_be_bytes());
        out.extend([0; 4]);
    }
}

/// A message with its payloads in the clear: IKE_SA_INIT, or any other before it is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The header.
    pub header: Header,
    /// The payloads in order.
    pub payloads: Vec<Payload>,
}

impl Message {
    /// Parses an unprotected message. One with an SK payload gives [`ParseError::Protection`].
    pub fn parse(datagram: &[u8]) -> Result<Self, ParseError> {
        let (header, first) = Header::parse(datagram)?;
        let payloads = parse_chain(first, &datagram[HEADER_LEN..])?;
        Ok(Self { header, payloads })
    }

    /// The octets of the message, unprotected.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.header.encode(first_kind(&self.payloads), &mut out);
        encode_chain(&self.payloads, &mut out);
        let length = out.len();
        write_length(&mut out, length);
        out
    }

    /// The octets of the message with all payloads inside of one SK payload (RFC 7296 §3.14). `number` must never
    /// repeat for this key; the IV is made of it.
    pub fn seal(&self, cipher: &SkCipher, number: u64) -> Vec<u8> {
        let outside =
            Outside { header: &self.header, kind: PayloadType::SK, first: self.first(), fields: &[] };
        seal_content(cipher, number, &outside, &self.content())
    }

    /// The payloads as they are before encryption.
    pub(super) fn content(&self) -> Zeroizing<Vec<u8>> {
        let mut content = Zeroizing::new(Vec::new());
        encode_chain(&self.payloads, &mut content);
        content
    }

    /// The type of the first payload.
    pub(super) fn first(&self) -> PayloadType {
        first_kind(&self.payloads)
    }
}

/// Writes the length that a message will have into its header.
pub(super) fn write_length(message: &mut [u8], length: usize) {
    let length = u32::try_from(length).expect("messages built here fit a datagram");
    message[LENGTH_AT..HEADER_LEN].copy_from_slice(&length.to_be_bytes());
}

/// A message that consists of an SK payload, not yet opened.
#[derive(Clone, Copy, Debug)]
pub struct SealedMessage<'a> {
    /// The header, not authenticated before [`Self::open`] has succeeded.
    pub header: Header,
    sealed: Sealed<'a>,
}

impl<'a> SealedMessage<'a> {
    /// Parses the outside of a message. One whose only payload is not SK gives [`ParseError::Protection`].
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (header, sealed) = Sealed::parse(datagram, PayloadType::SK, 0)?;
        Ok(Self { header, sealed })
    }

    /// Checks integrity, decrypts and parses the payloads inside.
    pub fn open(&self, cipher: &SkCipher) -> Result<Vec<Payload>, OpenError> {
        let content = self.sealed.open(cipher)?;
        Ok(parse_chain(self.sealed.first, &content)?)
    }
}
