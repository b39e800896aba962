//! What can be wrong with the certificates and the private key that a user configures.

use crate::certificate::{MAX_CHAIN, MAX_CHAIN_OCTETS};
use crate::crypto::SignatureError;

/// Certificates, a private key or revocation lists from files cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A PEM section is damaged.
    #[error("damaged PEM: {0}")]
    Pem(String),
    /// No certificate where one is needed.
    #[error("no certificate found: expected PEM with \"BEGIN CERTIFICATE\"")]
    NoCertificate,
    /// No private key where one is needed.
    #[error(
        "no private key found: expected PEM with \"BEGIN PRIVATE KEY\", \"BEGIN RSA PRIVATE KEY\" or \
         \"BEGIN EC PRIVATE KEY\", not encrypted"
    )]
    NoPrivateKey,
    /// The PEM section of a private key is damaged.
    #[error("damaged PEM of the private key")]
    DamagedPrivateKey,
    /// More than one private key.
    #[error("more than one private key found")]
    SeveralPrivateKeys,
    /// No revocation list where one is needed.
    #[error("no revocation list found: expected PEM with \"BEGIN X509 CRL\"")]
    NoRevocationList,
    /// A revocation list is malformed or of a kind that is not supported.
    #[error("revocation list {number} cannot be used: {reason}")]
    RevocationList {
        /// Its place, from 1.
        number: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// The chain is longer than peers accept.
    #[error("chain is too long: at most {MAX_CHAIN} certificates with {MAX_CHAIN_OCTETS} octets in all")]
    TooLong,
    /// A certificate is malformed.
    #[error("certificate {number} cannot be used: {reason}")]
    Malformed {
        /// Its place, from 1.
        number: usize,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Our certificate is not allowed to sign.
    #[error(
        "certificate of {subject} must not be used for digital signatures or IKE, by its (extended) key usage"
    )]
    Usage {
        /// Its subject.
        subject: String,
    },
    /// Our certificate, the first of the chain, is that of an authority.
    #[error("the first certificate, of {subject}, is one of an authority; the gateway's own must come first")]
    AuthorityFirst {
        /// Its subject.
        subject: String,
    },
    /// Our certificate names nobody.
    #[error("certificate has neither a subject nor a subject alternative name that can be an identity")]
    Nameless,
    /// A certificate does not belong to the chain.
    #[error("certificate {number}, of {subject}, has not issued the one before it")]
    OutOfOrder {
        /// Its place, from 1.
        number: usize,
        /// Its subject.
        subject: String,
    },
    /// The public key cannot be used, or the private key does not belong to it.
    #[error(transparent)]
    Key(#[from] SignatureError),
    /// What should be trusted is no certificate of an authority, or one that must not issue certificates.
    #[error("certificate of {subject} is none of an authority that issues certificates")]
    NoAuthority {
        /// Its subject.
        subject: String,
    },
}
