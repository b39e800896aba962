//! What the programs and the workers count is one figure to whoever asks.

use aya::maps::Array;
use gateway_common::{Aead, DropReason, TunnelCounters};
use gateway_user::datapath::Plain;
use xdp_harness::frames::{Ip, ethernet, pattern};
use xdp_harness::{GatewayUnderTest, HOST, PEER_HOST, Verdict, sa};

#[test]
fn counters_of_workers_are_added_and_reset() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.send_with(1, &sa(0x6000, Aead::Aes128Gcm)).unwrap();
    let packet = ethernet(&Ip::new(HOST, PEER_HOST).packet(&pattern(80)));
    assert_eq!(gateway.run(&packet).unwrap().verdict, Verdict::Redirect);
    let foreign = ethernet(&Ip::new([8, 8, 8, 8].into(), PEER_HOST).packet(&pattern(80)));
    assert_eq!(gateway.run(&foreign).unwrap().verdict, Verdict::Drop);

    let mut traffic: Array<_, Plain<TunnelCounters>> =
        gateway.object.ebpf.take_map("WORKER_COUNTERS").unwrap().try_into().unwrap();
    let by_workers = TunnelCounters {
        in_packets: 3,
        in_bytes: 300,
        out_packets: 5,
        out_bytes: 500,
        in_marked: 2,
        out_marked: 0,
    };
    traffic.set(1, Plain(by_workers), 0).unwrap();
    let mut drops: Array<_, u64> = gateway.object.ebpf.take_map("DROPS").unwrap().try_into().unwrap();
    for (reason, count) in [(DropReason::SourceOutsideVnet, 7), (DropReason::Worker, 2)] {
        let index = DropReason::COUNT + reason as u32;
        let before = drops.get(&index, 0).unwrap();
        assert_eq!(before, u64::from(reason == DropReason::SourceOutsideVnet), "what the programs counted");
        drops.set(index, count, 0).unwrap();
    }

    let sum = TunnelCounters { out_packets: 6, out_bytes: 600, ..by_workers };
    assert_eq!(gateway.counters.traffic(1).unwrap(), sum);
    let names = [(DropReason::SourceOutsideVnet.name(), 7), (DropReason::Worker.name(), 2)];
    assert_eq!(gateway.counters.drops(1).unwrap(), names.into());
    assert!(gateway.counters.drops(2).unwrap().is_empty(), "another tunnel's");

    gateway.counters.reset(1).unwrap();
    assert_eq!(gateway.counters.traffic(1).unwrap(), TunnelCounters::default());
    assert!(gateway.counters.drops(1).unwrap().is_empty());
}
