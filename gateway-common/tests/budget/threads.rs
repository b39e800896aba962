//! Several CPUs on the same words.

use std::sync::Barrier;

use crate::gateway::{Gateway, SECOND, START, assert_near, jain};

#[test]
fn every_packet_that_passes_is_charged_whatever_other_threads_do() {
    const THREADS: usize = 4;
    const RATE: f64 = 1e9;
    const STEPS: u64 = 20_000;
    let gateway = Gateway::new(RATE as u64, &[1; THREADS]);
    let barrier = Barrier::new(THREADS);
    // Twenty microseconds a step, in which all threads together offer four times what passes.
    let step_ns = 20_000;
    let packets = (4.0 * RATE / 8.0 * step_ns as f64 / SECOND as f64 / 1000.0 / THREADS as f64).ceil() as u32;
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (gateway, barrier) = (&gateway, &barrier);
            scope.spawn(move || {
                for step in 0..STEPS {
                    // All threads see the same time, so that they really meet.
                    if step % 500 == 0 {
                        barrier.wait();
                    }
                    for packet in 0..packets {
                        let tunnel = (thread + packet as usize) % THREADS;
                        gateway.admit(tunnel, START + step * step_ns, 1000, false);
                    }
                }
            });
        }
    });
    let seconds = STEPS as f64 * step_ns as f64 / SECOND as f64;
    let rates = gateway.take_rates(seconds);
    // Threads may be half a thousand steps apart, 10 ms, beside the depth.
    assert_near(rates.iter().sum(), RATE, (17.5 + 10.0) / 10.0 / seconds + 0.5);
    assert!(jain(rates.iter().copied()) > 0.99, "{rates:?}");
}
