//! What is wrong with a network configuration file, all of it at once.

use std::fmt;

use serde::Serialize;

use super::MAX_ERRORS;

/// Everything wrong with one file, in line order. Displays one error per line as `file:line: field: message`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Name of the file as the caller gave it.
    pub file: String,
    /// At least one error.
    pub errors: Vec<NetcfgError>,
}

impl Report {
    /// All errors below a line that says what they are about.
    pub fn message(&self) -> String {
        format!("{} is no valid network configuration:\n{self}", self.file)
    }
}

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetcfgError {
    /// Line of the offending element, attribute or text, from 1.
    pub line: usize,
    /// The field: element names joined by `/`, without the two outermost; elements with a name attribute as
    /// `Subnet[name]`; an attribute as `@name` at the end.
    pub path: String,
    /// The value, what is wrong with it and the rule.
    pub message: String,
    /// Which rule, for programs.
    pub kind: ErrorKind,
}

/// The rules a file can break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ErrorKind {
    /// The file is not well-formed XML in UTF-8.
    Syntax,
    /// The file is larger, deeper or more wrong than the limits of this module.
    Limit,
    /// A document type declaration, an entity that is not predefined, or a processing instruction.
    Forbidden,
    /// The root element or its namespace is not that of a network configuration.
    Namespace,
    /// An element that the schema does not have at this place.
    UnknownElement,
    /// An attribute that the schema does not have on this element.
    UnknownAttribute,
    /// Text where the schema has only elements.
    UnexpectedText,
    /// An element that the schema requires is not there.
    MissingElement,
    /// An attribute that the schema requires is not there.
    MissingAttribute,
    /// An element that may appear once appears again.
    RepeatedElement,
    /// A name outside the permitted characters or length.
    InvalidName,
    /// A label, location or affinity group outside the permitted characters or length.
    InvalidText,
    /// Not an IP address, or one that cannot be used for this purpose.
    InvalidAddress,
    /// Not an IPv4 or IPv6 prefix.
    InvalidPrefix,
    /// A prefix with bits set beyond its length.
    HostBits,
    /// A prefix that is too short or too long for its family.
    PrefixLength,
    /// A prefix of addresses that no network can have.
    UnusableRange,
    /// Two things of one sort with one name.
    DuplicateName,
    /// A reference to a name that does not exist.
    UnresolvedReference,
    /// The same DNS server referred to twice by one virtual network.
    RepeatedReference,
    /// A virtual network with neither or both of Location and AffinityGroup.
    Placement,
    /// A subnet that is not inside its virtual network.
    SubnetOutsideNetwork,
    /// Two ranges that must be disjoint are not.
    Overlap,
    /// A site that stands for a virtual network but has another address space.
    SiteDiffersFromNetwork,
    /// A gateway in a virtual network without a subnet named `GatewaySubnet`.
    MissingGatewaySubnet,
    /// More connections on a gateway than permitted.
    TooManyConnections,
    /// Two connections of one gateway to the same address space.
    RedundantConnection,
    /// Two connections of one gateway to the same peer address.
    SharedGatewayAddress,
    /// A gateway address inside its own site, or inside a network or site on whose gateway it is a peer: it would be
    /// reached through a tunnel, or not at all.
    GatewayAddressInSite,
    /// A connection of a virtual network to the site that stands for it.
    SelfConnection,
    /// A connection type that is unknown or not supported.
    ConnectionType,
    /// A gateway profile that is not known.
    Profile,
}

impl fmt::Display for NetcfgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}:{}: {error}", self.file, error.line)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}

/// Errors as they are found, at most [`MAX_ERRORS`] of them.
#[derive(Debug, Default)]
pub(super) struct Errors {
    found: Vec<NetcfgError>,
    truncated: bool,
}

impl Errors {
    pub(super) fn add(&mut self, kind: ErrorKind, line: usize, path: &str, message: String) {
        self.push(NetcfgError { line, path: path.to_owned(), message, kind });
    }

    pub(super) fn push(&mut self, error: NetcfgError) {
        if self.is_full() {
            self.truncated = true;
        } else {
            self.found.push(error);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether looking for more errors would be in vain.
    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= MAX_ERRORS
    }

    /// The errors in line order.
    pub(super) fn sorted(mut self) -> Vec<NetcfgError> {
        self.found.sort_by_key(|error| error.line);
        if self.truncated {
            let line = self.found.last().map_or(1, |error| error.line);
            let message = format!("more than {MAX_ERRORS} errors; the rest is not shown");
            self.found.push(NetcfgError { line, path: String::new(), message, kind: ErrorKind::Limit });
        }
        self.found
    }
}
