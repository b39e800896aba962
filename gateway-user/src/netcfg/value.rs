//! Rules for single values: names, texts, addresses, prefixes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::model::{GatewayAddress, MAX_NAME_LEN, NoGatewayAddress, is_valid_name};

use super::error::ErrorKind;

/// A broken rule about one value.
pub(super) type Broken = (ErrorKind, String);

const MAX_LABEL: usize = 256;
const MAX_PLACE: usize = 128;
const PREFIX_LENGTHS_V4: std::ops::RangeInclusive<u8> = 8..=29;
const PREFIX_LENGTHS_V6: std::ops::RangeInclusive<u8> = 16..=126;

/// Ranges no network can have: RFC 6890 and RFC 1112, section 4; for IPv6 RFC 4291, sections 2.4 and 2.5.
const UNUSABLE: [(IpNet, &str); 8] = [
    (IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8)), "\"this network\""),
    (IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)), "loopback"),
    (IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 0, 0), 16)), "link-local"),
    (IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(224, 0, 0, 0), 4)), "multicast"),
    (IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(240, 0, 0, 0), 4)), "reserved"),
    // The unspecified address, loopback and the IPv4-mapped addresses among them.
    (IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 8)), "reserved"),
    (IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0), 10)), "link-local"),
    (IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0xff00, 0, 0, 0, 0, 0, 0, 0), 8)), "multicast"),
];

/// A value for a message: control characters escaped, cut when long.
pub(super) fn shown(value: &str) -> String {
    const SHOWN: usize = 80;
    let start: String = value.chars().take(SHOWN).flat_map(char::escape_debug).collect();
    if value.chars().nth(SHOWN).is_some() { start + "..." } else { start }
}

/// As [`shown`], in quotes.
pub(super) fn quoted(value: &str) -> String {
    format!("\"{}\"", shown(value))
}

pub(super) fn check_name(name: &str) -> Result<(), Broken> {
    if is_valid_name(name) {
        return Ok(());
    }
    let message = format!(
        "{} is not a name; a name has 1 to {MAX_NAME_LEN} letters, digits, \"-\", \"_\" or \".\", \
         begins with a letter or digit and has no \"..\"",
        quoted(name)
    );
    Err((ErrorKind::InvalidName, message))
}

pub(super) fn check_label(label: &str) -> Result<(), Broken> {
    check_text(label, "label", 0, MAX_LABEL)
}

/// A location or affinity group.
pub(super) fn check_place(place: &str) -> Result<(), Broken> {
    check_text(place, "location or affinity group", 1, MAX_PLACE)
}

fn check_text(text: &str, what: &str, min: usize, max: usize) -> Result<(), Broken> {
    if (min..=max).contains(&text.chars().count()) && !text.contains(char::is_control) {
        return Ok(());
    }
    let message = format!(
        "{} is not a {what}; it has {min} to {max} characters and no control characters",
        quoted(text)
    );
    Err((ErrorKind::InvalidText, message))
}

/// The address of a site's gateway: unicast, a placeholder, or a host name.
pub(super) fn gateway_address(text: &str) -> Result<GatewayAddress, Broken> {
    let address: GatewayAddress = text.parse().map_err(|error: NoGatewayAddress| {
        (ErrorKind::InvalidAddress, format!("{} is {error}", quoted(text)))
    })?;
    match address {
        GatewayAddress::Ip(ip) if !address.is_placeholder() => unicast(ip).map(GatewayAddress::Ip),
        address => Ok(address),
    }
}

/// The address of a DNS server.
pub(super) fn server_address(text: &str) -> Result<IpAddr, Broken> {
    unicast(address(text)?)
}

fn address(text: &str) -> Result<IpAddr, Broken> {
    text.parse()
        .map_err(|_| (ErrorKind::InvalidAddress, format!("{} is not an IPv4 or IPv6 address", quoted(text))))
}

fn unicast(address: IpAddr) -> Result<IpAddr, Broken> {
    match not_unicast(address) {
        None => Ok(address),
        Some(problem) => Err((
            ErrorKind::InvalidAddress,
            format!("\"{address}\" is {problem}; expected a unicast address"),
        )),
    }
}

/// Why no host can be reached at `address`, if that is so.
pub(crate) fn not_unicast(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(v4) => problem_v4(v4),
        IpAddr::V6(v6) => problem_v6(v6),
    }
}

fn problem_v4(address: Ipv4Addr) -> Option<&'static str> {
    match address.octets()[0] {
        0 => Some("an address of \"this network\""),
        224..=239 => Some("a multicast address"),
        240..=255 => Some("a reserved or broadcast address"),
        _ => None,
    }
}

fn problem_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_unspecified() {
        Some("the unspecified address")
    } else if address.is_multicast() {
        Some("a multicast address")
    } else if address.is_unicast_link_local() {
        Some("a link-local address, which means nothing without an interface")
    } else if address.to_ipv4_mapped().is_some() {
        Some("an IPv4-mapped address, to be written as IPv4")
    } else {
        None
    }
}

/// What can be made of a prefix: the network when the text is an address and a length at all, and the rule it breaks.
pub(super) fn prefix(text: &str) -> (Option<IpNet>, Option<Broken>) {
    let Some(written) = parse_prefix(text) else {
        let message = format!(
            "{} is not an IPv4 or IPv6 prefix; expected an address and a length as in 10.1.0.0/16 or fd00:1::/48",
            quoted(text)
        );
        return (None, Some((ErrorKind::InvalidPrefix, message)));
    };
    let network = written.trunc();
    let lengths = match network {
        IpNet::V4(_) => PREFIX_LENGTHS_V4,
        IpNet::V6(_) => PREFIX_LENGTHS_V6,
    };
    let broken = if written != network {
        Some((
            ErrorKind::HostBits,
            format!("{written} has bits set beyond its length; the network is {network}"),
        ))
    } else if !lengths.contains(&written.prefix_len()) {
        let (min, max) = (lengths.start(), lengths.end());
        Some((ErrorKind::PrefixLength, format!("{written} is not between /{min} and /{max}")))
    } else {
        unusable(network)
    };
    (Some(network), broken)
}

fn parse_prefix(text: &str) -> Option<IpNet> {
    let (address, length) = text.split_once('/')?;
    // `u8::from_str` takes "+8" and "08", which are not lengths.
    if !length.bytes().all(|byte| byte.is_ascii_digit()) || (length.len() > 1 && length.starts_with('0')) {
        return None;
    }
    IpNet::new(address.parse().ok()?, length.parse().ok()?).ok()
}

fn unusable(network: IpNet) -> Option<Broken> {
    UNUSABLE.iter().find_map(|&(range, what)| {
        (range.contains(&network) || network.contains(&range)).then(|| {
            (
                ErrorKind::UnusableRange,
                format!("{network} overlaps the {what} range {range}, which no network can have"),
            )
        })
    })
}
