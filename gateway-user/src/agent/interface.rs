//! What the agent needs to know about network interfaces before it starts.

use std::net::IpAddr;
use std::time::Duration;

use nix::ifaddrs::{InterfaceAddress, getifaddrs};
use nix::sys::socket::SockaddrStorage;

use crate::datapath::WanAddresses;

/// The kernel's list of IPv6 addresses: address, interface's index, length, scope and flags in hexadecimal digits, and the
/// interface's name.
const IPV6_ADDRESSES: &str = "/proc/net/if_inet6";
/// Flags of `if_addr.h`: addresses that may go at any time, are not to be used any more, or belong to another host.
const UNSTEADY: u32 = libc::IFA_F_TEMPORARY | libc::IFA_F_DEPRECATED | libc::IFA_F_DADFAILED;
/// How long the kernel may take to find out that no other host has an address (RFC 4862 section 5.4).
const DETECTION: Duration = Duration::from_secs(5);

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
    /// The interface exists without an address that peers could find it at.
    #[error("interface {0} has no global IPv4 or IPv6 address; give it one or name another interface")]
    NoAddress(String),
    /// No interface has an address that was given.
    #[error("--wan-address {0} is no address of this machine")]
    NotHere(IpAddr),
    /// An address was given that no peer can find.
    #[error(
        "--wan-address {0} is loopback, link-local, multicast or unspecified: no peer finds the gateway there"
    )]
    NotGlobal(IpAddr),
    /// Two addresses of one family were given.
    #[error("--wan-address {0} and {1} are of one family; a gateway has one address of each")]
    SameFamily(IpAddr, IpAddr),
    /// The kernel did not list the interfaces.
    #[error("cannot list the network interfaces: {0}")]
    List(nix::Error),
}

/// The addresses of the gateway: those `given`, or else the first global one of each family of interface `name`, in the
/// kernel's order (the primary address comes first). IPv6 addresses that will not last are left out.
pub(super) fn wan_addresses(name: &str, given: &[IpAddr]) -> Result<WanAddresses, InterfaceError> {
    let all = list()?;
    check(&all, name)?;
    let is_here = |wanted: IpAddr| all.iter().any(|entry| address_of(entry) == Some(wanted));
    let mut addresses = WanAddresses::default();
    for address in given {
        if let Some(other) = addresses.towards(*address) {
            return Err(InterfaceError::SameFamily(other, *address));
        }
        if !is_global(*address) {
            return Err(InterfaceError::NotGlobal(*address));
        }
        if !is_here(*address) {
            return Err(InterfaceError::NotHere(*address));
        }
        addresses.set(*address);
    }
    if !given.is_empty() {
        return Ok(addresses);
    }
    let unsteady = flagged(UNSTEADY);
    for address in all.iter().filter(|entry| entry.interface_name == name).filter_map(address_of) {
        if is_global(address) && addresses.towards(address).is_none() && !unsteady.contains(&address) {
            addresses.set(address);
        }
    }
    if addresses.iter().next().is_none() {
        return Err(InterfaceError::NoAddress(name.to_owned()));
    }
    Ok(addresses)
}

/// Refuses the first name that no interface bears.
pub(super) fn require_all(names: &[String]) -> Result<(), InterfaceError> {
    let all = list()?;
    names.iter().try_for_each(|name| check(&all, name))
}

/// Waits until no IPv6 address is being checked for another host that has it, or for so long as that may take: until then no
/// socket can be bound to it.
pub(super) async fn wait_for_addresses() {
    let begin = tokio::time::Instant::now();
    while !flagged(libc::IFA_F_TENTATIVE).is_empty() && begin.elapsed() < DETECTION {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Usable between hosts: neither loopback nor link-local (RFC 3927, RFC 4291 section 2.5.6) nor multicast nor unspecified.
/// Private addresses count: the gateway may stand behind a NAT.
fn is_global(address: IpAddr) -> bool {
    let is_link_local = match address {
        IpAddr::V4(address) => address.is_link_local() || address.is_broadcast(),
        IpAddr::V6(address) => address.is_unicast_link_local() || address.to_ipv4_mapped().is_some(),
    };
    !is_link_local && !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
}

fn address_of(entry: &InterfaceAddress) -> Option<IpAddr> {
    let address: &SockaddrStorage = entry.address.as_ref()?;
    let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
    v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
}

/// IPv6 addresses of this machine with one of these flags. Where there is no IPv6, there are none.
fn flagged(flags: u32) -> Vec<IpAddr> {
    let table = std::fs::read_to_string(IPV6_ADDRESSES).unwrap_or_default();
    table.lines().filter_map(|line| parse_flagged(line, flags)).collect()
}

fn parse_flagged(line: &str, flags: u32) -> Option<IpAddr> {
    let mut fields = line.split_whitespace();
    let address = u128::from_str_radix(fields.next()?, 16).ok()?;
    let has = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
    (has & flags != 0).then(|| IpAddr::V6(address.into()))
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
        assert_eq!(wan_addresses("lo", &[]), Err(InterfaceError::NoAddress("lo".to_owned())));
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
            ("224.0.0.1", false),
            ("2001:db8::1", true),
            ("fd00::1", true),
            ("fe80::1", false),
            ("::1", false),
            ("::", false),
            ("ff02::1", false),
            ("::ffff:192.0.2.1", false),
        ] {
            assert_eq!(is_global(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn given_addresses_are_global_and_of_this_machine() {
        let [link_local, nowhere] = ["fe80::1", "192.0.2.200"].map(|text| text.parse().unwrap());
        assert_eq!(wan_addresses("lo", &[link_local]), Err(InterfaceError::NotGlobal(link_local)));
        assert_eq!(wan_addresses("lo", &[nowhere]), Err(InterfaceError::NotHere(nowhere)));
        assert!(matches!(wan_addresses("vgw-none", &[nowhere]), Err(InterfaceError::Missing { .. })));
    }

    #[test]
    fn flags_of_ipv6_addresses_are_read() {
        let line = "fd000001000000000000000000000002 0c 40 00 41    wan0";
        assert_eq!(parse_flagged(line, libc::IFA_F_TENTATIVE), Some("fd00:1::2".parse().unwrap()));
        assert_eq!(parse_flagged(line, libc::IFA_F_DEPRECATED), None);
        assert_eq!(parse_flagged("", libc::IFA_F_TENTATIVE), None);
    }
}
