//! Frames that cannot grow.

use gateway_common::{Aead, Budget, DropReason, PortRole, Share};
use gateway_user::datapath::BandwidthLimit;
use xdp_harness::frames::{Ip, Ip6, ethernet, pattern};
use xdp_harness::{GatewayUnderTest, HOST, HOST6, PEER_HOST, PEER_HOST6, Verdict, sa};

/// Metadata that leave 24 bytes before a frame: of 256 (`XDP_PACKET_HEADROOM`) the kernel takes 40 for itself.
const METADATA: usize = 192;

#[test]
fn a_frame_without_room_goes_to_the_kernel_as_it_came_and_nothing_is_charged() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let index = gateway.send_with(1, &sa(0x1234, Aead::Aes256Gcm)).unwrap();
    let budget = Budget::new(1_000_000, 1 << 20);
    gateway.set_budget(budget).unwrap();
    gateway.set_share(1, Share::new(1, &budget)).unwrap();
    let frames = [
        ethernet(&Ip::new(HOST, PEER_HOST).packet(&pattern(1000))),
        // With padding behind the packet, which means nothing.
        [ethernet(&Ip::new(HOST, PEER_HOST).packet(&pattern(1))), vec![0; 25]].concat(),
        ethernet(&Ip6::new(HOST6, PEER_HOST6).packet(&pattern(1000))),
    ];
    for (number, frame) in frames.iter().enumerate() {
        let outcome = gateway.run_with_metadata(PortRole::LAN, METADATA, frame).unwrap();
        assert_eq!(outcome.verdict, Verdict::Pass, "frame {number}");
        let packet = if number == 1 { 14 + 21 } else { frame.len() };
        assert_eq!(outcome.frame[METADATA..][..packet], frame[..packet], "frame {number} is as it was");
    }
    let passed = |gateway: &GatewayUnderTest| {
        gateway.counters.budget(BandwidthLimit::default()).unwrap().outbound.passed_packets
    };
    assert_eq!(gateway.read_sa(index).unwrap().sequence, 0, "no number was drawn");
    assert_eq!(passed(&gateway), 0, "nothing was charged");

    // With less before it, the same frame leaves through the tunnel.
    let outcome = gateway.run_with_metadata(PortRole::LAN, 64, &frames[0]).unwrap();
    assert_eq!((outcome.verdict, gateway.read_sa(index).unwrap().sequence), (Verdict::Redirect, 1));
    assert_eq!(passed(&gateway), 1);
}

#[test]
fn behind_the_kernel_there_is_no_other_way() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.send_with(1, &sa(0x1234, Aead::Aes256Gcm)).unwrap();
    let frame = ethernet(&Ip::new(HOST, PEER_HOST).packet(&pattern(1000)));
    let outcome = gateway.run_with_metadata(PortRole::TUNNEL, METADATA, &frame).unwrap();
    assert_eq!(outcome.verdict, Verdict::Drop);
    assert_eq!(gateway.dropped(1, DropReason::Internal).unwrap(), 1);
}
