//! Codecs of IKEv2 messages and payloads (RFC 7296 §3), as plain data.
//!
//! Parsing checks every length and never panics; whatever was parsed or built encodes to octets that parse to the same
//! value. Numbers with an IANA registry are newtypes, so that a value unknown here survives.

mod error;
mod fragment;
mod message;
mod numbers;
mod outline;
mod payload;
mod reader;
mod sealed;
mod security_association;
mod traffic_selector;

pub use error::{OpenError, ParseError};
pub use fragment::{Fragment, FragmentPosition, SealedFragment};
pub use message::{HEADER_LEN, Header, Message, SealedMessage};
pub use numbers::{
    AuthMethod, CertEncoding, ExchangeType, IdType, NotifyType, PayloadType, ProtocolId, TransformType,
};
pub(crate) use outline::Outline;
pub use payload::{
    Authentication, Certificate, Delete, Identification, KeyExchangeData, NONCE_LEN, Notify, Payload,
};
pub use security_association::{Attribute, AttributeValue, Proposal, Transform};
pub use traffic_selector::{AddressRange, Selector, TrafficSelector};
