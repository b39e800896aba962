//! Where a peer gateway is: an address, or a name that is looked up.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Longest host name, without a dot at the end (RFC 1035 section 2.3.4, as text).
const MAX_NAME: usize = 253;
/// Longest label of a host name (RFC 1035 section 2.3.4).
const MAX_LABEL: usize = 63;

/// The address of a peer gateway as a network configuration names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum GatewayAddress {
    /// An address.
    Ip(IpAddr),
    /// A name that DNS or the hosts file knows.
    Name(HostName),
}

impl GatewayAddress {
    /// Whether this only holds the place of an address that is not known yet.
    ///
    /// Only the unspecified address (`0.0.0.0` or `::`) is a placeholder. Addresses of the documentation ranges
    /// (RFC 5737, RFC 3849) are addresses like any other: test networks use them for real.
    pub fn is_placeholder(&self) -> bool {
        self.ip().is_some_and(|address| address.is_unspecified())
    }

    /// The address, unless it is a name.
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(address) => Some(*address),
            Self::Name(_) => None,
        }
    }

    /// The name, unless it is an address.
    pub fn name(&self) -> Option<&HostName> {
        match self {
            Self::Ip(_) => None,
            Self::Name(name) => Some(name),
        }
    }
}

impl From<IpAddr> for GatewayAddress {
    fn from(address: IpAddr) -> Self {
        Self::Ip(address)
    }
}

/// Neither an IP address nor a host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "neither an IPv4 or IPv6 address nor a host name; a host name has labels of 1 to {MAX_LABEL} letters, digits and \"-\" \
     joined by \".\", none begins or ends with \"-\", the last is no number, and all has at most {MAX_NAME} characters \
     (RFC 1123)"
)]
pub struct NoGatewayAddress;

impl FromStr for GatewayAddress {
    type Err = NoGatewayAddress;

    fn from_str(text: &str) -> Result<Self, NoGatewayAddress> {
        match text.parse() {
            Ok(address) => Ok(Self::Ip(address)),
            Err(_) => HostName::new(text).map(Self::Name).ok_or(NoGatewayAddress),
        }
    }
}

impl TryFrom<String> for GatewayAddress {
    type Error = NoGatewayAddress;

    fn try_from(text: String) -> Result<Self, NoGatewayAddress> {
        text.parse()
    }
}

impl From<GatewayAddress> for String {
    fn from(address: GatewayAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for GatewayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ip(address) => address.fmt(f),
            Self::Name(name) => f.pad(name.as_str()),
        }
    }
}

/// The name of a host in lower case, which is how names are compared (RFC 4343), and without a dot at the end.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostName(String);

impl HostName {
    /// A name by the rules of RFC 1123 section 2.1, `None` if it breaks one. The last label is no number, so that no
    /// mistyped IPv4 address is a name.
    pub fn new(text: &str) -> Option<Self> {
        let is_label = |label: &str| {
            (1..=MAX_LABEL).contains(&label.len())
                && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
        let is_name = text.len() <= MAX_NAME
            && text.split('.').all(is_label)
            && !text.rsplit('.').next().is_some_and(is_number);
        is_name.then(|| Self(text.to_ascii_lowercase()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_rfc_1123() {
        let longest = ["a".repeat(63), "b".repeat(63), "c".repeat(63), "d".repeat(61)].join(".");
        for name in ["gw", "gw1.example", "3com.example", "1.2.3.4x", "a--b.example", &longest] {
            assert_eq!(HostName::new(name).unwrap().as_str(), name);
        }
        let too_long = format!("{longest}d");
        let long_label = "a".repeat(64);
        for text in [
            "",
            ".",
            "gw.",
            ".gw",
            "gw..example",
            "-gw",
            "gw-",
            "gw.-a",
            "g_w",
            "gw example",
            "g\u{fc}",
            "203.0.113.01",
            "1234",
            "gw.example:500",
            &too_long,
            &long_label,
        ] {
            assert_eq!(HostName::new(text), None, "{text}");
        }
    }

    #[test]
    fn case_is_no_difference() {
        assert_eq!(HostName::new("GW1.Example"), HostName::new("gw1.example"));
    }

    #[test]
    fn text_is_an_address_before_it_is_a_name() {
        for (text, is_name) in [("192.0.2.1", false), ("2001:db8::1", false), ("gw1.example", true)] {
            let address: GatewayAddress = text.parse().unwrap();
            assert_eq!((address.name().is_some(), address.to_string()), (is_name, text.to_owned()));
            assert_eq!(serde_json::to_value(&address).unwrap(), text);
        }
        assert!(serde_json::from_str::<GatewayAddress>("\"gw_1\"").is_err());
    }
}
