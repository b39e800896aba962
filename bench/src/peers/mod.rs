//! What the gateway is compared with: other VPN gateways, each set up as its own documentation recommends.
//!
//! Packages of Debian and crates, installed by `cargo xtask setup --bench` as programs; nothing of theirs is linked in.

mod daemons;
mod dpdk;
mod openvpn;
mod strongswan;
mod tools;
mod wireguard;

use crate::end_to_end::System;

/// All peers, in the order of the report.
pub(crate) fn all() -> Vec<Box<dyn System>> {
    vec![
        Box::new(dpdk::IpsecSecgw::af_xdp()),
        Box::new(dpdk::IpsecSecgw::af_packet()),
        Box::new(wireguard::WireGuard::boringtun()),
        Box::new(wireguard::WireGuard::gotatun()),
        Box::new(wireguard::WireGuard::wireguard_go()),
        Box::new(openvpn::OpenVpn),
        Box::new(strongswan::Libipsec),
    ]
}
