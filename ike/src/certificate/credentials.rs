//! Our own certificate with its private key.

use std::fmt;
use std::time::Duration;

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroize;

use crate::certificate::date::Date;
use crate::certificate::details::Details;
use crate::certificate::trust::key_hash;
use crate::certificate::{CertificateError, MAX_CHAIN, MAX_CHAIN_OCTETS};
use crate::config::Identity;
use crate::crypto::SigningKey;

/// A certificate, the certificates of the authorities above it, and the private key.
pub struct Credentials {
    /// The end entity's first; without self-signed ones, which nobody would trust for having been sent.
    chain: Vec<Link>,
    details: Details,
    key: SigningKey,
}

/// One certificate of the chain.
struct Link {
    der: CertificateDer<'static>,
    /// SHA-1 of its SubjectPublicKeyInfo, by which CERTREQ names an authority.
    key_hash: [u8; 20],
}

impl Credentials {
    /// Reads PEM: `chain` has the gateway's certificate first, then each the one that issued the one before; `key` its
    /// private key in PKCS#8, PKCS#1 (RSA) or SEC1 (ECDSA) form. RSA keys have 2048 to 4096 bits.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let chain = certificates(chain)?;
        if chain.len() > MAX_CHAIN || chain.iter().map(|der| der.len()).sum::<usize>() > MAX_CHAIN_OCTETS {
            return Err(CertificateError::TooLong);
        }
        let mut all = chain.iter().enumerate().map(|(index, der)| {
            Details::parse(der).map_err(|reason| CertificateError::Malformed { number: index + 1, reason })
        });
        let details = all.next().ok_or(CertificateError::NoCertificate)??;
        let above = all.collect::<Result<Vec<_>, _>>()?;
        check_own(&details)?;
        let mut issuer = &details.issuer;
        for (index, authority) in above.iter().enumerate() {
            if !authority.subject.is_same(issuer) {
                let (number, subject) = (index + 2, authority.title());
                return Err(CertificateError::OutOfOrder { number, subject });
            }
            issuer = &authority.issuer;
        }
        let mut private = private_key(key)?;
        let key = details.key.clone().and_then(|public| SigningKey::new(&private, &public));
        private.zeroize();
        let key = key?;
        let hashes: Vec<_> = std::iter::once(&details).chain(&above).map(|one| key_hash(&one.spki)).collect();
        let self_signed = |details: &Details| details.subject.is_same(&details.issuer);
        let sent = 1 + above.iter().take_while(|authority| !self_signed(authority)).count();
        let chain = chain.into_iter().zip(hashes).take(sent).map(|(der, key_hash)| Link { der, key_hash });
        Ok(Self { chain: chain.collect(), details, key })
    }

    /// The identity to use unless another is wanted: the subject, or the first subject alternative name of a
    /// certificate without a subject.
    pub fn identity(&self) -> Identity {
        match self.details.names.first() {
            Some(name) if self.details.subject.is_empty() => name.clone(),
            _ => Identity::DistinguishedName(self.details.subject.clone()),
        }
    }

    /// Whether the certificate proves this identity to a peer.
    pub fn proves(&self, identity: &Identity) -> bool {
        self.details.proves(identity)
    }

    /// Why a peer would refuse the certificate for this identity at this time, if it would.
    pub(crate) fn problem(&self, identity: &Identity, now: Option<Duration>) -> Option<String> {
        let Details { not_before, not_after, .. } = self.details;
        let title = self.details.title();
        if !self.proves(identity) {
            return Some(format!("our certificate of {title} does not prove our identity {identity}"));
        }
        match now.map(Date::since_epoch) {
            Some(now) if now > not_after => {
                Some(format!("our certificate of {title} has expired on {not_after}"))
            }
            Some(now) if now < not_before => {
                Some(format!("our certificate of {title} is not valid before {not_before}"))
            }
            _ => None,
        }
    }

    pub(crate) fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The certificates for a peer that trusts authorities with these key hashes: the authority's own certificate and
    /// those above it are left out when one of ours is among them.
    pub(crate) fn chain_for(&self, trusted: &[[u8; 20]]) -> impl Iterator<Item = &CertificateDer<'static>> {
        let is_trusted = |link: &&Link| trusted.contains(&link.key_hash);
        let authorities = self.chain[1..].iter().take_while(move |link| !is_trusted(link));
        self.chain[..1].iter().chain(authorities).map(|link| &link.der)
    }
}

impl PartialEq for Credentials {
    /// The same certificates have the same key.
    fn eq(&self, other: &Self) -> bool {
        self.chain.iter().map(|link| &link.der).eq(other.chain.iter().map(|link| &link.der))
    }
}

impl Eq for Credentials {}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("subject", &self.details.title()).finish_non_exhaustive()
    }
}

/// The certificates in PEM, at least one.
pub(super) fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let found = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| damaged(&error))?;
    if found.is_empty() { Err(CertificateError::NoCertificate) } else { Ok(found) }
}

pub(super) fn damaged(error: &pem::Error) -> CertificateError {
    CertificateError::Pem(error.to_string())
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    let mut found = PrivateKeyDer::pem_slice_iter(pem);
    let mut key = match found.next() {
        Some(Ok(key)) => key,
        // The error's own message may show what is between the markers.
        Some(Err(_)) => return Err(CertificateError::DamagedPrivateKey),
        None => return Err(CertificateError::NoPrivateKey),
    };
    if let Some(second) = found.next() {
        key.zeroize();
        if let Ok(mut second) = second {
            second.zeroize();
        }
        return Err(CertificateError::SeveralPrivateKeys);
    }
    Ok(key)
}

fn check_own(details: &Details) -> Result<(), CertificateError> {
    let subject = details.title();
    if details.is_authority {
        Err(CertificateError::AuthorityFirst { subject })
    } else if !(details.usage.sign && details.usage.ike) {
        Err(CertificateError::Usage { subject })
    } else if details.subject.is_empty() && details.names.is_empty() {
        Err(CertificateError::Nameless)
    } else {
        Ok(())
    }
}
