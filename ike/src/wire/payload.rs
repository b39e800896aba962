//! Payloads and their chain (RFC 7296 §3.2 to §3.13).

use std::ops::RangeInclusive;

use crate::wire::reader::{Reader, with_length};
use crate::wire::security_association::{encode_proposals, parse_proposals};
use crate::wire::traffic_selector::{encode_selectors, parse_selectors};
use crate::wire::{
    AuthMethod, CertEncoding, IdType, NotifyType, ParseError, PayloadType, Proposal, ProtocolId,
    TrafficSelector,
};

/// Octets a nonce may have (RFC 7296 §3.9).
pub const NONCE_LEN: RangeInclusive<usize> = 16..=256;

const CRITICAL: u8 = 0x80;

/// A payload. Unknown payloads without the critical bit are skipped when parsing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// SA: proposals, at least one.
    SecurityAssociation(Vec<Proposal>),
    /// KE.
    KeyExchange(KeyExchangeData),
    /// IDi.
    IdInitiator(Identification),
    /// IDr.
    IdResponder(Identification),
    /// CERT.
    Certificate(Certificate),
    /// CERTREQ.
    CertificateRequest(Certificate),
    /// AUTH.
    Authentication(Authentication),
    /// Ni or Nr: [`NONCE_LEN`] octets.
    Nonce(Vec<u8>),
    /// N.
    Notify(Notify),
    /// D.
    Delete(Delete),
    /// V: opaque.
    VendorId(Vec<u8>),
    /// TSi: at least one selector.
    SelectorsInitiator(Vec<TrafficSelector>),
    /// TSr: at least one selector.
    SelectorsResponder(Vec<TrafficSelector>),
}

/// A Diffie-Hellman public value (RFC 7296 §3.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyExchangeData {
    /// The group's transform id.
    pub group: u16,
    /// The public value.
    pub data: Vec<u8>,
}

/// An identity (RFC 7296 §3.5), kept as the octets that enter authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identification(Vec<u8>);

impl Identification {
    /// An identity of this type.
    pub fn new(kind: IdType, data: &[u8]) -> Self {
        Self([&[kind.0, 0, 0, 0], data].concat())
    }

    /// The payload without its generic header: type, reserved octets, data.
    pub fn body(&self) -> &[u8] {
        &self.0
    }

    /// The type.
    pub fn kind(&self) -> IdType {
        IdType(self.0[0])
    }

    /// The identity itself, in the form of its type.
    pub fn data(&self) -> &[u8] {
        &self.0[4..]
    }
}

/// A certificate or a request for one (RFC 7296 §3.6 and §3.7), opaque.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Certificate encoding.
    pub encoding: CertEncoding,
    /// Certificate or hashes of authorities.
    pub data: Vec<u8>,
}

/// Authentication data (RFC 7296 §3.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// How it was computed.
    pub method: AuthMethod,
    /// MAC or signature.
    pub data: Vec<u8>,
}

/// A notification (RFC 7296 §3.10).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// What `spi` belongs to.
    pub protocol: ProtocolId,
    /// The SA it is about, empty when it is about none or about this IKE SA.
    pub spi: Vec<u8>,
    /// What is notified.
    pub kind: NotifyType,
    /// Data, in the form of its type.
    pub data: Vec<u8>,
}

impl Notify {
    /// A notification about no particular SA.
    pub fn new(kind: NotifyType, data: impl Into<Vec<u8>>) -> Self {
        Self { protocol: ProtocolId::NONE, spi: Vec::new(), kind, data: data.into() }
    }

    /// A notification about an ESP SA.
    pub fn esp(kind: NotifyType, spi: u32) -> Self {
        Self { protocol: ProtocolId::ESP, spi: spi.to_be_bytes().to_vec(), kind, data: Vec::new() }
    }

    /// The ESP SPI it is about.
    pub fn esp_spi(&self) -> Option<u32> {
        let spi = <[u8; 4]>::try_from(self.spi.as_slice()).ok()?;
        (self.protocol == ProtocolId::ESP).then_some(u32::from_be_bytes(spi))
    }
}

/// A delete (RFC 7296 §3.11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delete {
    /// The IKE SA that carries the message, with all its Child SAs.
    IkeSa,
    /// Child SAs, by the SPIs the sender receives with.
    ChildSas {
        /// AH or ESP.
        protocol: ProtocolId,
        /// The SPIs.
        spis: Vec<u32>,
    },
}

impl Payload {
    /// Parses the decrypted content of a message: payloads with their generic headers, the first of type `first`, up to
    /// the very end of `octets`.
    pub fn parse_all(first: PayloadType, octets: &[u8]) -> Result<Vec<Self>, ParseError> {
        parse_chain(first, octets)
    }

    /// The type in the generic header in front.
    pub fn kind(&self) -> PayloadType {
        match self {
            Self::SecurityAssociation(_) => PayloadType::SA,
            Self::KeyExchange(_) => PayloadType::KE,
            Self::IdInitiator(_) => PayloadType::ID_I,
            Self::IdResponder(_) => PayloadType::ID_R,
            Self::Certificate(_) => PayloadType::CERT,
            Self::CertificateRequest(_) => PayloadType::CERTREQ,
            Self::Authentication(_) => PayloadType::AUTH,
            Self::Nonce(_) => PayloadType::NONCE,
            Self::Notify(_) => PayloadType::NOTIFY,
            Self::Delete(_) => PayloadType::DELETE,
            Self::VendorId(_) => PayloadType::VENDOR_ID,
            Self::SelectorsInitiator(_) => PayloadType::TS_I,
            Self::SelectorsResponder(_) => PayloadType::TS_R,
        }
    }

    fn parse(kind: PayloadType, body: &mut Reader<'_>) -> Result<Option<Self>, ParseError> {
        let payload = match kind {
            PayloadType::SA => Self::SecurityAssociation(parse_proposals(body)?),
            PayloadType::KE => {
                let group = body.u16()?;
                body.u16()?;
                Self::KeyExchange(KeyExchangeData { group, data: body.rest().to_vec() })
            }
            PayloadType::ID_I => Self::IdInitiator(parse_identification(body)?),
            PayloadType::ID_R => Self::IdResponder(parse_identification(body)?),
            PayloadType::CERT => Self::Certificate(parse_certificate(body)?),
            PayloadType::CERTREQ => Self::CertificateRequest(parse_certificate(body)?),
            PayloadType::AUTH => {
                let method = AuthMethod(body.u8()?);
                body.take(3)?;
                Self::Authentication(Authentication { method, data: body.rest().to_vec() })
            }
            PayloadType::NONCE => {
                let nonce = body.rest().to_vec();
                if !NONCE_LEN.contains(&nonce.len()) {
                    return Err(ParseError::Invalid("length of nonce"));
                }
                Self::Nonce(nonce)
            }
            PayloadType::NOTIFY => Self::Notify(parse_notify(body)?),
            PayloadType::DELETE => Self::Delete(parse_delete(body)?),
            PayloadType::VENDOR_ID => Self::VendorId(body.rest().to_vec()),
            PayloadType::TS_I => Self::SelectorsInitiator(parse_selectors(body)?),
            PayloadType::TS_R => Self::SelectorsResponder(parse_selectors(body)?),
            _ => return Ok(None),
        };
        Ok(Some(payload))
    }

    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::SecurityAssociation(proposals) => encode_proposals(proposals, out),
            Self::KeyExchange(exchange) => {
                out.extend(exchange.group.to_be_bytes());
                out.extend([0; 2]);
                out.extend(&exchange.data);
            }
            Self::IdInitiator(identification) | Self::IdResponder(identification) => {
                out.extend(&identification.0);
            }
            Self::Certificate(certificate) | Self::CertificateRequest(certificate) => {
                out.push(certificate.encoding.0);
                out.extend(&certificate.data);
            }
            Self::Authentication(authentication) => {
                out.extend([authentication.method.0, 0, 0, 0]);
                out.extend(&authentication.data);
            }
            Self::Nonce(octets) | Self::VendorId(octets) => out.extend(octets),
            Self::Notify(notify) => encode_notify(notify, out),
            Self::Delete(delete) => encode_delete(delete, out),
            Self::SelectorsInitiator(selectors) | Self::SelectorsResponder(selectors) => {
                encode_selectors(selectors, out);
            }
        }
    }
}

/// Parses the payloads of `octets`, the first of type `first`, up to the very end.
pub(super) fn parse_chain(first: PayloadType, octets: &[u8]) -> Result<Vec<Payload>, ParseError> {
    let mut reader = Reader::new(octets);
    let mut payloads = Vec::new();
    let mut kind = first;
    while kind != PayloadType::NONE {
        let next = PayloadType(reader.u8()?);
        let critical = reader.u8()? & CRITICAL != 0;
        let length = reader.u16()?;
        let mut body = reader.nested(length, 4)?;
        if kind == PayloadType::SK || kind == PayloadType::SKF {
            return Err(ParseError::Protection);
        }
        match Payload::parse(kind, &mut body)? {
            Some(payload) => {
                body.finish()?;
                payloads.push(payload);
            }
            None if critical => return Err(ParseError::UnsupportedCritical(kind)),
            None => {}
        }
        kind = next;
    }
    reader.finish()?;
    Ok(payloads)
}

/// Appends the payloads with their generic headers. The type of the first one belongs in the structure in front.
pub(super) fn encode_chain(payloads: &[Payload], out: &mut Vec<u8>) {
    for (index, payload) in payloads.iter().enumerate() {
        let next = first_kind(&payloads[index + 1..]);
        with_length(out, 2, |out| {
            out.extend([next.0, 0, 0, 0]);
            payload.encode(out);
        });
    }
}

pub(super) fn first_kind(payloads: &[Payload]) -> PayloadType {
    payloads.first().map_or(PayloadType::NONE, Payload::kind)
}

fn parse_identification(body: &mut Reader<'_>) -> Result<Identification, ParseError> {
    let octets = body.rest();
    if octets.len() < 4 { Err(ParseError::Truncated) } else { Ok(Identification(octets.to_vec())) }
}

fn parse_certificate(body: &mut Reader<'_>) -> Result<Certificate, ParseError> {
    Ok(Certificate { encoding: CertEncoding(body.u8()?), data: body.rest().to_vec() })
}

fn parse_notify(body: &mut Reader<'_>) -> Result<Notify, ParseError> {
    let protocol = ProtocolId(body.u8()?);
    let spi_len = body.u8()?;
    let kind = NotifyType(body.u16()?);
    let spi = body.take(usize::from(spi_len))?.to_vec();
    Ok(Notify { protocol, spi, kind, data: body.rest().to_vec() })
}

fn encode_notify(notify: &Notify, out: &mut Vec<u8>) {
    out.push(notify.protocol.0);
    out.push(u8::try_from(notify.spi.len()).expect("an SPI has at most 8 octets"));
    out.extend(notify.kind.0.to_be_bytes());
    out.extend(&notify.spi);
    out.extend(&notify.data);
}

fn parse_delete(body: &mut Reader<'_>) -> Result<Delete, ParseError> {
    let protocol = ProtocolId(body.u8()?);
    let spi_len = body.u8()?;
    let count = body.u16()?;
    match (protocol, spi_len, count) {
        (ProtocolId::IKE, 0, 0) => Ok(Delete::IkeSa),
        (ProtocolId::AH | ProtocolId::ESP, 4, _) => {
            let spis = (0..count).map(|_| body.u32()).collect::<Result<_, _>>()?;
            Ok(Delete::ChildSas { protocol, spis })
        }
        _ => Err(ParseError::Invalid("delete payload")),
    }
}

fn encode_delete(delete: &Delete, out: &mut Vec<u8>) {
    match delete {
        Delete::IkeSa => out.extend([ProtocolId::IKE.0, 0, 0, 0]),
        Delete::ChildSas { protocol, spis } => {
            out.extend([protocol.0, 4]);
            out.extend(u16::try_from(spis.len()).expect("few Child SAs are deleted at once").to_be_bytes());
            for spi in spis {
                out.extend(spi.to_be_bytes());
            }
        }
    }
}
