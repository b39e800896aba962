//! A sender, a forwarder and a receiver in namespaces of their own, in a row.

use anyhow::Result;
use testbed::{NetNs, Scope, remove_scope};

use super::generator::Addresses;

/// ```text
/// sender s0 ── in0 forwarder out0 ── d0 receiver
/// ```
pub(super) struct Wire {
    scope: Scope,
    pub(super) sender: NetNs,
    pub(super) forwarder: NetNs,
    pub(super) receiver: NetNs,
}

impl Wire {
    /// Port of the sender.
    pub(super) const SENDER: &str = "s0";
    /// Port of the forwarder towards the sender.
    pub(super) const IN: &str = "in0";
    /// Port of the forwarder towards the receiver.
    pub(super) const OUT: &str = "out0";
    /// Port of the receiver.
    pub(super) const RECEIVER: &str = "d0";

    /// Makes the namespaces and links. Needs root.
    ///
    /// # Errors
    /// A command failed.
    pub(super) fn create() -> Result<Self> {
        let scope = Scope::unique();
        let sender = NetNs::create(&scope.namespace("sender"))?;
        let forwarder = NetNs::create(&scope.namespace("forwarder"))?;
        let receiver = NetNs::create(&scope.namespace("receiver"))?;
        for (port, far, far_port) in
            [(Self::IN, &sender, Self::SENDER), (Self::OUT, &receiver, Self::RECEIVER)]
        {
            let far_name = far.name();
            forwarder.ip(&format!("link add {port} type veth peer name {far_port} netns {far_name}"))?;
            forwarder.ip(&format!("link set {port} up"))?;
            far.ip(&format!("link set {far_port} up"))?;
        }
        Ok(Self { scope, sender, forwarder, receiver })
    }

    /// Addresses for a generator; forwarders that only pass frames on look at none of them.
    pub(super) fn addresses() -> Addresses {
        Addresses {
            source_mac: [2, 0, 0, 0, 0, 1],
            destination_mac: [2, 0, 0, 0, 0, 2],
            source: [10, 1, 0, 1].into(),
            destination: [10, 2, 0, 1].into(),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Err(error) = remove_scope(&self.scope) {
            eprintln!("warning: {} is left behind: {error:#}", self.scope.name());
        }
    }
}
