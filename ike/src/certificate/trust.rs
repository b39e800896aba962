//! The authorities we trust, and what a peer's certificate must be to be accepted.

use std::fmt;
use std::time::Duration;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime,
};
use sha1::{Digest, Sha1};
use webpki::{
    CertRevocationList, EndEntityCert, Error, ExpirationPolicy, ExtendedKeyUsageValidator, KeyPurposeIdIter,
    OwnedCertRevocationList, RevocationCheckDepth, RevocationOptionsBuilder, UnknownStatusPolicy,
    VerifiedPath, anchor_from_trusted_cert, ring,
};

use crate::certificate::credentials::{certificates, damaged};
use crate::certificate::date::Date;
use crate::certificate::details::Details;
use crate::certificate::{CertificateError, Distrust, MAX_CHAIN, MAX_CHAIN_OCTETS};
use crate::config::{DistinguishedName, Identity};
use crate::crypto::PublicKey;

/// Signatures that certificates may have.
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    ring::ECDSA_P256_SHA256,
    ring::ECDSA_P256_SHA384,
    ring::ECDSA_P384_SHA256,
    ring::ECDSA_P384_SHA384,
    ring::ED25519,
    ring::RSA_PKCS1_2048_8192_SHA256,
    ring::RSA_PKCS1_2048_8192_SHA384,
    ring::RSA_PKCS1_2048_8192_SHA512,
    ring::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    ring::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    ring::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
];

/// The authorities whose certificates are accepted from a peer, and optionally their revocation lists.
pub struct TrustAnchors {
    authorities: Vec<Authority>,
    /// The same authorities, as the verifier wants them.
    anchors: Vec<TrustAnchor<'static>>,
    revocation_lists: Vec<CertRevocationList<'static>>,
    /// Their octets, to tell whether two are the same.
    revocation_ders: Vec<CertificateRevocationListDer<'static>>,
}

struct Authority {
    der: CertificateDer<'static>,
    subject: DistinguishedName,
    not_before: Date,
    not_after: Date,
    key_hash: [u8; 20],
}

impl TrustAnchors {
    /// Reads the certificates of one or more authorities from PEM, root or intermediate ones. Whatever they certify is
    /// accepted, whoever certified them.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CertificateError> {
        let (mut authorities, mut anchors) = (Vec::new(), Vec::new());
        for (index, der) in certificates(pem)?.into_iter().enumerate() {
            let malformed = |reason| CertificateError::Malformed { number: index + 1, reason };
            let details = Details::parse(&der).map_err(malformed)?;
            if !(details.is_authority && details.usage.certify) {
                return Err(CertificateError::NoAuthority { subject: details.title() });
            }
            let anchor = anchor_from_trusted_cert(&der)
                .map_err(|_| malformed("its extensions or its public key are not supported"))?
                .to_owned();
            anchors.push(anchor);
            authorities.push(Authority {
                subject: details.subject,
                not_before: details.not_before,
                not_after: details.not_after,
                key_hash: key_hash(&details.spki),
                der,
            });
        }
        Ok(Self { authorities, anchors, revocation_lists: Vec::new(), revocation_ders: Vec::new() })
    }

    /// Adds revocation lists from PEM. Certificates on the list of their issuer are refused, and so are those whose
    /// issuer's list is out of date; certificates of an issuer without a list are accepted.
    pub fn with_crls(mut self, pem: &[u8]) -> Result<Self, CertificateError> {
        let found = CertificateRevocationListDer::pem_slice_iter(pem);
        for (index, der) in found.enumerate() {
            let der = der.map_err(|error| damaged(&error))?;
            let list = OwnedCertRevocationList::from_der(&der).map_err(|error| {
                CertificateError::RevocationList { number: index + 1, reason: format!("{error:?}") }
            })?;
            self.revocation_lists.push(list.into());
            self.revocation_ders.push(der);
        }
        if self.revocation_lists.is_empty() {
            return Err(CertificateError::NoRevocationList);
        }
        Ok(self)
    }

    /// What CERTREQ names the authorities by: SHA-1 of the SubjectPublicKeyInfo (RFC 7296 §3.7).
    pub(crate) fn key_hashes(&self) -> impl Iterator<Item = &[u8; 20]> {
        self.authorities.iter().map(|authority| &authority.key_hash)
    }

    /// Checks a peer's certificates, its own first, for this identity at this time since 1970, and returns its public
    /// key. The number of certificates and of signatures that are verified is bounded.
    pub(crate) fn verify(
        &self,
        chain: &[CertificateDer<'_>],
        identity: &Identity,
        now: Option<Duration>,
    ) -> Result<PublicKey, Distrust> {
        let (end_entity, above) = chain.split_first().ok_or(Distrust::Missing)?;
        if chain.len() > MAX_CHAIN || chain.iter().map(|der| der.len()).sum::<usize>() > MAX_CHAIN_OCTETS {
            return Err(Distrust::TooLong);
        }
        let now = now.ok_or(Distrust::NoTime)?;
        let details = Details::parse(end_entity).map_err(Distrust::Malformed)?;
        check_end_entity(&details, identity, Date::since_epoch(now))?;
        self.verify_chain(end_entity, above, now).map_err(|error| {
            let (subject, issuer) = (details.title(), details.issuer.to_string());
            match error {
                Error::UnknownIssuer => {
                    let issuer = last_issuer(&details, above).to_string();
                    Distrust::UnknownIssuer { subject, issuer }
                }
                error => Distrust::Chain { subject, issuer, error },
            }
        })?;
        details.key.map_err(|error| match error {
            crate::crypto::SignatureError::ShortKey { .. } => Distrust::Malformed("its RSA key is too short"),
            _ => Distrust::Malformed("its public key is of no supported kind"),
        })
    }

    fn verify_chain(
        &self,
        end_entity: &CertificateDer<'_>,
        above: &[CertificateDer<'_>],
        now: Duration,
    ) -> Result<(), Error> {
        let lists: Vec<_> = self.revocation_lists.iter().collect();
        let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|builder| {
            builder
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Allow)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let time = UnixTime::since_unix_epoch(now);
        let checks = |path: &VerifiedPath<'_>| self.check_path(path, time);
        let end_entity = EndEntityCert::try_from(end_entity)?;
        end_entity.verify_for_usage(
            ALGORITHMS,
            &self.anchors,
            above,
            time,
            AnyPurpose,
            revocation,
            Some(&checks),
        )?;
        Ok(())
    }

    /// What the verifier does not look at: key usage of authorities and the validity of the trusted one.
    fn check_path(&self, path: &VerifiedPath<'_>, time: UnixTime) -> Result<(), Error> {
        for authority in path.intermediate_certificates() {
            let details = Details::parse(&authority.der()).map_err(|_| Error::BadDer)?;
            if !details.usage.certify {
                return Err(Error::EndEntityUsedAsCa);
            }
        }
        let now = Date::from(time);
        // A renewed authority may be there twice, with the same name and key.
        let same = self.authorities.iter().zip(&self.anchors).filter(|(_, anchor)| *anchor == path.anchor());
        let mut problem = Error::UnknownIssuer;
        for (authority, _) in same {
            if now > authority.not_after {
                problem = Error::CertExpired { time, not_after: authority.not_after.into() };
            } else if now < authority.not_before {
                problem = Error::CertNotValidYet { time, not_before: authority.not_before.into() };
            } else {
                return Ok(());
            }
        }
        Err(problem)
    }
}

impl PartialEq for TrustAnchors {
    fn eq(&self, other: &Self) -> bool {
        let ders = |trust: &Self| trust.authorities.iter().map(|one| one.der.clone()).collect::<Vec<_>>();
        ders(self) == ders(other) && self.revocation_ders == other.revocation_ders
    }
}

impl Eq for TrustAnchors {}

impl fmt::Debug for TrustAnchors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.authorities.iter().map(|authority| &authority.subject)).finish()
    }
}

/// Certificates of authorities restrict purposes in many ways, none of which is about IKE; those of the peer itself are
/// checked apart.
struct AnyPurpose;

impl ExtendedKeyUsageValidator for AnyPurpose {
    fn validate(&self, purposes: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        purposes.into_iter().try_for_each(|purpose| purpose.map(drop))
    }
}

/// SHA-1 of a DER SubjectPublicKeyInfo.
pub(super) fn key_hash(spki: &[u8]) -> [u8; 20] {
    Sha1::digest(spki).into()
}

fn check_end_entity(details: &Details, identity: &Identity, now: Date) -> Result<(), Distrust> {
    let (subject, issuer) = (details.title(), details.issuer.to_string());
    if now > details.not_after {
        return Err(Distrust::Expired { subject, issuer, since: details.not_after });
    }
    if now < details.not_before {
        return Err(Distrust::NotYetValid { subject, issuer, from: details.not_before });
    }
    if !details.usage.sign {
        return Err(Distrust::KeyUsage { subject });
    }
    if !details.usage.ike {
        return Err(Distrust::Purpose { subject });
    }
    if !details.proves(identity) {
        let names: Vec<_> = details.names.iter().map(Identity::to_string).collect();
        let names = if names.is_empty() {
            ", it has no subject alternative names".to_owned()
        } else {
            format!(", its subject alternative names are {}", names.join(", "))
        };
        return Err(Distrust::OtherName { subject, identity: identity.to_string(), names });
    }
    Ok(())
}

/// Who issued the topmost of the certificates that were sent.
fn last_issuer(details: &Details, above: &[CertificateDer<'_>]) -> DistinguishedName {
    let mut authorities: Vec<_> = above.iter().filter_map(|der| Details::parse(der).ok()).collect();
    let mut issuer = details.issuer.clone();
    while let Some(at) = authorities.iter().position(|authority| authority.subject.is_same(&issuer)) {
        issuer = authorities.swap_remove(at).issuer;
    }
    issuer
}
