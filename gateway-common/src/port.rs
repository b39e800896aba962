//! What an interface may be used for.

use crate::Pod;

/// Value of map `PORTS`, keyed by interface index (`u32`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Port {
    /// A bit set of [`PortRole`].
    pub roles: u32,
    /// MAC address of the interface: frames for other stations are not the gateway's.
    pub mac: [u8; 6],
    /// Explicit padding.
    pub reserved: [u8; 2],
    /// Index into `LANES` and `XSKS` of receive queue 0; lane 0 is never used, so 0 says that no worker serves the interface.
    pub first_lane: u32,
    /// Receive queues that have a lane.
    pub lanes: u32,
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

// SAFETY: repr(C), integers only, 20 bytes without implicit padding.
unsafe impl Pod for Port {}
const _: () = assert!(size_of::<Port>() == 20);
