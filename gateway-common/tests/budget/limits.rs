//! The total, guarantees and ceilings.

use crate::gateway::{Flood, Gateway, SECOND, START, assert_near, flood};

fn everyone(count: usize, rate: f64) -> Vec<Flood> {
    (0..count).map(|tunnel| Flood::new(tunnel, rate)).collect()
}

#[test]
fn every_second_carries_the_rate_whatever_the_number_of_tunnels() {
    for rate in [10e6, 100e6, 1e9] {
        for count in [1, 2, 10, 100] {
            let gateway = Gateway::new(rate as u64, &vec![1; count]);
            let floods = everyone(count, 3.0 * rate / count as f64);
            for second in 0..3 {
                flood(&gateway, &floods, START + second * SECOND, 1.0);
                let sum: f64 = gateway.take_rates(1.0).iter().sum();
                assert_near(sum, rate, 2.0);
            }
        }
    }
}

#[test]
fn slow_and_fast_rates_and_small_packets_are_counted_exactly() {
    for (rate, bytes) in [(64e3, 84), (1e6, 1400), (10e9, 64), (100e9, 1500)] {
        let gateway = Gateway::new(rate as u64, &[1, 1]);
        let floods = [0, 1].map(|tunnel| Flood { bytes, ..Flood::new(tunnel, rate) });
        // What the bucket saves up comes once, and is used up by then.
        let seconds = if rate < 1e7 { 100.0 } else { 0.05 };
        flood(&gateway, &floods, START, seconds);
        gateway.take_rates(seconds);
        flood(&gateway, &floods, START + (seconds * SECOND as f64) as u64, seconds);
        assert_near(gateway.take_rates(seconds).iter().sum(), rate, 0.5);
    }
}

#[test]
fn an_idle_gateway_saves_no_more_than_its_depth() {
    let gateway = Gateway::new(100_000_000, &[1]);
    let mut passed = 0;
    while gateway.admit(0, START, 1000, false) != gateway_common::budget::admission::Verdict::Drop {
        passed += 1000;
    }
    let depth = 100_000_000 / 8 * 14 / 1000;
    // A tunnel that is alone leads its own round a little.
    assert!((depth * 9 / 10..=depth * 5 / 4 + 1000).contains(&passed), "{passed}");
}

#[test]
fn a_guarantee_holds_against_any_number_of_tunnels() {
    let mut gateway = Gateway::new(100_000_000, &[1; 50]);
    gateway.tunnels[0].share = gateway.tunnels[0].share.with_guarantee(40_000_000);
    let floods = everyone(50, 45e6);
    flood(&gateway, &floods, START, 1.0);
    gateway.take_rates(1.0);
    flood(&gateway, &floods, START + SECOND, 4.0);
    let rates = gateway.take_rates(4.0);
    assert_near(rates[0], 40e6, 2.0);
    assert_near(rates.iter().sum(), 100e6, 1.0);
    for rate in &rates[1..] {
        assert_near(*rate, 60e6 / 49.0, 3.0);
    }
}

#[test]
fn what_is_guaranteed_is_no_limit_and_lent_when_idle() {
    let mut gateway = Gateway::new(100_000_000, &[1, 1]);
    gateway.tunnels[0].share = gateway.tunnels[0].share.with_guarantee(20_000_000);
    flood(&gateway, &everyone(2, 200e6), START, 2.0);
    let rates = gateway.take_rates(2.0);
    assert_near(rates[0], 50e6, 2.0);
    flood(&gateway, &[Flood::new(1, 200e6)], START + 2 * SECOND, 2.0);
    assert_near(gateway.take_rates(2.0)[1], 100e6, 2.0);
}

#[test]
fn a_ceiling_holds_and_leaves_the_rest_to_the_others() {
    let mut gateway = Gateway::new(100_000_000, &[1, 1, 1]);
    gateway.tunnels[0].share = gateway.tunnels[0].share.with_ceiling(10_000_000);
    for second in 0..3 {
        flood(&gateway, &everyone(3, 200e6), START + second * SECOND, 1.0);
        let rates = gateway.take_rates(1.0);
        assert_near(rates[0], 10e6, 2.0);
        assert_near(rates.iter().sum(), 100e6, 2.0);
        if second > 0 {
            assert_near(rates[1], 45e6, 2.0);
        }
    }
}

#[test]
fn a_ceiling_holds_without_a_limit_of_the_gateway() {
    let mut gateway = Gateway::new(100_000_000, &[1, 1]);
    gateway.budget.byte_time = 0;
    gateway.tunnels[0].share = gateway.tunnels[0].share.with_ceiling(10_000_000);
    flood(&gateway, &everyone(2, 200e6), START, 1.0);
    let rates = gateway.take_rates(1.0);
    assert_near(rates[0], 10e6, 2.0);
    assert_near(rates[1], 200e6, 1.0);
}

#[test]
fn the_rate_changes_while_packets_flow() {
    let mut gateway = Gateway::new(100_000_000, &[1, 1]);
    let floods = everyone(2, 400e6);
    for (step, rate) in [100_000_000, 300_000_000, 20_000_000].into_iter().enumerate() {
        gateway.set(rate, &[1, 1]);
        for part in 0..2 {
            let from = START + (2 * step as u64 + part) * SECOND;
            flood(&gateway, &floods, from, 1.0);
            let rates = gateway.take_rates(1.0);
            // What had passed ahead at the old rate, 17.5 ms, counts in time here: the agent rescales it.
            assert_near(rates.iter().sum(), rate as f64, 2.1);
            assert_near(rates[0], rates[1], 3.0);
        }
    }
}
