//! What the datapath tells the agent, and how often.

use aya::maps::{MapData, RingBuf};
use gateway_common::{Aead, Event, EventKind};
use xdp_harness::esp;
use xdp_harness::frames::{Ip, ethernet, pattern};
use xdp_harness::{GatewayUnderTest, HOST, LOCAL, PEER_HOST, REMOTE, Verdict, sa};

/// Everything in the ring by now.
fn drain(ring: &mut RingBuf<MapData>) -> Vec<Event> {
    let mut events = Vec::new();
    while let Some(record) = ring.next() {
        assert!(record.len() >= size_of::<Event>());
        // SAFETY: the length was checked and every bit pattern is an event.
        events.push(unsafe { record.as_ptr().cast::<Event>().read_unaligned() });
    }
    events
}

fn gateway() -> (GatewayUnderTest, RingBuf<MapData>) {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let ring = gateway.object.ebpf.take_map("EVENTS").unwrap().try_into().unwrap();
    (gateway, ring)
}

#[test]
fn a_soft_lifetime_is_reported_once() {
    let (mut gateway, mut ring) = gateway();
    let mut by_bytes = sa(0x51, Aead::ChaCha20Poly1305);
    by_bytes.soft_bytes = 3000;
    gateway.send_with(1, &by_bytes).unwrap();
    let frame = ethernet(&Ip::new(HOST, PEER_HOST).packet(&pattern(980)));
    for packet in 1..=6 {
        assert_eq!(gateway.run(&frame).unwrap().verdict, Verdict::Redirect);
        let events = drain(&mut ring);
        assert_eq!(events.len(), usize::from(packet == 3), "after packet {packet}: {events:?}");
        for event in events {
            assert_eq!((event.kind, event.tunnel), (EventKind::SoftLifetime as u32, 1));
            assert_eq!(event.spi, by_bytes.spi.to_be_bytes());
        }
    }
}

#[test]
fn sequence_numbers_running_out_are_reported_in_time() {
    let (mut gateway, mut ring) = gateway();
    let mut sa = sa(0x52, Aead::ChaCha20Poly1305);
    sa.esn = false;
    let index = gateway.send_with(1, &sa).unwrap();
    let limit = gateway.read_sa(index).unwrap().soft_packets;
    assert!(limit > 1 << 31 && limit < u64::from(u32::MAX) - (1 << 20), "{limit}");
    gateway.edit_sa(index, |entry| (entry.packets, entry.sequence) = (limit - 2, limit - 2)).unwrap();
    let frame = ethernet(&Ip::new(HOST, PEER_HOST).packet(&pattern(40)));
    gateway.run(&frame).unwrap();
    assert!(drain(&mut ring).is_empty());
    gateway.run(&frame).unwrap();
    assert_eq!(drain(&mut ring)[0].kind, EventKind::SoftLifetime as u32);
}

#[test]
fn floods_are_reported_a_few_times() {
    let (mut gateway, mut ring) = gateway();
    let sa = sa(0x53, Aead::ChaCha20Poly1305);
    let mut outer = Ip::new(REMOTE, LOCAL);
    outer.protocol = 50;
    let mut esp = esp::seal(&sa, 1, &Ip::new(PEER_HOST, HOST).packet(&pattern(40)), 0, esp::IPV4);
    let unknown = ethernet(&outer.packet(&esp));
    let without_sa = ethernet(&Ip::new(HOST, PEER_HOST).packet(&pattern(40)));
    *esp.last_mut().unwrap() ^= 1;
    let forged = ethernet(&outer.packet(&esp));

    let flood =
        |gateway: &mut GatewayUnderTest, ring: &mut RingBuf<MapData>, frame: &[u8], kind: EventKind| {
            let start = std::time::Instant::now();
            for _ in 0..2000 {
                assert_eq!(gateway.run(frame).unwrap().verdict, Verdict::Drop);
            }
            // One for each tenth of a second that has begun.
            let most = start.elapsed().as_millis() as usize / 100 + 2;
            let events = drain(ring);
            assert!(!events.is_empty() && events.len() <= most, "{} of {most} for {kind:?}", events.len());
            assert!(events.iter().all(|event| event.kind == kind as u32), "{events:?}");
            events[0]
        };
    let event = flood(&mut gateway, &mut ring, &unknown, EventKind::UnknownSpi);
    assert_eq!((event.tunnel, event.spi, event.source), (0, sa.spi.to_be_bytes(), mapped(REMOTE)));
    let event = flood(&mut gateway, &mut ring, &without_sa, EventKind::NoOutboundSa);
    assert_eq!((event.tunnel, event.source), (1, mapped(HOST)));
    gateway.receive_with(1, &sa).unwrap();
    let event = flood(&mut gateway, &mut ring, &forged, EventKind::AuthenticationFailed);
    assert_eq!((event.tunnel, event.spi), (1, sa.spi.to_be_bytes()));
}

/// An address as events have it.
fn mapped(address: std::net::Ipv4Addr) -> gateway_common::ip::Words {
    gateway_common::ip::to_words(&address.to_ipv6_mapped().octets())
}
