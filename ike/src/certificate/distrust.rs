//! Why a peer's certificate is not accepted.

use webpki::Error;

use crate::certificate::date::Date;
use crate::certificate::{MAX_CHAIN, MAX_CHAIN_OCTETS};
use crate::config::shortened;

/// Why a peer's certificate is not accepted, for a human.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Distrust {
    #[error("it sent no certificate")]
    Missing,
    #[error("it sent certificates by hash and URL, which are never fetched; it must send them as they are")]
    HashAndUrl,
    #[error("it sent a certificate of encoding {0}, only X.509 (4) is supported")]
    Encoding(u8),
    #[error("it sent more than {MAX_CHAIN} certificates, or more than {MAX_CHAIN_OCTETS} octets of them")]
    TooLong,
    #[error("its certificate cannot be read: {0}")]
    Malformed(&'static str),
    #[error("the time of day is not known, so that no certificate can be checked")]
    NoTime,
    #[error("certificate of {} has expired on {since} (issued by {})", shortened(subject), shortened(issuer))]
    Expired { subject: String, issuer: String, since: Date },
    #[error(
        "certificate of {} is not valid before {from} (issued by {})",
        shortened(subject),
        shortened(issuer)
    )]
    NotYetValid { subject: String, issuer: String, from: Date },
    #[error(
        "certificate of {} must not be used for digital signatures, by its key usage",
        shortened(subject)
    )]
    KeyUsage { subject: String },
    #[error(
        "certificate of {} is not for IKE, by its extended key usage (serverAuth, clientAuth or ipsecIKE)",
        shortened(subject)
    )]
    Purpose { subject: String },
    #[error(
        "certificate of {} does not prove its identity {}{}",
        shortened(subject),
        shortened(identity),
        shortened(names)
    )]
    OtherName {
        subject: String,
        identity: String,
        /// What it proves besides its subject, with words around it.
        names: String,
    },
    #[error("certificate of {}: its issuer {} is not trusted", shortened(subject), shortened(issuer))]
    UnknownIssuer {
        subject: String,
        /// Who issued the last certificate on the way up that was sent.
        issuer: String,
    },
    #[error("certificate of {} (issued by {}): {}", shortened(subject), shortened(issuer), explain(error))]
    Chain { subject: String, issuer: String, error: Error },
}

fn explain(error: &Error) -> String {
    match error {
        Error::CaUsedAsEndEntity => "it is one of an authority".to_owned(),
        Error::EndEntityUsedAsCa => "a certificate above it is not allowed to issue certificates".to_owned(),
        Error::CertExpired { not_after, .. } => {
            format!("a certificate above it has expired on {}", Date::from(*not_after))
        }
        Error::CertNotValidYet { not_before, .. } => {
            format!("a certificate above it is not valid before {}", Date::from(*not_before))
        }
        Error::CertRevoked => "it has been revoked, or a certificate above it".to_owned(),
        Error::CrlExpired { .. } => "the revocation list of its issuer is out of date".to_owned(),
        Error::InvalidSignatureForPublicKey => {
            "its signature is not that of the issuer, or that of a certificate above it".to_owned()
        }
        Error::NameConstraintViolation => "a certificate above it does not allow its name".to_owned(),
        Error::PathLenConstraintViolated | Error::MaximumPathDepthExceeded => {
            "the chain above it is longer than allowed".to_owned()
        }
        Error::UnsupportedCriticalExtension => "it has an unknown critical extension".to_owned(),
        Error::MaximumSignatureChecksExceeded | Error::MaximumPathBuildCallsExceeded => {
            "the certificates sent lead to too many possible chains".to_owned()
        }
        Error::UnsupportedSignatureAlgorithmContext(_)
        | Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            "it is signed with an algorithm that is not supported, or one above it".to_owned()
        }
        // The rest are violations of the format, whose names say enough.
        other => {
            let name = format!("{other:?}");
            let name = name.split([' ', '{', '(']).next().unwrap_or_default();
            format!("it cannot be verified, or one above it ({name})")
        }
    }
}
