//! IKE identities.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use crate::config::DistinguishedName;

/// Longest domain name or e-mail address, in octets.
const MAX_NAME: usize = 320;
/// Longest text of a peer that is shown, in characters.
const MAX_SHOWN: usize = 300;

/// An IKE identity (RFC 7296 §3.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// ID_IPV4_ADDR.
    Ipv4(Ipv4Addr),
    /// ID_IPV6_ADDR.
    Ipv6(Ipv6Addr),
    /// ID_FQDN: a domain name without trailing dot.
    Fqdn(String),
    /// ID_RFC822_ADDR: an e-mail address.
    Rfc822(String),
    /// ID_DER_ASN1_DN: the subject of a certificate.
    DistinguishedName(DistinguishedName),
}

/// A text or an octet string is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Nothing is left of the text.
    #[error("an identity must not be empty")]
    Empty,
    /// More octets than any certificate has there.
    #[error("an identity of so many octets is too long")]
    TooLong,
    /// A domain name or e-mail address with a character that neither can have.
    #[error(
        "{0:?} is neither an address, nor a distinguished name such as \"C=DE, O=Example, CN=gw1\", nor a domain name or e-mail address of printable ASCII characters"
    )]
    InvalidName(String),
    /// An attribute of a distinguished name is not known.
    #[error(
        "unknown attribute {0:?} in a distinguished name; use its object identifier, such as 2.5.4.3 for CN"
    )]
    UnknownAttribute(String),
    /// An attribute of a distinguished name has no value.
    #[error("attribute {0:?} of a distinguished name has no value")]
    NoValue(String),
    /// The value of an attribute is not text, or not DER in hexadecimal digits behind `#`.
    #[error("malformed value of attribute {0:?} of a distinguished name")]
    MalformedValue(String),
    /// Octets that are not the DER of a distinguished name.
    #[error("a distinguished name is malformed")]
    MalformedDer,
}

impl Identity {
    /// Whether both name the same: domain names are compared without regard to case, distinguished names as
    /// [`DistinguishedName::is_same`] does, everything else exactly. Identities of different types are different.
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Fqdn(one), Self::Fqdn(other)) => one.eq_ignore_ascii_case(other),
            (Self::Rfc822(one), Self::Rfc822(other)) => {
                match (one.rsplit_once('@'), other.rsplit_once('@')) {
                    (Some((user, host)), Some((other_user, other_host))) => {
                        user == other_user && host.eq_ignore_ascii_case(other_host)
                    }
                    _ => one == other,
                }
            }
            (Self::DistinguishedName(one), Self::DistinguishedName(other)) => one.is_same(other),
            _ => self == other,
        }
    }
}

impl From<IpAddr> for Identity {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4(address),
            IpAddr::V6(address) => Self::Ipv6(address),
        }
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    /// What an administrator writes: an IP address; a distinguished name, known by its `=`; an e-mail address, known by
    /// its `@`; anything else is a domain name, and so is what follows a leading `@`.
    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(IdentityError::Empty);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(address.into());
        }
        match text.strip_prefix('@') {
            Some(name) => plain(name).map(Self::Fqdn),
            None if text.contains('=') => text.parse().map(Self::DistinguishedName),
            None if text.contains('@') => plain(text).map(Self::Rfc822),
            None => plain(text).map(Self::Fqdn),
        }
    }
}

impl fmt::Display for Identity {
    /// The form that [`Self::from_str`] reads: a domain name that it would take for something else has a leading `@`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => address.fmt(f),
            Self::Ipv6(address) => address.fmt(f),
            Self::Fqdn(name) if name.contains(['@', '=']) || name.parse::<IpAddr>().is_ok() => {
                write!(f, "@{name}")
            }
            Self::Fqdn(name) | Self::Rfc822(name) => f.write_str(name),
            Self::DistinguishedName(name) => name.fmt(f),
        }
    }
}

/// A text from outside, up to a length that a human reads.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Checks a domain name or e-mail address.
fn plain(name: &str) -> Result<String, IdentityError> {
    if name.is_empty() {
        Err(IdentityError::Empty)
    } else if name.len() > MAX_NAME {
        Err(IdentityError::TooLong)
    } else if !name.bytes().all(|octet| octet.is_ascii_graphic()) {
        Err(IdentityError::InvalidName(name.to_owned()))
    } else {
        Ok(name.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Identity {
        text.parse().unwrap()
    }

    #[test]
    fn text_tells_the_type_of_an_identity() {
        assert_eq!(read("192.0.2.1"), Identity::Ipv4(Ipv4Addr::new(192, 0, 2, 1)));
        assert_eq!(read("2001:db8::1"), Identity::Ipv6("2001:db8::1".parse().unwrap()));
        assert_eq!(read(" gw1.example "), Identity::Fqdn("gw1.example".to_owned()));
        assert_eq!(read("gw1@example"), Identity::Rfc822("gw1@example".to_owned()));
        assert_eq!(read("@192.0.2.1"), Identity::Fqdn("192.0.2.1".to_owned()));
        assert!(matches!(read("C=DE, CN=a@b"), Identity::DistinguishedName(_)));
    }

    #[test]
    fn text_that_is_written_is_read_as_the_same_identity() {
        for text in ["192.0.2.1", "2001:db8::1", "gw1.example", "gw1@example", "C=DE, CN=a@b"] {
            assert_eq!(read(text).to_string(), text);
        }
        for name in ["192.0.2.1", "2001:db8::1", "gw1@example", "@gw1", "CN=gw1", "a=b"] {
            let forced = read(&format!("@{name}"));
            assert_eq!(forced, Identity::Fqdn(name.to_owned()));
            assert_eq!(read(&forced.to_string()), forced);
        }
    }

    #[test]
    fn what_is_no_identity_is_refused_with_the_reason() {
        let error = |text: &str| text.parse::<Identity>().unwrap_err();
        assert_eq!(error("  "), IdentityError::Empty);
        assert_eq!(error("@"), IdentityError::Empty);
        assert_eq!(error("a b"), IdentityError::InvalidName("a b".to_owned()));
        assert_eq!(error("gw\u{f6}"), IdentityError::InvalidName("gw\u{f6}".to_owned()));
        assert_eq!(error(&"a".repeat(321)), IdentityError::TooLong);
        assert_eq!(error("XY=a"), IdentityError::UnknownAttribute("XY".to_owned()));
        assert_eq!(error("CN="), IdentityError::NoValue("CN".to_owned()));
        assert_eq!(error("CN=a,,O=b"), IdentityError::NoValue(String::new()));
        assert_eq!(error("CN=a\\"), IdentityError::MalformedValue("CN".to_owned()));
        for value in ["#0", "#", "#0c", "#0c0161ff"] {
            assert_eq!(error(&format!("CN={value}")), IdentityError::MalformedValue("CN".to_owned()));
        }
        assert_eq!(error(&format!("CN={}", "a".repeat(5000))), IdentityError::TooLong);
    }

    #[test]
    fn case_counts_only_where_it_means_something() {
        assert!(read("GW1.example").is_same(&read("gw1.Example")));
        assert!(read("a@EXAMPLE").is_same(&read("a@example")));
        assert!(!read("A@example").is_same(&read("a@example")));
        assert!(!read("gw1.example").is_same(&read("gw2.example")));
        assert!(!read("192.0.2.1").is_same(&read("@192.0.2.1")));
        assert!(read("CN=A").is_same(&read("cn=a")));
    }
}
