//! What can be wrong with a message.

use crate::wire::PayloadType;

/// A message or payload does not have the form RFC 7296 gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// A field or payload ends behind the end of what contains it.
    #[error("message is cut short")]
    Truncated,
    /// Octets are left over inside of a payload or behind the last one.
    #[error("octets left over behind a complete structure")]
    TrailingOctets,
    /// The length in the header is not that of the datagram.
    #[error("header says {header} octets, datagram has {datagram}")]
    MessageLength {
        /// Octets according to the header.
        header: u32,
        /// Octets received.
        datagram: usize,
    },
    /// The major version is not 2.
    #[error("IKE major version {0}, expected 2")]
    MajorVersion(u8),
    /// A payload of unknown type has the critical bit set (RFC 7296 §2.5).
    #[error("unsupported critical payload of type {}", .0.0)]
    UnsupportedCritical(PayloadType),
    /// A field has a value that its place does not allow.
    #[error("invalid {0}")]
    Invalid(&'static str),
    /// An SK payload where none may be, or none where one must be.
    #[error("protected and unprotected payloads mixed up")]
    Protection,
}

/// An SK payload could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The integrity check failed: not from the peer, and nothing to react to.
    #[error("integrity check failed")]
    Integrity,
    /// The message is from the peer, but its content is malformed.
    #[error(transparent)]
    Content(#[from] ParseError),
}
