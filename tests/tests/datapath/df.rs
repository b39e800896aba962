//! The "don't fragment" bit of outer IPv4 headers (RFC 4301 section 8.1).

use std::collections::HashSet;

use gateway_common::{Aead, PortRole};
use gateway_user::datapath::{PacketPolicy, SaConfig};
use gateway_user::model::OuterDf;
use xdp_harness::frames::{Ip, Ip6, checksum, ethernet, pattern};
use xdp_harness::worker::Handed;
use xdp_harness::{GatewayUnderTest, HOST, HOST6, PEER_HOST, PEER_HOST6, Verdict, esp, sa};

/// Inner packets, and whether a router may fragment them.
fn packets() -> [(Vec<u8>, u8, bool); 3] {
    let payload = pattern(700);
    [
        (Ip::new(HOST, PEER_HOST).packet(&payload), esp::IPV4, false),
        (Ip { fragment: 0, ..Ip::new(HOST, PEER_HOST) }.packet(&payload), esp::IPV4, true),
        (Ip6::new(HOST6, PEER_HOST6).packet(&payload), esp::IPV6, false),
    ]
}

#[test]
fn the_bit_is_copied_set_or_cleared() {
    for by_worker in [false, true] {
        let mut gateway = GatewayUnderTest::new().unwrap();
        if by_worker {
            gateway.open_lane(PortRole::LAN | PortRole::WAN).unwrap();
        }
        for (spi, udp_encapsulation) in [(7, false), (8, true)] {
            let sa = SaConfig { udp_encapsulation, ..sa(spi, Aead::Aes128Gcm) };
            gateway.send_with(1, &sa).unwrap();
            let mut identifications = HashSet::new();
            for df in [OuterDf::Set, OuterDf::Copy, OuterDf::Clear, OuterDf::Set] {
                gateway.sas.set_policy(1, PacketPolicy { df, ..PacketPolicy::default() });
                for (packet, next_header, may_be_fragmented) in packets() {
                    let outcome = gateway.run(&ethernet(&packet)).unwrap();
                    assert_eq!(outcome.verdict, Verdict::Redirect);
                    let frame =
                        if by_worker { Handed::parse(&outcome.frame).seal(&sa) } else { outcome.frame };
                    let allows = match df {
                        OuterDf::Set => false,
                        OuterDf::Copy => may_be_fragmented,
                        OuterDf::Clear => true,
                    };
                    assert_eq!(frame[20..22], if allows { [0, 0] } else { [0x40, 0] }, "{df}");
                    assert_eq!(checksum(&frame[14..34]), 0, "{df}");
                    let esp_at = if udp_encapsulation { 42 } else { 34 };
                    esp::open_as(&sa, 0, &frame[esp_at..], next_header);
                    if allows {
                        assert!(identifications.insert([frame[18], frame[19]]), "each has its own");
                    }
                }
            }
            assert_eq!(identifications.len(), 4);
        }
    }
}
