//! What fits into a tunnel.

use gateway_common::limits::MAX_FRAME;
use gateway_common::wire::{
    ESP_ICV_LEN, ESP_IV_LEN, ESP_LEN, ESP_TRAILER_LEN, ETH_LEN, IPV4_LEN, IPV6_LEN, UDP_LEN,
};
use gateway_common::{Handoff, ReturnHeader};

use super::wan_addresses::WanAddresses;

/// Largest outer packet, given the WAN's MTU and what the in-kernel AEAD takes.
fn outer_mtu(wan_mtu: u32) -> u32 {
    wan_mtu.min((MAX_FRAME - ETH_LEN) as u32)
}

/// MTU of `vgw0`: room for the largest packet that the in-kernel AEAD takes, with the headers of a worker that hands it back. Fragments may make a
/// packet that is larger than the WAN's MTU. What the kernel may send into a tunnel is limited by the routes.
pub(super) const TUNNEL_INTERFACE_MTU: u32 = (MAX_FRAME - ETH_LEN + ReturnHeader::LEN + Handoff::LEN) as u32;

/// Length of the longest outer IP header that the gateway's addresses allow. A peer with a name may be found at an address of
/// the other family later, and its tunnel's MTU does not change then.
pub(super) fn outer_header(addresses: WanAddresses) -> usize {
    if addresses.v6.is_some() { IPV6_LEN } else { IPV4_LEN }
}

/// Largest inner packet whose encapsulation, in UDP at worst, fits the WAN's MTU and the in-kernel AEAD.
pub(super) fn tunnel_mtu(wan_mtu: u32, ip_header: usize) -> u32 {
    let payload = outer_mtu(wan_mtu) - (ip_header + UDP_LEN + ESP_LEN + ESP_IV_LEN + ESP_ICV_LEN) as u32;
    (payload & !3) - ESP_TRAILER_LEN as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnel_mtu_fills_the_wan_mtu_with_udp_encapsulation() {
        let gateway = |v6| WanAddresses { v4: Some([192, 0, 2, 1].into()), v6 };
        assert_eq!(tunnel_mtu(1500, outer_header(gateway(None))), 1438);
        assert_eq!(tunnel_mtu(1500, outer_header(gateway(Some(1.into())))), 1418);
        for (wan, header) in (576..1600).zip([20, 40].into_iter().cycle()) {
            let inner = tunnel_mtu(wan, header);
            let outer = |inner: u32| (inner + 2).next_multiple_of(4) + header as u32 + 8 + 8 + 8 + 16;
            assert!(outer(inner) <= wan && outer(inner + 1) > wan, "WAN {wan}, tunnel {inner}");
        }
    }
}
