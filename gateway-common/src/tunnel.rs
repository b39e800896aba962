//! A tunnel: what all SAs of one connection share.

use crate::Pod;

/// Value of array map `TUNNELS`, indexed by tunnel number. Number 0 stands for "no tunnel".
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct Tunnel {
    /// Index into map `SAS` of the outbound SA of every packet whose receive queue has none of its own in map `CPU_SAS`; 0 while
    /// there is none.
    pub outbound_sa: u32,
    /// Largest inner IP packet that the tunnel carries, in bytes.
    pub mtu: u32,
}

// SAFETY: repr(C), two integers.
unsafe impl Pod for Tunnel {}
