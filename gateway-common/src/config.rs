//! Settings of the gateway as a whole.

use crate::Pod;

/// The single entry of map `CONFIG`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct GatewayConfig {
    /// Interface index of the peer of `vgw0`; a frame redirected to it enters the stack through `vgw0`.
    pub vgw_peer_ifindex: u32,
    /// IPv4 address that ESP for this gateway is sent to, network order; 0.0.0.0 if there is none.
    pub wan_addr4: [u8; 4],
    /// IPv6 address that ESP for this gateway is sent to, network order; :: if there is none.
    pub wan_addr6: [u8; 16],
    /// MAC address of `vgw0`.
    pub vgw0_mac: [u8; 6],
    /// MAC address of the peer of `vgw0`.
    pub vgw_peer_mac: [u8; 6],
    /// Entries of map `CPU_SAS` per tunnel; 0 when no queue has an outbound SA of its own.
    pub cpu_sas: u32,
    /// Bytes that stay behind a packet that leaves its tunnel: 0 in native mode, [`Self::GENERIC_PADDING`] in generic mode.
    pub padding: u32,
    /// Largest maximum segment size that TCP connections may announce through tunnels, in bytes, besides what fits the tunnel:
    /// [`crate::mss::FIT`] for no other limit, [`crate::mss::LEAVE`] to leave the announcements alone.
    pub mss_limit: u32,
}

impl GatewayConfig {
    /// Value of `padding` in generic mode. When a program has changed the end of a frame there, the kernel puts the end of its
    /// buffer behind the right place by the length of the Ethernet header (`bpf_prog_run_generic_xdp` in
    /// `net/core/dev.c`), and a TCP of the same machine that joins two such buffers delivers a wrong byte stream. IPv4 puts
    /// it right where it removes padding (`ip_rcv_core`), and GRO leaves padded packets alone, so there has to be some.
    pub const GENERIC_PADDING: u32 = 1;
}

// SAFETY: repr(C), integers only, 48 bytes without implicit padding.
unsafe impl Pod for GatewayConfig {}
const _: () = assert!(size_of::<GatewayConfig>() == 48);
