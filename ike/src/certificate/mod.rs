//! X.509 certificates of gateways: our own with its private key, the authorities we trust, and the check of a peer's.
//!
//! Chains are built and verified by `rustls-webpki`; what is particular to IKE (RFC 4945) is checked here.

mod credentials;
mod date;
mod details;
mod distrust;
mod error;
mod trust;

pub use credentials::Credentials;
pub(crate) use distrust::Distrust;
pub use error::CertificateError;
pub use trust::TrustAnchors;

/// Most certificates in one chain, the end entity's included.
pub(crate) const MAX_CHAIN: usize = 8;
/// Most octets of all certificates of a chain together, so that they fit a message in fragments.
pub(crate) const MAX_CHAIN_OCTETS: usize = 24_576;

#[cfg(test)]
mod tests;
