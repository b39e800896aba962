//! Which interfaces the programs can run on.

use anyhow::{Result, ensure};

use super::netdev::Interface;

/// Refuses interfaces whose packets have no Ethernet header: neither in native nor in generic mode a program finds there what it
/// looks for.
///
/// # Errors
/// It is such a one.
pub(super) fn require_ethernet(interface: &Interface) -> Result<()> {
    let Interface { name, kind, .. } = interface;
    ensure!(
        interface.is_ethernet,
        "interface {name} ({kind}) has no Ethernet headers, which the gateway's XDP programs need: use a TAP device in place of a TUN \
         device; let another router end a point-to-point link, and name the Ethernet interface towards that router"
    );
    Ok(())
}
