//! How many frames, on how many threads, and what must have come about.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use gateway_common::DropReason;

use super::trial::{Fates, SEEN_ON_THE_WIRE, Trial};

/// Environment variables that `cargo xtask test hostile` sets, and what holds without them.
const PACKETS: (&str, u64) = ("VGW_HOSTILE_PACKETS", 2_000_000);
const SEED: (&str, u64) = ("VGW_HOSTILE_SEED", 20_261_129);
/// Frames from which on everything must have come about.
const ENOUGH: u64 = 200_000;
/// Threads at most: more than that wait for each other in the kernel.
const THREADS: u64 = 4;
/// Frames after which a thread looks whether another has failed.
const PART: u64 = 10_000;
/// Reasons for which none of these frames is dropped: there is no budget.
const NEVER: [DropReason; 1] = [DropReason::BudgetExceeded];

fn number((name, default): (&str, u64)) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => default,
    }
}

#[test]
fn the_gateway_does_what_the_model_does() {
    if testbed::skip_unless_capable("the_gateway_does_what_the_model_does") {
        return;
    }
    let (packets, seed) = (number(PACKETS), number(SEED));
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u64);
    let threads = processors.min(THREADS);
    let started = Instant::now();
    let has_failed = AtomicBool::new(false);
    let run = |thread: u64| -> Fates {
        let mut trial = Trial::new(seed + thread).expect("a gateway can be made");
        let share = packets / threads + u64::from(thread < packets % threads);
        let mut left = share;
        while left > 0 && !has_failed.load(Ordering::Relaxed) {
            let part = left.min(PART);
            if let Err(error) = trial.run(part) {
                has_failed.store(true, Ordering::Relaxed);
                panic!("{error:#}");
            }
            left -= part;
        }
        trial.fates
    };
    let fates = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..threads).map(|thread| scope.spawn(move || run(thread))).collect();
        let mut sum = Fates::new();
        for handle in handles {
            let part = handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            for (fate, count) in part {
                *sum.entry(fate).or_default() += count;
            }
        }
        sum
    });
    let took = started.elapsed();
    let rate = u128::from(packets) * 1000 / took.as_millis().max(1);
    println!("\n{packets} frames, seed {seed}, {} s, {rate} frames/s:", took.as_secs());
    for (fate, count) in &fates {
        println!("{count:>10} {fate}");
    }
    let sum: u64 = fates.iter().filter(|(name, _)| **name != SEEN_ON_THE_WIRE).map(|(_, count)| count).sum();
    assert_eq!(sum, packets);
    if packets >= ENOUGH {
        let reasons = DropReason::ALL.iter().filter(|reason| !NEVER.contains(reason));
        let names = reasons.map(|reason| reason.name());
        let forwarded =
            ["passed to the kernel", "opened and forwarded", "sealed and forwarded", SEEN_ON_THE_WIRE];
        let missing: Vec<_> = names.chain(forwarded).filter(|name| !fates.contains_key(name)).collect();
        assert!(missing.is_empty(), "no frame of this run was tried for {missing:?}");
    }
}
