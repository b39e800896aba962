//! Network configuration files: reading, checking and writing.
//!
//! A file is XML with the root `NetworkConfiguration` in one of [`NAMESPACES`]. [`parse`] reads it, checks every rule
//! and either returns the configuration or a [`Report`] with *all* errors, each with its line, the field, the value and
//! the rule. [`write()`] gives the canonical text of a configuration; comments of the file it came from are lost.
//! A file describes the whole configuration: applying it replaces everything.
//!
//! ```text
//! NetworkConfiguration/VirtualNetworkConfiguration
//!   Dns?/DnsServers?/DnsServer* @name @IPAddress
//!   LocalNetworkSites?/LocalNetworkSite* @name
//!     AddressSpace/AddressPrefix+    VPNGatewayAddress?
//!   VirtualNetworkSites?/VirtualNetworkSite* @name (@Location xor @AffinityGroup)
//!     Label?    AddressSpace/AddressPrefix+
//!     Subnets?/Subnet* @name /AddressPrefix
//!     DnsServersRef?/DnsServerRef* @name
//!     Gateway? @profile?
//!       VPNClientAddressPool?/AddressPrefix*
//!       ConnectionsToLocalNetwork?/LocalNetworkSiteRef* @name /Connection? @type?
//! ```
//!
//! The order of elements does not matter on reading, except that lists keep theirs.
//!
//! # Rules
//!
//! - XML: UTF-8, at most [`MAX_BYTES`], at most [`MAX_DEPTH`] deep, no document type, no entities but the five
//!   predefined ones and character references, no processing instructions, no unknown elements or attributes.
//! - Names: 1 to 63 ASCII letters, digits, `-`, `_` or `.`, first a letter or digit, no `..`; unique per sort (subnets
//!   per virtual network); compared case-sensitively. They become path components, hence no spaces or separators.
//! - Location and AffinityGroup: exactly one, 1 to 128 characters. Label: up to 256 characters. No control characters.
//! - References resolve; a virtual network refers to a DNS server once.
//! - Prefixes: no host bits; IPv4 from /8 to /29, outside the ranges no network can have (0.0.0.0/8, 127.0.0.0/8,
//!   169.254.0.0/16, 224.0.0.0/4, 240.0.0.0/4); IPv6 from /16 to /126, outside of ::/8, fe80::/10 and ff00::/8;
//!   disjoint within one address space or pool. An address space may have prefixes of both families.
//! - Subnets: each inside one prefix of the network, disjoint. A gateway needs one named exactly `GatewaySubnet`.
//! - A site that bears the name of a virtual network stands for it and has the same address space.
//! - A gateway: profile `default` or `azure`; at most [`Limits::max_connections`] connections, of type `IPsec`; none to
//!   the site that stands for its own network, no two to the same address space; its network, the connected sites and
//!   its client pool do not overlap. Networks and sites that meet on no gateway may overlap.
//! - VPNGatewayAddress: unicast IPv4 or IPv6 (no IPv4-mapped, no IPv6 link-local), a placeholder (see
//!   [`GatewayAddress::is_placeholder`]), or a host name (RFC 1123 section 2.1); an address is outside its own site, and for the peers of a gateway, different from each
//!   other and outside the gateway's network and all its connected sites.

mod document;
mod error;
mod overlap;
mod read;
mod rules;
mod tree;
mod value;
mod write;

#[cfg(doc)]
use crate::model::GatewayAddress;
use crate::model::NetworkConfiguration;

use error::Errors;
use value::quoted;

pub use error::{ErrorKind, NetcfgError, Report};
pub(crate) use value::not_unicast;
pub use write::write;

/// The namespaces of the schema; [`write()`] uses the first.
pub const NAMESPACES: [&str; 2] = [
    "http://schemas.microsoft.com/ServiceHosting/2011/07/NetworkConfiguration",
    "https://schemas.microsoft.com/ServiceHosting/2011/07/NetworkConfiguration",
];

/// Largest file that is read, in bytes: room for more than 16,384 sites with ten prefixes each.
pub const MAX_BYTES: usize = 32 << 20;

/// Most elements inside one another; the schema needs 8.
pub const MAX_DEPTH: usize = 16;

/// Most errors in one [`Report`]; one more says that there are others.
pub const MAX_ERRORS: usize = 1000;

/// Rules that depend on the gateway, not on the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most connections of one gateway.
    pub max_connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_connections: 10 }
    }
}

/// Reads and checks a file. `file` is the name that errors begin with.
///
/// A file that is not well-formed XML has one error, where reading stopped. Otherwise the report has every error.
pub fn parse(file: &str, bytes: &[u8], limits: &Limits) -> Result<NetworkConfiguration, Report> {
    let mut errors = Errors::default();
    let document = match tree::parse(bytes) {
        Ok(root) => read::document(&root, &mut errors),
        Err(error) => {
            errors.push(error);
            None
        }
    };
    if let Some(document) = &document {
        rules::check(document, *limits, &mut errors);
    }
    match document {
        Some(document) if errors.is_empty() => Ok(document.into_model()),
        _ => Err(Report { file: file.to_owned(), errors: errors.sorted() }),
    }
}

/// Checks a configuration that did not come from a file. Lines in the report are those of [`write()`]'s text.
pub fn validate(configuration: &NetworkConfiguration, limits: &Limits) -> Result<(), Report> {
    parse("configuration", write(configuration).as_bytes(), limits).map(|_| ())
}
