//! Outbound SAs of single receive queues (RFC 9611), beside the one of the tunnel.

use gateway_common::{Aead, DropReason};
use xdp_harness::frames::{Ip, ethernet, pattern};
use xdp_harness::{CPU_SAS, GatewayUnderTest, HOST, LAN_QUEUES, OTHER_HOST, PEER_HOST, Verdict, sa};

/// SPI of the SA of tunnel 1.
const OF_TUNNEL: u32 = 0x1000;
/// SPI of the SA of resource 0.
const OF_QUEUES: u32 = 0x2000;

/// A gateway whose tunnel 1 has an SA, and another one for each of these resources, with their slots.
fn gateway(resources: &[u32]) -> (GatewayUnderTest, Vec<u32>) {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.send_with(1, &sa(OF_TUNNEL, Aead::ChaCha20Poly1305)).unwrap();
    let mut slot_of = |resource: u32| {
        let sa = sa(OF_QUEUES + resource, Aead::ChaCha20Poly1305);
        gateway.send_from_queue_with(1, resource, &sa).unwrap()
    };
    let slots = resources.iter().map(|resource| slot_of(*resource)).collect();
    (gateway, slots)
}

/// SPI and sequence number of the ESP packet that becomes of a packet from this queue.
fn sent_from(gateway: &mut GatewayUnderTest, queue: u32) -> (u32, u32) {
    let frame = ethernet(&Ip::new(HOST, PEER_HOST).packet(&pattern(100)));
    let outcome = gateway.run_from_queue(queue, &frame).unwrap();
    assert_eq!(outcome.verdict, Verdict::Redirect);
    let word = |at: usize| u32::from_be_bytes(outcome.frame[at..at + 4].try_into().unwrap());
    (word(34), word(38))
}

#[test]
fn each_queue_sends_with_its_own_sa() {
    let (mut gateway, slots) = gateway(&[0, 1, 2, 3]);
    for queue in 0..LAN_QUEUES {
        let round = queue / CPU_SAS;
        assert_eq!(sent_from(&mut gateway, queue), (OF_QUEUES + queue % CPU_SAS, 1 + round), "queue {queue}");
    }
    for slot in slots {
        assert_eq!(gateway.read_sa(slot).unwrap().packets, 2, "each SA counts by itself");
    }
    assert_eq!(gateway.counters.traffic(1).unwrap().out_packets, u64::from(LAN_QUEUES));
}

#[test]
fn a_queue_without_an_sa_of_its_own_sends_with_that_of_the_tunnel() {
    let (mut gateway, slots) = gateway(&[1, 2]);
    let spis: Vec<_> = (0..CPU_SAS).map(|queue| sent_from(&mut gateway, queue).0).collect();
    assert_eq!(spis, [OF_TUNNEL, OF_QUEUES + 1, OF_QUEUES + 2, OF_TUNNEL]);
    gateway.stop_sending_from_queues(1, slots[0]).unwrap();
    assert_eq!(sent_from(&mut gateway, 1).0, OF_TUNNEL, "its SA is gone");
    assert_eq!(sent_from(&mut gateway, 2).0, OF_QUEUES + 2, "the other one stays");
}

#[test]
fn a_queue_goes_on_with_its_own_sa_while_the_tunnel_has_none() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.send_from_queue_with(1, 3, &sa(OF_QUEUES, Aead::Aes128Gcm)).unwrap();
    assert_eq!(sent_from(&mut gateway, 3), (OF_QUEUES, 1));
    let frame = ethernet(&Ip::new(HOST, PEER_HOST).packet(&pattern(100)));
    assert_eq!(gateway.run_from_queue(0, &frame).unwrap().verdict, Verdict::Drop);
    assert_eq!(gateway.dropped(1, DropReason::NoOutboundSa).unwrap(), 1);
}

#[test]
fn the_sas_of_queues_belong_to_one_tunnel() {
    let (mut gateway, _) = gateway(&[0, 1, 2, 3]);
    gateway.send_with(2, &sa(0x3000, Aead::Aes256Gcm)).unwrap();
    let frame = ethernet(&Ip::new(HOST, OTHER_HOST).packet(&pattern(100)));
    for queue in 0..CPU_SAS {
        let outcome = gateway.run_from_queue(queue, &frame).unwrap();
        assert_eq!(outcome.frame[34..38], 0x3000_u32.to_be_bytes());
    }
}
