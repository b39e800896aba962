//! ESP that the kernel has put together from fragments: it is opened as if it had arrived whole.

use gateway_common::{Aead, DropReason, ReturnKind};
use gateway_user::datapath::SaConfig;
use xdp_harness::frames::{Ip, Ip6, ethernet, pattern, udp};
use xdp_harness::worker::return_header;
use xdp_harness::{
    GatewayUnderTest, HOST, HOST_MAC, LOCAL, LOCAL6, Outcome, PEER_HOST, REMOTE, REMOTE6, Verdict, esp, sa,
};

fn sa_of(spi: u32, outer_v6: bool, udp_encapsulation: bool) -> SaConfig {
    let mut sa = sa(spi, Aead::Aes128Gcm);
    if outer_v6 {
        (sa.local, sa.remote) = ((LOCAL6, 4500).into(), (REMOTE6, 4500).into());
    }
    SaConfig { udp_encapsulation, ..sa }
}

/// The outer packet of `sa` around `payload`, with the traffic class `class`.
fn outer(sa: &SaConfig, class: u8, sequence: u64, payload: &[u8]) -> Vec<u8> {
    let sealed = esp::seal(sa, sequence, payload, 0, esp::IPV4);
    let sealed = if sa.udp_encapsulation { udp(4500, 4500, &sealed) } else { sealed };
    let protocol = if sa.udp_encapsulation { 17 } else { 50 };
    if sa.local.is_ipv6() {
        Ip6 { class, next_header: protocol, ..Ip6::new(REMOTE6, LOCAL6) }.packet(&sealed)
    } else {
        Ip { tos: class, protocol, ..Ip::new(REMOTE, LOCAL) }.packet(&sealed)
    }
}

fn bring_in(gateway: &GatewayUnderTest, packet: &[u8]) -> Outcome {
    let frame = [return_header(ReturnKind::Reassembled as u32), packet.to_vec()].concat();
    gateway.run_program("returned", &frame).unwrap()
}

#[test]
fn what_was_in_fragments_is_opened_with_every_encapsulation() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let mut inbound = 0;
    for (spi, (outer_v6, udp)) in (7..).zip([(false, false), (false, true), (true, false), (true, true)]) {
        let sa = sa_of(spi, outer_v6, udp);
        let index = gateway.receive_with(1, &sa).unwrap();
        for (sequence, len) in (1..).zip([20, 21, 100, 1399, 1500]) {
            let inner = Ip { tos: 2, ..Ip::new(PEER_HOST, HOST) };
            // A mark on the way (RFC 6040 section 4.2).
            let packet = outer(&sa, 3, sequence, &inner.packet(&pattern(len - 20)));
            let outcome = bring_in(&gateway, &packet);
            assert_eq!(outcome.verdict, Verdict::Redirect, "{:?}", gateway.counters.drops(1));
            let expected = Ip { tos: 3, ttl: 63, ..inner }.packet(&pattern(len - 20));
            assert_eq!(outcome.frame[..6], HOST_MAC);
            assert!(outcome.frame[14..] == expected, "{len} bytes");
            inbound += 1;
            // Each number once, however it comes.
            assert_eq!(bring_in(&gateway, &packet).verdict, Verdict::Drop);
            assert_eq!(gateway.run(&ethernet(&packet)).unwrap().verdict, Verdict::Drop);
        }
        assert_eq!(gateway.read_sa(index).unwrap().packets, 5);
    }
    assert_eq!(gateway.counters.traffic(1).unwrap().in_packets, inbound);
    assert_eq!(gateway.dropped(1, DropReason::Replayed).unwrap(), 2 * inbound);
}

#[test]
fn what_is_wrong_is_dropped_with_its_reason() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    for outer_v6 in [false, true] {
        let sa = sa_of(7 + u32::from(outer_v6), outer_v6, false);
        gateway.receive_with(1, &sa).unwrap();
        let inner = |len| Ip::new(PEER_HOST, HOST).packet(&pattern(len));
        let drops = |tunnel, reason: DropReason, packet: &[u8]| {
            let before = gateway.dropped(tunnel, reason).unwrap();
            assert_eq!(bring_in(&gateway, packet).verdict, Verdict::Drop, "{reason:?}");
            assert_eq!(gateway.dropped(tunnel, reason).unwrap(), before + 1, "{reason:?}");
        };
        let whole = outer(&sa, 0, 1, &inner(400));
        let mut forged = whole.clone();
        *forged.last_mut().unwrap() ^= 1;
        drops(1, DropReason::AuthenticationFailed, &forged);
        drops(0, DropReason::Malformed, &whole[..whole.len() - 1]);
        drops(0, DropReason::Malformed, &whole[..10]);
        drops(0, DropReason::UnknownSpi, &outer(&sa_of(99, outer_v6, false), 0, 1, &inner(400)));
        // Only the start of a larger one comes.
        drops(0, DropReason::TooBig, &outer(&sa, 0, 2, &inner(3000))[..80]);
        // Neither ESP nor IKE is any business of this program's.
        let ip = Ip::new(REMOTE, LOCAL);
        drops(0, DropReason::Malformed, &Ip { protocol: 6, ..ip.clone() }.packet(&pattern(100)));
        drops(0, DropReason::Malformed, &ip.packet(&udp(4500, 4500, &[0; 100])));
        assert_eq!(bring_in(&gateway, &whole).verdict, Verdict::Redirect, "the number was not spent");
    }
}
