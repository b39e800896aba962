//! Identities between configuration and wire.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::config::Identity;
use crate::wire::{IdType, Identification};

/// The ID payload of an identity.
pub(crate) fn identification(identity: &Identity) -> Identification {
    match identity {
        Identity::Ipv4(address) => Identification::new(IdType::IPV4_ADDR, &address.octets()),
        Identity::Ipv6(address) => Identification::new(IdType::IPV6_ADDR, &address.octets()),
        Identity::Fqdn(name) => Identification::new(IdType::FQDN, name.as_bytes()),
        Identity::Rfc822(address) => Identification::new(IdType::RFC822_ADDR, address.as_bytes()),
    }
}

/// Whether an ID payload is this identity.
pub(crate) fn matches(received: &Identification, expected: &Identity) -> bool {
    let expected = identification(expected);
    received.kind() == expected.kind() && received.data() == expected.data()
}

/// An ID payload for a human.
pub(crate) fn describe(received: &Identification) -> String {
    let data = received.data();
    let malformed = || "a malformed address".to_owned();
    match received.kind() {
        IdType::IPV4_ADDR => <[u8; 4]>::try_from(data)
            .map_or_else(|_| malformed(), |octets| Ipv4Addr::from(octets).to_string()),
        IdType::IPV6_ADDR => <[u8; 16]>::try_from(data)
            .map_or_else(|_| malformed(), |octets| Ipv6Addr::from(octets).to_string()),
        IdType::FQDN | IdType::RFC822_ADDR => data.escape_ascii().to_string(),
        IdType(kind) => format!("type {kind} {}", data.escape_ascii()),
    }
}
