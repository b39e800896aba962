//! How the two ends prove who they are.

use std::sync::Arc;

use crate::certificate::{Credentials, TrustAnchors};
use crate::config::Psk;

/// How both ends authenticate; a peer that does it in another way is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// By a key that both know (RFC 7296 §2.15).
    Psk(Psk),
    /// By certificates and signatures (RFC 7427).
    Certificate(CertificateAuth),
}

/// Authentication by certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateAuth {
    /// Our own certificate and its private key.
    pub credentials: Arc<Credentials>,
    /// The authorities one of which must have issued the peer's.
    pub trust: Arc<TrustAnchors>,
}

impl Auth {
    /// What a human calls it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Psk(_) => "pre-shared key",
            Self::Certificate(_) => "certificate",
        }
    }

    /// Whether an SA that was authenticated by `self` may go on under `other`: the same key, or the same trust; our own
    /// certificate may have been renewed.
    pub(crate) fn trusts_alike(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Certificate(one), Self::Certificate(other)) => one.trust == other.trust,
            _ => self == other,
        }
    }
}

impl From<Psk> for Auth {
    fn from(psk: Psk) -> Self {
        Self::Psk(psk)
    }
}

impl From<CertificateAuth> for Auth {
    fn from(certificate: CertificateAuth) -> Self {
        Self::Certificate(certificate)
    }
}
