//! Payloads as a fuzzer composes them: mostly well formed, so that what lies behind the parsers is reached.

use arbitrary::Arbitrary;
use ike::wire::{
    AuthMethod, Authentication, Delete, ExchangeType, Header, IdType, Identification, KeyExchangeData,
    Message, Notify, NotifyType, Payload, PayloadType, ProtocolId, Selector, TrafficSelector,
};

use crate::peer::{esp_proposal, ike_proposal, key_exchange};

/// The decrypted content of a message.
pub(crate) struct Content {
    pub(crate) first: PayloadType,
    pub(crate) octets: Vec<u8>,
}

impl Content {
    /// Well-formed payloads.
    pub(crate) fn of(payloads: &[Payload]) -> Self {
        let first = payloads.first().map_or(PayloadType::NONE, Payload::kind);
        Self { first, octets: encoded(payloads) }
    }

    /// Pieces in a row.
    pub(crate) fn of_pieces(pieces: &[Piece]) -> Self {
        let mut content = Self { first: PayloadType::NONE, octets: Vec::new() };
        for piece in pieces.iter().rev() {
            let (kind, mut octets) = piece.encode();
            if let Some(next) = octets.first_mut() {
                *next = content.first.0;
            }
            octets.append(&mut content.octets);
            content = Self { first: kind, octets };
        }
        content
    }
}

fn encoded(payloads: &[Payload]) -> Vec<u8> {
    let header = Header {
        spi_i: 0,
        spi_r: 0,
        exchange: ExchangeType::INFORMATIONAL,
        from_initiator: true,
        response: false,
        message_id: 0,
    };
    Message { header, payloads: payloads.to_vec() }.encode().split_off(28)
}

/// An SPI of few, so that several pieces mean the same SA.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Spi {
    /// The Child SA of IKE_AUTH.
    First,
    /// Another one of this side.
    Other(u8),
    /// Any.
    Any(u32),
}

impl Spi {
    fn value(self) -> u32 {
        match self {
            Self::First => 0x1000,
            Self::Other(number) => 0x1000 + u32::from(number % 8),
            Self::Any(value) => value,
        }
    }
}

/// One payload.
#[derive(Arbitrary, Clone, Debug)]
pub enum Piece {
    /// Type, flags and body as they come.
    Raw(u8, u8, Vec<u8>),
    /// A notification without SPI.
    Notify(NotifyKind, Vec<u8>),
    /// A notification about a Child SA.
    NotifyChild(NotifyKind, Spi),
    /// Delete of the IKE SA.
    DeleteIke,
    /// Delete of Child SAs.
    DeleteChildren(Vec<Spi>),
    /// An acceptable proposal for a Child SA, with a group or without.
    ProposeChild(Spi, bool),
    /// An acceptable proposal for an IKE SA that replaces this one.
    ProposeIke(u64),
    /// An acceptable public value.
    KeyExchange,
    /// Any other.
    OtherKeyExchange(u16, Vec<u8>),
    /// A nonce of 16 octets and more, all of this value.
    Nonce(u8, u8),
    /// Traffic selectors of the initiator, or of the responder: everything.
    Selectors(bool),
    /// Identity of the initiator, or of the responder.
    Identity(bool, u8, Vec<u8>),
    /// Authentication data.
    Authentication(u8, Vec<u8>),
}

/// Types that mean something to the endpoint, and any.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum NotifyKind {
    /// REKEY_SA.
    RekeySa,
    /// TEMPORARY_FAILURE.
    TemporaryFailure,
    /// CHILD_SA_NOT_FOUND.
    ChildSaNotFound,
    /// NO_PROPOSAL_CHOSEN.
    NoProposalChosen,
    /// INVALID_KE_PAYLOAD.
    InvalidKePayload,
    /// AUTHENTICATION_FAILED.
    AuthenticationFailed,
    /// INITIAL_CONTACT.
    InitialContact,
    /// Any.
    Any(u16),
}

impl NotifyKind {
    fn kind(self) -> NotifyType {
        match self {
            Self::RekeySa => NotifyType::REKEY_SA,
            Self::TemporaryFailure => NotifyType::TEMPORARY_FAILURE,
            Self::ChildSaNotFound => NotifyType::CHILD_SA_NOT_FOUND,
            Self::NoProposalChosen => NotifyType::NO_PROPOSAL_CHOSEN,
            Self::InvalidKePayload => NotifyType::INVALID_KE_PAYLOAD,
            Self::AuthenticationFailed => NotifyType::AUTHENTICATION_FAILED,
            Self::InitialContact => NotifyType::INITIAL_CONTACT,
            Self::Any(kind) => NotifyType(kind),
        }
    }
}

impl Piece {
    /// The type of the payload, and its octets with the generic header.
    fn encode(&self) -> (PayloadType, Vec<u8>) {
        let payload = match self {
            Self::Raw(kind, flags, body) => {
                let [high, low] = ((body.len() + 4) as u16).to_be_bytes();
                return (PayloadType(*kind), [&[0, *flags, high, low], body.as_slice()].concat());
            }
            Self::Selectors(initiator) => {
                let all = vec![TrafficSelector::Range(Selector::ANY_IPV4)];
                if *initiator { Payload::SelectorsInitiator(all) } else { Payload::SelectorsResponder(all) }
            }
            Self::Notify(kind, data) => Payload::Notify(Notify::new(kind.kind(), data.as_slice())),
            Self::NotifyChild(kind, spi) => Payload::Notify(Notify::esp(kind.kind(), spi.value())),
            Self::DeleteIke => Payload::Delete(Delete::IkeSa),
            Self::DeleteChildren(spis) => {
                let spis = spis.iter().take(1000).map(|spi| spi.value()).collect();
                Payload::Delete(Delete::ChildSas { protocol: ProtocolId::ESP, spis })
            }
            Self::ProposeChild(spi, group) => {
                Payload::SecurityAssociation(vec![esp_proposal(spi.value(), *group)])
            }
            Self::ProposeIke(spi) => {
                Payload::SecurityAssociation(vec![ike_proposal(spi.to_be_bytes().to_vec())])
            }
            Self::KeyExchange => Payload::KeyExchange(key_exchange()),
            Self::OtherKeyExchange(group, data) => {
                Payload::KeyExchange(KeyExchangeData { group: *group, data: data.clone() })
            }
            Self::Nonce(value, more) => Payload::Nonce(vec![*value; 16 + usize::from(more % 32)]),
            Self::Identity(initiator, kind, data) => {
                let identification = Identification::new(IdType(*kind), data);
                if *initiator {
                    Payload::IdInitiator(identification)
                } else {
                    Payload::IdResponder(identification)
                }
            }
            Self::Authentication(method, data) => {
                let method = AuthMethod(*method);
                Payload::Authentication(Authentication { method, data: data.clone() })
            }
        };
        (payload.kind(), encoded(&[payload]))
    }
}
