//! Two network namespaces: the responder's, and the generator's with its thousands of addresses.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use testbed::{NetNs, Scope, remove_scope};

/// Address of the responder.
pub(super) const RESPONDER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Initiators have the addresses of 10.64.0.0/16 from here on.
pub(super) const FIRST_INITIATOR: Ipv4Addr = Ipv4Addr::new(10, 64, 0, 1);
/// Initiator `n` stands for the `n`-th network of 8 addresses from here on.
pub(super) const FIRST_NETWORK: Ipv4Addr = Ipv4Addr::new(172, 16, 0, 0);
/// Most initiators.
pub(super) const MOST_INITIATORS: u32 = 60_000;
/// The VNet behind the responder.
pub(super) const VNET: &str = "10.1.0.0/16";
/// Interface of the responder towards the initiators.
pub(super) const WAN: &str = "wan";
/// Interface of the responder towards the VNet.
pub(super) const LAN: &str = "lan";

/// Both namespaces and a directory; all are removed when dropped.
pub(super) struct Network {
    pub(super) scope: Scope,
    pub(super) responder: NetNs,
    pub(super) generator: NetNs,
}

impl Network {
    /// Makes the namespaces. Needs root.
    ///
    /// # Errors
    /// A command failed.
    pub(super) fn create() -> Result<Self> {
        let scope = Scope::unique();
        fs::create_dir_all(scope.directory()).context("cannot make a directory (root is needed)")?;
        let responder = NetNs::create(&scope.namespace("responder"))?;
        let generator = NetNs::create(&scope.namespace("generator"))?;
        responder.ip(&format!("link add {WAN} type veth peer name uplink netns {}", generator.name()))?;
        // A peer that is there makes the interface come up; nothing is sent.
        responder.ip(&format!("link add {LAN} type veth peer name host"))?;
        for line in ["link set wan up", "link set lan up", "link set host up"] {
            responder.ip(line)?;
        }
        responder.ip(&format!("address add {RESPONDER}/24 dev {WAN}"))?;
        responder.ip(&format!("address add 10.1.0.1/16 dev {LAN}"))?;
        responder.ip("route add 10.64.0.0/16 via 192.0.2.2")?;
        generator.ip("link set uplink up")?;
        generator.ip("address add 192.0.2.2/24 dev uplink")?;
        generator.ip("route add local 10.64.0.0/16 dev lo")?;
        Ok(Self { scope, responder, generator })
    }

    /// Directory for files.
    pub(super) fn directory(&self) -> PathBuf {
        self.scope.directory()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        if let Err(error) = remove_scope(&self.scope) {
            eprintln!("warning: {} is left behind: {error:#}", self.scope.name());
        }
    }
}
