//! The shared budget as the programs carry it out: shares, guarantees, ceilings, marks, and changes while packets flow.

use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};

use gateway_common::{Aead, Budget, DropReason, Share};
use gateway_user::datapath::{BandwidthLimit, TunnelShare};
use xdp_harness::frames::{Ip, checksum, ethernet, pattern};
use xdp_harness::{GatewayUnderTest, HOST, LOCAL, OTHER_HOST, PEER_HOST, REMOTE, Verdict, esp, sa};

/// ECN field: ECN-capable, codepoint 0.
const ECT: u8 = 2;
/// ECN field: congestion experienced.
const CE: u8 = 3;

/// A rate so low that nothing is refilled during a test, in bit/s.
const NEXT_TO_NOTHING: u64 = 8;

/// A gateway that sends into tunnels 1 and 2 and receives from tunnel 1.
fn gateway() -> GatewayUnderTest {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.send_with(1, &sa(0x7001, Aead::ChaCha20Poly1305)).unwrap();
    gateway.send_with(2, &sa(0x7002, Aead::ChaCha20Poly1305)).unwrap();
    gateway.receive_with(1, &sa(0x7003, Aead::ChaCha20Poly1305)).unwrap();
    gateway
}

/// A packet of 1000 bytes to the host behind a tunnel.
fn leaving(tunnel: u32, tos: u8) -> Vec<u8> {
    let destination: Ipv4Addr = if tunnel == 1 { PEER_HOST } else { OTHER_HOST };
    let ip = Ip { tos, ..Ip::new(HOST, destination) };
    ethernet(&ip.packet(&pattern(980)))
}

/// The same out of tunnel 1.
fn arriving(sequence: u64, tos: u8) -> Vec<u8> {
    let inner = Ip { tos, ..Ip::new(PEER_HOST, HOST) }.packet(&pattern(980));
    let outer = Ip { protocol: 50, tos: tos & 3, ..Ip::new(REMOTE, LOCAL) };
    ethernet(&outer.packet(&esp::seal(&sa(0x7003, Aead::ChaCha20Poly1305), sequence, &inner, 0, esp::IPV4)))
}

/// How many of these frames pass, up to the first that does not.
fn passing(gateway: &GatewayUnderTest, frame: impl Fn(u64) -> Vec<u8>) -> u64 {
    (1..1000).take_while(|n| gateway.run(&frame(*n)).unwrap().verdict == Verdict::Redirect).count() as u64
}

#[test]
fn packets_that_understand_it_are_marked_before_they_are_dropped() {
    let mut gateway = gateway();
    let budget = Budget::new(NEXT_TO_NOTHING, 10_000);
    gateway.set_budget(budget).unwrap();
    gateway.set_share(1, Share::new(1, &budget)).unwrap();
    let sender = sa(0x7001, Aead::ChaCha20Poly1305);
    let mut ecn = Vec::new();
    loop {
        let outcome = gateway.run(&leaving(1, 0xb8 | ECT)).unwrap();
        if outcome.verdict != Verdict::Redirect {
            break;
        }
        let (_, inner) = esp::open(&sender, 0, &outcome.frame[34..]);
        assert_eq!(checksum(&inner[..20]), 0);
        assert_eq!(checksum(&outcome.frame[14..34]), 0);
        assert_eq!(outcome.frame[15], inner[1], "the outer header says the same");
        assert_eq!(inner[1] & 0xfc, 0xb8, "DSCP");
        ecn.push(inner[1] & 3);
    }
    // A bucket of ten packets: nothing is marked while it is half full, and always when others would be dropped.
    assert!(ecn[..5].iter().all(|ecn| *ecn == ECT), "{ecn:?}");
    assert_eq!(ecn.last(), Some(&CE), "{ecn:?}");
    let marked = ecn.iter().map(|ecn| u64::from(*ecn == CE)).sum::<u64>();
    let counted = gateway.counters.budget(BandwidthLimit::default()).unwrap().outbound;
    assert_eq!((counted.passed_packets, counted.marked_packets), (ecn.len() as u64, marked));
    assert_eq!(
        (counted.marked_bytes, counted.dropped_packets, counted.dropped_bytes),
        (1000 * marked, 1, 1000)
    );
    assert_eq!(gateway.counters.traffic(1).unwrap().out_marked, marked);
    assert_eq!(gateway.dropped(1, DropReason::BudgetExceeded).unwrap(), 1);
    // One that does not understand marks was dropped earlier.
    assert_eq!(gateway.run(&leaving(1, 0)).unwrap().verdict, Verdict::Drop);
}

#[test]
fn what_comes_out_of_a_tunnel_is_marked_too() {
    let mut gateway = gateway();
    let budget = Budget::new(NEXT_TO_NOTHING, 10_000);
    gateway.set_budget(budget).unwrap();
    gateway.set_share(1, Share::new(1, &budget)).unwrap();
    let mut last = Vec::new();
    for sequence in 1.. {
        let outcome = gateway.run(&arriving(sequence, ECT)).unwrap();
        if outcome.verdict != Verdict::Redirect {
            break;
        }
        last = outcome.frame;
    }
    assert_eq!((last[15], checksum(&last[14..34])), (CE, 0));
    let counted = gateway.counters.budget(BandwidthLimit::default()).unwrap();
    assert!(counted.inbound.marked_packets > 0 && counted.outbound.passed_packets == 0, "{counted:?}");
    assert_eq!(gateway.counters.traffic(1).unwrap().in_marked, counted.inbound.marked_packets);
}

#[test]
fn packets_that_do_not_understand_marks_are_left_alone() {
    let mut gateway = gateway();
    gateway.set_budget(Budget::new(NEXT_TO_NOTHING, 10_000)).unwrap();
    let sender = sa(0x7001, Aead::ChaCha20Poly1305);
    for _ in 0..10 {
        let outcome = gateway.run(&leaving(1, 0xb8)).unwrap();
        assert_eq!(esp::open(&sender, 0, &outcome.frame[34..]).1[1], 0xb8);
    }
    assert_eq!(gateway.counters.budget(BandwidthLimit::default()).unwrap().outbound.marked_packets, 0);
}

#[test]
fn each_direction_has_its_own_bucket_when_they_are_separate() {
    let mut gateway = gateway();
    let budget = Budget::new(NEXT_TO_NOTHING, 4999);
    gateway.set_budget(Budget { is_separate: 1, ..budget }).unwrap();
    assert_eq!(passing(&gateway, |_| leaving(1, 0)), 5);
    assert_eq!(passing(&gateway, |sequence| arriving(sequence, 0)), 5);
    // As long as they share one, nothing is left for either.
    gateway.set_budget(budget).unwrap();
    assert_eq!(passing(&gateway, |_| leaving(2, 0)), 0);
}

#[test]
fn a_guarantee_holds_when_the_budget_is_used_up() {
    let mut gateway = gateway();
    let budget = Budget::new(NEXT_TO_NOTHING, 20_000);
    gateway.set_budget(budget).unwrap();
    gateway.set_share(1, Share::new(1, &budget)).unwrap();
    gateway.set_share(2, Share::new(1, &budget).with_guarantee(NEXT_TO_NOTHING)).unwrap();
    assert!(passing(&gateway, |_| leaving(1, 0)) >= 20);
    // Its bucket of 3 KiB, and what a tunnel that was idle may use beyond the others.
    assert!(passing(&gateway, |_| leaving(2, 0)) >= 4);
    assert_eq!(passing(&gateway, |_| leaving(1, 0)), 0);
}

#[test]
fn a_ceiling_holds_without_a_limit_of_the_gateway() {
    let mut gateway = gateway();
    let ceiling = TunnelShare { ceiling: Some(NEXT_TO_NOTHING), ..TunnelShare::default() };
    gateway.budget.set_share(1, ceiling).unwrap();
    gateway.budget.set_share(2, TunnelShare::default()).unwrap();
    // Its bucket of 16 KiB.
    assert_eq!(passing(&gateway, |_| leaving(1, 0)), 17);
    assert_eq!(passing(&gateway, |_| leaving(2, 0)), 999);
    gateway.budget.set_share(1, TunnelShare::default()).unwrap();
    assert_eq!(passing(&gateway, |_| leaving(1, 0)), 999, "the last ceiling is gone");
    let counted = gateway.counters.budget(BandwidthLimit::default()).unwrap().outbound;
    assert_eq!(counted.passed_packets, 17 + 999, "nothing is counted where nothing is limited");
}

#[test]
fn busy_tunnels_share_by_their_weights() {
    let mut gateway = gateway();
    gateway.budget.set_limit(BandwidthLimit { rate: Some(2_000_000), is_separate: false }).unwrap();
    for (tunnel, weight) in [(1, 1), (2, 3)] {
        gateway.budget.set_share(tunnel, TunnelShare { weight, ..TunnelShare::default() }).unwrap();
    }
    let frames = [leaving(1, 0), leaving(2, 0)];
    let passed =
        |gateway: &GatewayUnderTest| [1, 2].map(|tunnel| gateway.counters.traffic(tunnel).unwrap().out_bytes);
    let offer = |gateway: &GatewayUnderTest, bytes: u64| {
        let before = passed(gateway);
        loop {
            // One sends twice as much as the other.
            for frame in [&frames[0], &frames[0], &frames[1]] {
                gateway.run(frame).unwrap();
            }
            let now = passed(gateway);
            let since = [now[0] - before[0], now[1] - before[1]];
            if since[0] + since[1] >= bytes {
                return since;
            }
        }
    };
    // What both saved up comes first.
    offer(&gateway, 60_000);
    let [one, three] = offer(&gateway, 250_000);
    assert!((3 * one).abs_diff(three) * 20 < three, "{one} and {three} bytes");
    // Weights that change count from then on.
    gateway.budget.set_share(1, TunnelShare { weight: 3, ..TunnelShare::default() }).unwrap();
    offer(&gateway, 60_000);
    let [one, other] = offer(&gateway, 250_000);
    assert!(one.abs_diff(other) * 20 < other, "{one} and {other} bytes");
}

#[test]
fn what_was_used_stays_used_when_the_rate_changes() {
    let mut gateway = gateway();
    let limit = |rate| BandwidthLimit { rate: Some(rate), is_separate: false };
    gateway.budget.set_limit(limit(NEXT_TO_NOTHING)).unwrap();
    gateway.budget.set_share(1, TunnelShare::default()).unwrap();
    let first = passing(&gateway, |_| leaving(1, 0));
    assert!((16..=22).contains(&first), "a bucket of 16 KiB and a quarter: {first}");
    // Twice as fast, the bucket is as deep, and as empty.
    gateway.budget.set_limit(limit(2 * NEXT_TO_NOTHING)).unwrap();
    assert_eq!(passing(&gateway, |_| leaving(1, 0)), 0);
    // A rate that refills it in no time: what is ahead does not hold packets up for the hours that it took at the old rate.
    gateway.budget.set_limit(limit(1_000_000_000_000)).unwrap();
    assert!(passing(&gateway, |_| leaving(1, 0)) > 100);
    let before = gateway.counters.budget(gateway.budget.limit()).unwrap();
    gateway.budget.set_limit(BandwidthLimit::default()).unwrap();
    assert_eq!(passing(&gateway, |_| leaving(1, 0)), 999);
    let after = gateway.counters.budget(gateway.budget.limit()).unwrap();
    assert_eq!((after.outbound, after.limit.rate), (before.outbound, None), "counters go on");
    assert!(gateway.budget.set_limit(limit(0)).is_err());
}

#[test]
fn two_cpus_spend_no_more_than_there_is() {
    let mut gateway = gateway();
    gateway.set_budget(Budget::new(NEXT_TO_NOTHING, 2_000_000)).unwrap();
    let (gateway, passed) = (&gateway, AtomicU64::new(0));
    std::thread::scope(|scope| {
        for tunnel in [1, 2] {
            let passed = &passed;
            scope.spawn(move || {
                let frame = leaving(tunnel, 0);
                for _ in 0..5000 {
                    if gateway.run(&frame).unwrap().verdict == Verdict::Redirect {
                        passed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    // Each may have looked before the other charged its last packet.
    assert!((2001..=2002).contains(&passed.load(Ordering::Relaxed)), "{passed:?}");
    let counted = gateway.counters.budget(BandwidthLimit::default()).unwrap().outbound;
    assert_eq!(counted.passed_packets + counted.dropped_packets, 10_000);
}
