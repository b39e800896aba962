//! Fair shares, weights, and what idle tunnels leave.

use crate::gateway::{Flood, Gateway, SECOND, START, assert_near, flood, jain};

const RATE: f64 = 100e6;

/// Rates over `seconds` after one second in which the tunnels find their shares.
fn settled(gateway: &Gateway, floods: &[Flood], seconds: f64) -> Vec<f64> {
    flood(gateway, floods, START, 1.0);
    gateway.take_rates(1.0);
    flood(gateway, floods, START + SECOND, seconds);
    gateway.take_rates(seconds)
}

#[test]
fn equal_tunnels_get_equal_shares_whatever_they_send() {
    for (count, seconds) in [(2, 2.0), (10, 4.0), (100, 10.0)] {
        for skew in [1.0_f64, 4.0, 20.0] {
            let gateway = Gateway::new(RATE as u64, &vec![1; count]);
            let fair = RATE / count as f64;
            // From a fifth above the share to `skew` times as much.
            let floods: Vec<_> = (0..count)
                .map(|tunnel| {
                    let part = tunnel as f64 / (count - 1) as f64;
                    Flood::new(tunnel, fair * 1.2 * skew.powf(part))
                })
                .collect();
            let rates = settled(&gateway, &floods, seconds);
            let fairness = jain(rates.iter().copied());
            assert!(fairness > 0.999, "{count} tunnels, skew {skew}: {fairness} {rates:?}");
        }
    }
}

#[test]
fn sizes_and_bursts_of_packets_do_not_matter() {
    let gateway = Gateway::new(RATE as u64, &[1; 4]);
    let floods = [
        Flood { bytes: 100, ..Flood::new(0, 60e6) },
        Flood { bytes: 1400, ..Flood::new(1, 60e6) },
        Flood { bytes: 1400, burst: 40, ..Flood::new(2, 60e6) },
        Flood { bytes: 400, burst: 10, ..Flood::new(3, 500e6) },
    ];
    let rates = settled(&gateway, &floods, 4.0);
    assert!(jain(rates.iter().copied()) > 0.998, "{rates:?}");
    assert_near(rates.iter().sum(), RATE, 1.0);
}

#[test]
fn tunnels_that_send_in_step_have_equal_shares_whoever_comes_first() {
    // What comes at once is from a tenth to eight tenths of what the bucket holds.
    for (count, rate, fairness) in
        [(10, 100e6, 0.99), (25, 100e6, 0.99), (100, 1e9, 0.99), (50, 50e6, 0.97), (100, 100e6, 0.95)]
    {
        for excess in [1.2, 1.5, 3.0] {
            let gateway = Gateway::new(rate as u64, &vec![1; count]);
            let gap = 1400.0 * 8.0 * SECOND as f64 * count as f64 / rate / excess;
            let rounds = (10.0 * SECOND as f64 / gap) as u64;
            for round in 0..rounds {
                for tunnel in 0..count {
                    let now = START + (round as f64 * gap) as u64 + tunnel as u64;
                    gateway.admit(tunnel, now, 1400, false);
                }
            }
            let rates = gateway.take_rates(10.0);
            assert!(jain(rates.iter().copied()) > fairness, "{count} at {rate}, {excess}: {rates:?}");
            assert_near(rates.iter().sum(), rate, 1.0);
        }
    }
}

#[test]
fn who_wants_less_gets_it_and_the_rest_is_shared() {
    let gateway = Gateway::new(RATE as u64, &[1; 4]);
    let demands = [2e6, 10e6, 400e6, 90e6];
    let floods: Vec<_> = demands.iter().enumerate().map(|(tunnel, rate)| Flood::new(tunnel, *rate)).collect();
    let rates = settled(&gateway, &floods, 4.0);
    for (rate, expected) in rates.iter().zip([2e6, 10e6, 44e6, 44e6]) {
        assert_near(*rate, expected, 2.0);
    }
}

#[test]
fn shares_are_as_the_weights() {
    for weights in [&[1, 3][..], &[1, 2, 5, 10], &[1, 1000], &[1, 30, 1000], &[700, 999]] {
        let gateway = Gateway::new(RATE as u64, weights);
        let floods: Vec<_> = (0..weights.len()).map(|tunnel| Flood::new(tunnel, 150e6)).collect();
        let rates = settled(&gateway, &floods, 10.0);
        let sum: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        for (rate, weight) in rates.iter().zip(weights) {
            let expected = RATE * f64::from(*weight) / sum;
            // Of a tunnel with a thousandth, that is one packet in ten seconds or two.
            let percent = if expected < 1e6 { 15.0 } else { 2.5 };
            assert_near(*rate, expected, percent);
        }
    }
}

#[test]
fn a_tunnel_that_begins_has_its_share_within_a_tenth_of_a_second() {
    let gateway = Gateway::new(RATE as u64, &[1; 10]);
    let before: Vec<_> = (0..9).map(|tunnel| Flood::new(tunnel, 50e6)).collect();
    flood(&gateway, &before, START, 2.0);
    gateway.take_rates(1.0);
    let all: Vec<_> = (0..10).map(|tunnel| Flood::new(tunnel, 50e6)).collect();
    flood(&gateway, &all, START + 2 * SECOND, 0.1);
    let rates = gateway.take_rates(0.1);
    // What it saved up comes in addition.
    assert!(rates[9] > 9.5e6, "{rates:?}");
    flood(&gateway, &all, START + 2 * SECOND + SECOND / 10, 1.0);
    assert!(jain(gateway.take_rates(1.0)) > 0.998);
}

#[test]
fn what_a_tunnel_leaves_is_lent_at_once() {
    let gateway = Gateway::new(RATE as u64, &[1, 1]);
    let floods = [Flood::new(0, 200e6), Flood::new(1, 200e6)];
    flood(&gateway, &floods, START, 1.0);
    gateway.take_rates(1.0);
    flood(&gateway, &floods[..1], START + SECOND, 0.1);
    assert_near(gateway.take_rates(0.1)[0], RATE, 3.0);
    // And taken back as fast; having used more before does not count.
    flood(&gateway, &floods, START + SECOND + SECOND / 10, 0.2);
    gateway.take_rates(0.2);
    flood(&gateway, &floods, START + SECOND + SECOND * 3 / 10, 1.0);
    assert!(jain(gateway.take_rates(1.0)) > 0.999);
}

#[test]
fn a_small_tunnel_loses_nothing_among_large_ones() {
    let gateway = Gateway::new(RATE as u64, &[1; 10]);
    // One sends 4 Mbit/s in bursts of fourteen, less than its share of ten.
    let mut floods: Vec<_> = (1..10).map(|tunnel| Flood::new(tunnel, 100e6)).collect();
    floods.push(Flood { burst: 14, ..Flood::new(0, 4e6) });
    let rates = settled(&gateway, &floods, 8.0);
    assert_near(rates[0], 4e6, 4.0);
}

#[test]
fn a_tunnel_is_judged_by_its_weight_alone_after_any_rest() {
    // The counts wrap many times while the second tunnel rests; whatever its own says then, it has its share.
    let gateway = Gateway::new(RATE as u64, &[1, 1]);
    let floods = [Flood::new(0, 200e6), Flood::new(1, 200e6)];
    flood(&gateway, &floods, START, 0.5);
    for rest in [1, 400, 1600, 2200, 3000, 4096, 100_000] {
        let from = START + rest * 3600 * SECOND;
        flood(&gateway, &floods[..1], from, 0.5);
        gateway.take_rates(0.5);
        flood(&gateway, &floods, from + SECOND / 2, 1.0);
        let rates = gateway.take_rates(1.0);
        assert!(jain(rates.iter().copied()) > 0.998, "{rest} h: {rates:?}");
    }
}
