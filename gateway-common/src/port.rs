//! What an interface may be used for.

use crate::Pod;

/// Value of map `PORTS`, keyed by interface index (`u32`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Port {
    /// A bit set of [`PortRole`].
    pub roles: u32,
}

/// Roles of an interface. One-arm gateways give one interface both `LAN` and `WAN`.
#[derive(Clone, Copy, Debug)]
pub struct PortRole;

impl PortRole {
    /// Packets from the VNet arrive here and may be encapsulated.
    pub const LAN: u32 = 1;
    /// ESP arrives here.
    pub const WAN: u32 = 2;
    /// The peer end of `vgw0`: packets that the kernel routed into the tunnel interface arrive here.
    pub const TUNNEL: u32 = 4;
}

// SAFETY: repr(C), one integer.
unsafe impl Pod for Port {}
