//! The SA payload: proposals, transforms, attributes (RFC 7296 §3.3).

use crate::wire::reader::{Reader, with_length};
use crate::wire::{ParseError, ProtocolId, TransformType};

const LAST: u8 = 0;
const MORE_PROPOSALS: u8 = 2;
const MORE_TRANSFORMS: u8 = 3;
const ATTRIBUTE_FORMAT_TV: u16 = 0x8000;
const ATTRIBUTE_KEY_LENGTH: u16 = 14;

/// One proposal (RFC 7296 §3.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// Position in the offer, from 1; an answer repeats the number it chose.
    pub number: u8,
    /// What the SA protects.
    pub protocol: ProtocolId,
    /// The SPI the sender wants to receive with: empty in IKE_SA_INIT, 4 octets for ESP, 8 when an IKE SA is rekeyed.
    pub spi: Vec<u8>,
    /// Alternatives per transform type, most preferred first.
    pub transforms: Vec<Transform>,
}

/// One transform (RFC 7296 §3.3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    /// The kind.
    pub kind: TransformType,
    /// The algorithm, in the registry of its kind.
    pub id: u16,
    /// Attributes; the key length is the only one in use.
    pub attributes: Vec<Attribute>,
}

/// A transform attribute (RFC 7296 §3.3.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Type, 15 bits.
    pub kind: u16,
    /// Value.
    pub value: AttributeValue,
}

/// The two formats of attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// Type/value: 16 bits.
    Short(u16),
    /// Type/length/value.
    Long(Vec<u8>),
}

impl Transform {
    /// A transform, with a Key Length attribute in bits where the algorithm has one.
    pub fn new(kind: TransformType, id: u16, key_bits: Option<u16>) -> Self {
        let attribute = |bits| Attribute { kind: ATTRIBUTE_KEY_LENGTH, value: AttributeValue::Short(bits) };
        Self { kind, id, attributes: key_bits.map(attribute).into_iter().collect() }
    }

    /// The Key Length attribute in bits. `Err` when there are attributes nobody here understands, which makes the
    /// transform unacceptable (RFC 7296 §3.3.6).
    pub fn key_bits(&self) -> Result<Option<u16>, ParseError> {
        match self.attributes.as_slice() {
            [] => Ok(None),
            [Attribute { kind: ATTRIBUTE_KEY_LENGTH, value: AttributeValue::Short(bits) }] => Ok(Some(*bits)),
            _ => Err(ParseError::Invalid("transform attribute")),
        }
    }
}

pub(super) fn parse_proposals(reader: &mut Reader<'_>) -> Result<Vec<Proposal>, ParseError> {
    let mut proposals = Vec::new();
    loop {
        let marker = reader.u8()?;
        reader.u8()?;
        let length = reader.u16()?;
        let mut body = reader.nested(length, 4)?;
        proposals.push(parse_proposal(&mut body)?);
        body.finish()?;
        match marker {
            LAST => break,
            MORE_PROPOSALS => {}
            _ => return Err(ParseError::Invalid("marker of last proposal")),
        }
    }
    reader.finish()?;
    Ok(proposals)
}

fn parse_proposal(body: &mut Reader<'_>) -> Result<Proposal, ParseError> {
    let number = body.u8()?;
    let protocol = ProtocolId(body.u8()?);
    let spi_len = body.u8()?;
    let count = body.u8()?;
    let spi = body.take(usize::from(spi_len))?.to_vec();
    let transforms =
        (0..count).map(|index| parse_transform(body, index + 1 == count)).collect::<Result<_, _>>()?;
    Ok(Proposal { number, protocol, spi, transforms })
}

fn parse_transform(reader: &mut Reader<'_>, last: bool) -> Result<Transform, ParseError> {
    let marker = reader.u8()?;
    if marker != if last { LAST } else { MORE_TRANSFORMS } {
        return Err(ParseError::Invalid("marker of last transform"));
    }
    reader.u8()?;
    let length = reader.u16()?;
    let mut body = reader.nested(length, 4)?;
    let kind = TransformType(body.u8()?);
    body.u8()?;
    let id = body.u16()?;
    let mut attributes = Vec::new();
    while !body.is_empty() {
        attributes.push(parse_attribute(&mut body)?);
    }
    Ok(Transform { kind, id, attributes })
}

fn parse_attribute(reader: &mut Reader<'_>) -> Result<Attribute, ParseError> {
    let tagged = reader.u16()?;
    let word = reader.u16()?;
    let value = if tagged & ATTRIBUTE_FORMAT_TV != 0 {
        AttributeValue::Short(word)
    } else {
        AttributeValue::Long(reader.take(usize::from(word))?.to_vec())
    };
    Ok(Attribute { kind: tagged & !ATTRIBUTE_FORMAT_TV, value })
}

pub(super) fn encode_proposals(proposals: &[Proposal], out: &mut Vec<u8>) {
    for (index, proposal) in proposals.iter().enumerate() {
        let marker = if index + 1 == proposals.len() { LAST } else { MORE_PROPOSALS };
        with_length(out, 2, |out| {
            out.extend([marker, 0, 0, 0, proposal.number, proposal.protocol.0]);
            out.push(u8::try_from(proposal.spi.len()).expect("an SPI has at most 8 octets"));
            out.push(u8::try_from(proposal.transforms.len()).expect("a proposal has few transforms"));
            out.extend(&proposal.spi);
            encode_transforms(&proposal.transforms, out);
        });
    }
}

fn encode_transforms(transforms: &[Transform], out: &mut Vec<u8>) {
    for (index, transform) in transforms.iter().enumerate() {
        let marker = if index + 1 == transforms.len() { LAST } else { MORE_TRANSFORMS };
        with_length(out, 2, |out| {
            out.extend([marker, 0, 0, 0, transform.kind.0, 0]);
            out.extend(transform.id.to_be_bytes());
            for attribute in &transform.attributes {
                encode_attribute(attribute, out);
            }
        });
    }
}

fn encode_attribute(attribute: &Attribute, out: &mut Vec<u8>) {
    match &attribute.value {
        AttributeValue::Short(word) => {
            out.extend((attribute.kind | ATTRIBUTE_FORMAT_TV).to_be_bytes());
            out.extend(word.to_be_bytes());
        }
        AttributeValue::Long(octets) => {
            out.extend(attribute.kind.to_be_bytes());
            let length = u16::try_from(octets.len()).expect("an attribute is shorter than 64 KiB");
            out.extend(length.to_be_bytes());
            out.extend(octets);
        }
    }
}
