//! Identities between configuration and wire.

use crate::config::{DistinguishedName, Identity, shortened};
use crate::wire::{IdType, Identification};

/// The ID payload of an identity.
pub(crate) fn identification(identity: &Identity) -> Identification {
    match identity {
        Identity::Ipv4(address) => Identification::new(IdType::IPV4_ADDR, &address.octets()),
        Identity::Ipv6(address) => Identification::new(IdType::IPV6_ADDR, &address.octets()),
        Identity::Fqdn(name) => Identification::new(IdType::FQDN, name.as_bytes()),
        Identity::Rfc822(address) => Identification::new(IdType::RFC822_ADDR, address.as_bytes()),
        Identity::DistinguishedName(name) => Identification::new(IdType::DER_ASN1_DN, name.as_der()),
    }
}

/// The identity in an ID payload; `None` when it is malformed or of a type that is not supported.
pub(crate) fn parse(received: &Identification) -> Option<Identity> {
    let data = received.data();
    let name = || {
        let printable = !data.is_empty() && data.iter().all(u8::is_ascii_graphic);
        printable.then(|| data.iter().map(|octet| char::from(*octet)).collect())
    };
    match received.kind() {
        IdType::IPV4_ADDR => <[u8; 4]>::try_from(data).ok().map(|octets| Identity::Ipv4(octets.into())),
        IdType::IPV6_ADDR => <[u8; 16]>::try_from(data).ok().map(|octets| Identity::Ipv6(octets.into())),
        IdType::FQDN => name().map(Identity::Fqdn),
        IdType::RFC822_ADDR => name().map(Identity::Rfc822),
        IdType::DER_ASN1_DN => DistinguishedName::from_der(data).ok().map(Identity::DistinguishedName),
        _ => None,
    }
}

/// Whether an ID payload is this identity.
pub(crate) fn matches(received: &Identification, expected: &Identity) -> bool {
    parse(received).is_some_and(|received| received.is_same(expected))
}

/// An ID payload for a human.
pub(crate) fn describe(received: &Identification) -> String {
    let octets = || received.data().escape_ascii().to_string();
    let text = match (parse(received), received.kind()) {
        (Some(identity), _) => identity.to_string(),
        (None, IdType::IPV4_ADDR | IdType::IPV6_ADDR) => "a malformed address".to_owned(),
        (None, IdType::DER_ASN1_DN) => "a malformed distinguished name".to_owned(),
        (None, IdType::FQDN | IdType::RFC822_ADDR) => octets(),
        (None, IdType(kind)) => format!("type {kind} {}", octets()),
    };
    shortened(&text)
}
