//! What the kernel's IPv6 must be like where a gateway carries it.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::sysctl;

/// Every link must carry IPv6 packets of this size (RFC 8200 section 5).
pub(super) const LEAST_MTU: u32 = 1280;

/// Settings of an interface that only routed packets pass: no address but those that are given, and nothing said or heard of
/// neighbours, routers and prefixes.
const SILENT: [(&str, &str); 7] = [
    ("addr_gen_mode", "1"),
    ("accept_ra", "0"),
    ("autoconf", "0"),
    ("router_solicitations", "0"),
    ("accept_redirects", "0"),
    ("accept_dad", "0"),
    ("dad_transmits", "0"),
];

/// Whether the kernel has IPv6 at all. Where it has not, no IPv6 packet goes anywhere.
pub(super) fn is_there() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

/// Makes the kernel route IPv6 packets. A host that becomes a router would give up the default route that routers on the WAN
/// announce; it keeps it.
///
/// # Errors
/// The kernel has no IPv6, or a setting may not be written.
pub(super) fn switch_on_forwarding(wan: &str) -> Result<()> {
    ensure!(is_there(), "this kernel has no IPv6, which the network configuration or the WAN address needs");
    let announced = format!("net/ipv6/conf/{wan}/accept_ra");
    if sysctl::get(&announced)? == "1" && sysctl::get("net/ipv6/conf/all/forwarding")? == "0" {
        sysctl::set(&announced, "2")?;
        tracing::info!("{wan} listens to router advertisements further on (accept_ra 2)");
    }
    if sysctl::set("net/ipv6/conf/all/forwarding", "1").context("cannot switch on IPv6 forwarding")? {
        tracing::info!("switched on IPv6 forwarding (net.ipv6.conf.all.forwarding)");
    }
    Ok(())
}

/// Lets an interface that is still down take part in IPv6, silently.
///
/// # Errors
/// A setting may not be written.
pub(super) fn switch_on(interface: &str) -> Result<()> {
    for (name, value) in SILENT {
        sysctl::set(&format!("net/ipv6/conf/{interface}/{name}"), value)?;
    }
    sysctl::set(&format!("net/ipv6/conf/{interface}/disable_ipv6"), "0")?;
    Ok(())
}

/// Keeps an interface out of IPv6.
///
/// # Errors
/// The setting may not be written.
pub(super) fn switch_off(interface: &str) -> Result<()> {
    let name = format!("net/ipv6/conf/{interface}/disable_ipv6");
    if Path::new(&format!("/proc/sys/{name}")).exists() {
        sysctl::set(&name, "1")?;
    }
    Ok(())
}
