//! Whole messages: the header, and the SK payload that protects everything behind it.

use zeroize::Zeroizing;

use crate::crypto::{ICV_LEN, IV_LEN, SkCipher};
use crate::wire::payload::{encode_chain, first_kind, parse_chain};
use crate::wire::reader::Reader;
use crate::wire::{ExchangeType, OpenError, ParseError, Payload, PayloadType};

/// Octets of the IKE header.
pub const HEADER_LEN: usize = 28;
const GENERIC_HEADER_LEN: usize = 4;
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
        let mut reader = Reader::new(datagram);
        let spi_i = reader.u64()?;
        let spi_r = reader.u64()?;
        let first = PayloadType(reader.u8()?);
        let version = reader.u8()?;
        let exchange = ExchangeType(reader.u8()?);
        let flags = reader.u8()?;
        let message_id = reader.u32()?;
        let length = reader.u32()?;
        if version >> 4 != VERSION >> 4 {
            return Err(ParseError::MajorVersion(version >> 4));
        }
        if usize::try_from(length) != Ok(datagram.len()) {
            return Err(ParseError::MessageLength { header: length, datagram: datagram.len() });
        }
        let from_initiator = flags & FLAG_INITIATOR != 0;
        let response = flags & FLAG_RESPONSE != 0;
        Ok((Self { spi_i, spi_r, exchange, from_initiator, response, message_id }, first))
    }

    fn encode(&self, first: PayloadType, out: &mut Vec<u8>) {
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
        set_length(&mut out);
        out
    }

    /// The octets of the message with all payloads inside of one SK payload (RFC 5282 §3, no padding). `iv` must never
    /// repeat for this key.
    pub fn seal(&self, cipher: &SkCipher, iv: [u8; IV_LEN]) -> Vec<u8> {
        let mut plaintext = Zeroizing::new(Vec::new());
        encode_chain(&self.payloads, &mut plaintext);
        // Pad Length.
        plaintext.push(0);
        let sk_len = GENERIC_HEADER_LEN + IV_LEN + plaintext.len() + ICV_LEN;
        let sk_len = u16::try_from(sk_len).expect("messages built here fit a datagram");
        let mut out = Vec::new();
        self.header.encode(PayloadType::SK, &mut out);
        out.extend([first_kind(&self.payloads).0, 0]);
        out.extend(sk_len.to_be_bytes());
        let total = (HEADER_LEN + usize::from(sk_len)) as u32;
        out[LENGTH_AT..HEADER_LEN].copy_from_slice(&total.to_be_bytes());
        let ciphertext = cipher.seal(iv, &out, &plaintext);
        out.extend(iv);
        out.extend(ciphertext);
        out
    }
}

fn set_length(message: &mut [u8]) {
    let length = u32::try_from(message.len()).expect("messages built here fit a datagram");
    message[LENGTH_AT..HEADER_LEN].copy_from_slice(&length.to_be_bytes());
}

/// A message that consists of an SK payload, not yet opened.
#[derive(Clone, Copy, Debug)]
pub struct SealedMessage<'a> {
    /// The header, not authenticated before [`Self::open`] has succeeded.
    pub header: Header,
    first: PayloadType,
    aad: &'a [u8],
    iv: [u8; IV_LEN],
    ciphertext: &'a [u8],
}

impl<'a> SealedMessage<'a> {
    /// Parses the outside of a message. One whose only payload is not SK gives [`ParseError::Protection`].
    pub fn parse(datagram: &'a [u8]) -> Result<Self, ParseError> {
        let (header, outer) = Header::parse(datagram)?;
        if outer != PayloadType::SK {
            return Err(ParseError::Protection);
        }
        let mut reader = Reader::new(&datagram[HEADER_LEN..]);
        let first = PayloadType(reader.u8()?);
        reader.u8()?;
        let length = reader.u16()?;
        let mut body = reader.nested(length, GENERIC_HEADER_LEN)?;
        reader.finish()?;
        let iv = body.array()?;
        let aad = &datagram[..HEADER_LEN + GENERIC_HEADER_LEN];
        Ok(Self { header, first, aad, iv, ciphertext: body.rest() })
    }

    /// Checks integrity, decrypts and parses the payloads inside.
    pub fn open(&self, cipher: &SkCipher) -> Result<Vec<Payload>, OpenError> {
        let plaintext = cipher.open(self.iv, self.aad, self.ciphertext).map_err(|_| OpenError::Integrity)?;
        let (&pad_len, padded) = plaintext.split_last().ok_or(ParseError::Truncated)?;
        let len = padded.len().checked_sub(usize::from(pad_len)).ok_or(ParseError::Invalid("padding"))?;
        Ok(parse_chain(self.first, &padded[..len])?)
    }
}
