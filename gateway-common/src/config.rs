//! Settings of the gateway as a whole.

use crate::Pod;

/// The single entry of map `CONFIG`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct GatewayConfig {
    /// Interface index of the peer of `vgw0`; a frame redirected to it enters the stack through `vgw0`.
    pub vgw_peer_ifindex: u32,
    /// Address that ESP for this gateway is sent to, network order.
    pub wan_addr: [u8; 4],
    /// MAC address of `vgw0`.
    pub vgw0_mac: [u8; 6],
    /// MAC address of the peer of `vgw0`.
    pub vgw_peer_mac: [u8; 6],
    /// Entries of map `CPU_SAS` per tunnel; 0 when no queue has an outbound SA of its own.
    pub cpu_sas: u32,
}

// SAFETY: repr(C), integers only, 24 bytes without implicit padding.
unsafe impl Pod for GatewayConfig {}
const _: () = assert!(size_of::<GatewayConfig>() == 24);
