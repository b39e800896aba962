//! What the agent needs to know about network interfaces before it starts.

use std::net::Ipv4Addr;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};

/// Why an interface cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InterfaceError {
    /// No interface has this name.
    #[error("there is no interface {name}; the interfaces here are {present}")]
    Missing {
        /// The name asked for.
        name: String,
        /// Those that exist, joined by commas.
        present: String,
    },
    /// The interface exists without a global IPv4 address.
    #[error("interface {0} has no global IPv4 address; give it one or name another interface")]
    NoAddress(String),
    /// The kernel did not list the interfaces.
    #[error("cannot list the network interfaces: {0}")]
    List(nix::Error),
}

/// The first global IPv4 address of an interface, in the kernel's order (the primary address comes first).
pub(super) fn wan_address(name: &str) -> Result<Ipv4Addr, InterfaceError> {
    let all = list()?;
    check(&all, name)?;
    all.iter()
        .filter(|entry| entry.interface_name == name)
        .filter_map(|entry| Some(entry.address.as_ref()?.as_sockaddr_in()?.ip()))
        .find(|address| is_global(*address))
        .ok_or_else(|| InterfaceError::NoAddress(name.to_owned()))
}

/// Refuses the first name that no interface bears.
pub(super) fn require_all(names: &[String]) -> Result<(), InterfaceError> {
    let all = list()?;
    names.iter().try_for_each(|name| check(&all, name))
}

/// Usable between hosts: neither loopback nor link-local (RFC 3927) nor unspecified. Private addresses count: the
/// gateway may stand behind a NAT.
fn is_global(address: Ipv4Addr) -> bool {
    !address.is_loopback() && !address.is_link_local() && !address.is_unspecified()
}

fn list() -> Result<Vec<InterfaceAddress>, InterfaceError> {
    Ok(getifaddrs().map_err(InterfaceError::List)?.collect())
}

fn check(all: &[InterfaceAddress], name: &str) -> Result<(), InterfaceError> {
    if all.iter().any(|entry| entry.interface_name == name) {
        return Ok(());
    }
    let mut present: Vec<&str> = all.iter().map(|entry| entry.interface_name.as_str()).collect();
    present.sort_unstable();
    present.dedup();
    Err(InterfaceError::Missing { name: name.to_owned(), present: present.join(", ") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_no_global_address_and_unknown_names_are_listed() {
        assert_eq!(wan_address("lo"), Err(InterfaceError::NoAddress("lo".to_owned())));
        let error = require_all(&["lo".to_owned(), "vgw-none".to_owned()]).unwrap_err().to_string();
        assert!(error.contains("no interface vgw-none") && error.contains("lo"), "{error}");
        assert_eq!(require_all(&["lo".to_owned()]), Ok(()));
    }

    #[test]
    fn private_addresses_are_global_enough() {
        for (address, expected) in [
            ("10.0.0.1", true),
            ("203.0.113.1", true),
            ("127.0.0.1", false),
            ("169.254.1.1", false),
            ("0.0.0.0", false),
        ] {
            assert_eq!(is_global(address.parse().unwrap()), expected, "{address}");
        }
    }
}
