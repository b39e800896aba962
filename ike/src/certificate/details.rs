//! What a certificate says.

use std::net::{Ipv4Addr, Ipv6Addr};

use x509_parser::asn1_rs::{Oid, oid};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{ExtendedKeyUsage, GeneralName, KeyUsage};
use x509_parser::prelude::FromDer;

use crate::certificate::date::Date;
use crate::config::{DistinguishedName, Identity};
use crate::crypto::{PublicKey, SignatureError};

/// Most subject alternative names that are looked at.
const MAX_NAMES: usize = 100;

/// Purposes besides serverAuth, clientAuth and anyExtendedKeyUsage that allow IKE: ipsecIKE (RFC 4945 §5.1.3.12) and
/// its predecessor ikeIntermediate.
const IPSEC_IKE: Oid<'static> = oid!(1.3.6.1.5.5.7.3.17);
const IKE_INTERMEDIATE: Oid<'static> = oid!(1.3.6.1.5.5.8.2.2);

/// What matters of a certificate.
pub(crate) struct Details {
    pub(crate) subject: DistinguishedName,
    pub(crate) issuer: DistinguishedName,
    pub(crate) not_before: Date,
    pub(crate) not_after: Date,
    /// Subject alternative names of the types an IKE identity can have.
    pub(crate) names: Vec<Identity>,
    pub(crate) key: Result<PublicKey, SignatureError>,
    /// The DER SubjectPublicKeyInfo.
    pub(crate) spki: Vec<u8>,
    pub(crate) is_authority: bool,
    pub(crate) usage: Usage,
}

/// What the key may be used for.
pub(crate) struct Usage {
    /// To sign messages: digitalSignature or nonRepudiation, or no restriction (RFC 4945 §5.1.3.2).
    pub(crate) sign: bool,
    /// To sign certificates: keyCertSign, or no restriction.
    pub(crate) certify: bool,
    /// For IKE: no extended key usage, or one that allows it.
    pub(crate) ike: bool,
}

impl Details {
    pub(crate) fn parse(der: &[u8]) -> Result<Self, &'static str> {
        let Ok((&[], certificate)) = X509Certificate::from_der(der) else {
            return Err("it is no X.509 certificate");
        };
        let name = |der: &[u8]| DistinguishedName::from_der(der).map_err(|_| "a name in it is malformed");
        let twice = |_| "an extension in it is malformed or occurs twice";
        let usage = certificate.key_usage().map_err(twice)?.map(|extension| extension.value);
        let purposes = certificate.extended_key_usage().map_err(twice)?.map(|extension| extension.value);
        let names = certificate.subject_alternative_name().map_err(twice)?;
        let names = names.iter().flat_map(|extension| &extension.value.general_names);
        Ok(Self {
            subject: name(certificate.subject().as_raw())?,
            issuer: name(certificate.issuer().as_raw())?,
            not_before: Date::of(&certificate.validity().not_before),
            not_after: Date::of(&certificate.validity().not_after),
            names: names.take(MAX_NAMES).filter_map(identity).collect(),
            key: PublicKey::from_spki(certificate.public_key().raw),
            spki: certificate.public_key().raw.to_vec(),
            is_authority: certificate.is_ca(),
            usage: Usage {
                sign: usage.is_none_or(|usage| usage.digital_signature() || usage.non_repudiation()),
                certify: usage.is_none_or(KeyUsage::key_cert_sign),
                ike: purposes.is_none_or(allows_ike),
            },
        })
    }

    /// Whether the certificate proves this identity: its subject, or one of its subject alternative names.
    pub(crate) fn proves(&self, identity: &Identity) -> bool {
        match identity {
            Identity::DistinguishedName(name) => !name.is_empty() && name.is_same(&self.subject),
            other => self.names.iter().any(|name| name.is_same(other)),
        }
    }

    /// What a human recognises the certificate by.
    pub(crate) fn title(&self) -> String {
        match self.names.first() {
            Some(name) if self.subject.is_empty() => name.to_string(),
            _ => self.subject.to_string(),
        }
    }
}

fn identity(name: &GeneralName<'_>) -> Option<Identity> {
    let plain = |name: &str| {
        let is_plain = !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic());
        is_plain.then(|| name.to_owned())
    };
    match name {
        GeneralName::DNSName(name) => plain(name).map(Identity::Fqdn),
        GeneralName::RFC822Name(name) => plain(name).map(Identity::Rfc822),
        GeneralName::IPAddress(octets) => match octets.len() {
            4 => <[u8; 4]>::try_from(*octets).ok().map(|octets| Identity::Ipv4(Ipv4Addr::from(octets))),
            16 => <[u8; 16]>::try_from(*octets).ok().map(|octets| Identity::Ipv6(Ipv6Addr::from(octets))),
            _ => None,
        },
        _ => None,
    }
}

fn allows_ike(purposes: &ExtendedKeyUsage<'_>) -> bool {
    purposes.any
        || purposes.server_auth
        || purposes.client_auth
        || purposes.other.iter().any(|purpose| [IPSEC_IKE, IKE_INTERMEDIATE].contains(purpose))
}
