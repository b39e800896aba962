//! Senders that slow down when a packet is lost or marked.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::Ordering::Relaxed;

use gateway_common::budget::admission::Verdict;

use crate::gateway::{Flood, Gateway, Random, SECOND, START, assert_near, jain};

const BYTES: u32 = 1400;

/// A sender of TCP with selective acknowledgements, roughly: slow start, then the window of CUBIC (RFC 9438), which shrinks to seven
/// tenths once in a round trip in which something was lost or marked.
struct Stream {
    tunnel: usize,
    rtt_ns: u64,
    is_ecn_capable: bool,
    window: f64,
    threshold: f64,
    /// The window before it shrank last, and when that was.
    highest: f64,
    shrunk_at: u64,
    in_flight: u32,
    /// Losses and marks of packets sent before this are known already.
    recovered_at: u64,
}

/// What happens next.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// An answer to stream by number: a packet sent then was carried as it should be, or not.
    Answer { stream: usize, sent_ns: u64, is_well: bool },
    /// The flood by number sends.
    Flood(usize),
}

impl Stream {
    fn new(tunnel: usize, rtt_ns: u64) -> Self {
        Self {
            tunnel,
            rtt_ns,
            is_ecn_capable: false,
            window: 10.0,
            threshold: f64::MAX,
            highest: 0.0,
            shrunk_at: 0,
            in_flight: 0,
            recovered_at: 0,
        }
    }

    fn answered(&mut self, now: u64, sent_ns: u64, is_well: bool) {
        self.in_flight -= 1;
        if is_well {
            self.window += if self.window < self.threshold { 1.0 } else { self.growth(now) };
        } else if sent_ns >= self.recovered_at {
            (self.highest, self.shrunk_at) = (self.window, now);
            self.window = (self.window * 0.7).max(2.0);
            self.threshold = self.window;
            self.recovered_at = now;
        }
    }

    /// By how much the window grows with an answer: as CUBIC's curve, or as that of a sender of Reno with the same mean.
    fn growth(&self, now: u64) -> f64 {
        let seconds = (now - self.shrunk_at) as f64 / SECOND as f64;
        let plateau = (self.highest * 0.3 / 0.4).cbrt();
        let target = self.highest + 0.4 * (seconds - plateau).powi(3);
        ((target - self.window) / self.window).clamp(0.53 / self.window, 0.5)
    }
}

/// Lets streams and floods run; the rates of the tunnels in the last `seconds` after `warm_up` seconds.
fn run(gateway: &Gateway, streams: &mut [Stream], floods: &[Flood], warm_up: f64, seconds: f64) -> Vec<f64> {
    let middle = START + (warm_up * SECOND as f64) as u64;
    let end = middle + (seconds * SECOND as f64) as u64;
    let mut random = Random(7);
    let mut queue = BinaryHeap::new();
    for (index, stream) in streams.iter_mut().enumerate() {
        stream.in_flight = 1;
        queue.push(Reverse((START, Event::Answer { stream: index, sent_ns: 0, is_well: true })));
    }
    queue.extend((0..floods.len()).map(|index| Reverse((START, Event::Flood(index)))));
    let mut is_warm = false;
    while let Some(Reverse((now, event))) = queue.pop() {
        if now >= middle && !is_warm {
            is_warm = true;
            gateway.take_rates(1.0);
            for tunnel in &gateway.tunnels {
                tunnel.marked.store(0, Relaxed);
                tunnel.dropped.store(0, Relaxed);
            }
        }
        if now >= end {
            break;
        }
        match event {
            Event::Flood(index) => {
                let flood = floods[index];
                gateway.admit(flood.tunnel, now, flood.bytes, false);
                let gap = f64::from(flood.bytes) * 8.0 * SECOND as f64 / flood.rate;
                queue.push(Reverse((now + (gap * (0.5 + random.unit())) as u64, Event::Flood(index))));
            }
            Event::Answer { stream: index, sent_ns, is_well } => {
                let stream = &mut streams[index];
                stream.answered(now, sent_ns, is_well);
                while f64::from(stream.in_flight) < stream.window {
                    stream.in_flight += 1;
                    let verdict = gateway.admit(stream.tunnel, now, BYTES, stream.is_ecn_capable);
                    let is_well = verdict == Verdict::Pass;
                    let delay = (stream.rtt_ns as f64 * (0.95 + 0.1 * random.unit())) as u64;
                    queue
                        .push(Reverse((now + delay, Event::Answer { stream: index, sent_ns: now, is_well })));
                }
            }
        }
    }
    gateway.take_rates(seconds)
}

#[test]
fn one_stream_reaches_nine_tenths_of_the_limit() {
    for (rate, rtt_ms) in [(10e6, 5), (50e6, 2), (100e6, 10), (100e6, 20), (1e9, 2)] {
        let gateway = Gateway::new(rate as u64, &[1, 1]);
        let mut streams = [Stream::new(0, rtt_ms * 1_000_000)];
        let sum = run(&gateway, &mut streams, &[], 2.0, 20.0)[0];
        assert!(sum >= 0.9 * rate && sum <= 1.02 * rate, "{sum} of {rate} at {rtt_ms} ms");
    }
}

#[test]
fn streams_in_many_tunnels_are_fair_and_fill_the_limit() {
    for count in [2, 10, 100] {
        let rate = 100e6;
        let gateway = Gateway::new(rate as u64, &vec![1; count]);
        // Round trips from 2 to 6 ms, one to three streams a tunnel.
        let mut streams: Vec<_> = (0..count)
            .flat_map(|tunnel| std::iter::repeat_n(tunnel, 1 + tunnel % 3))
            .map(|tunnel| Stream::new(tunnel, 2_000_000 + 1_000_000 * (tunnel as u64 % 5)))
            .collect();
        let rates = run(&gateway, &mut streams, &[], 2.0, 10.0);
        let sum: f64 = rates.iter().sum();
        assert!(sum >= 0.95 * rate && sum <= 1.01 * rate, "{count}: {sum}");
        assert!(jain(rates.iter().copied()) >= 0.99, "{count}: {rates:?}");
    }
}

#[test]
fn a_stream_holds_its_share_against_a_flood() {
    let gateway = Gateway::new(100_000_000, &[1, 1]);
    let mut streams = [Stream::new(0, 5_000_000)];
    let floods = [Flood::new(1, 300e6)];
    let rates = run(&gateway, &mut streams, &floods, 2.0, 8.0);
    assert!(rates[0] >= 0.9 * 50e6, "{rates:?}");
    assert_near(rates.iter().sum(), 100e6, 1.0);
}

#[test]
fn marks_come_before_drops() {
    let gateway = Gateway::new(100_000_000, &[1, 1]);
    let mut streams = [0, 1].map(|tunnel| Stream::new(tunnel, 5_000_000));
    for stream in &mut streams {
        stream.is_ecn_capable = true;
        // Past the slow start, which goes too far in one round trip.
        (stream.window, stream.threshold, stream.highest) = (10.0, 10.0, 10.0);
    }
    let rates = run(&gateway, &mut streams, &[], 0.2, 10.0);
    let sum: f64 = rates.iter().sum();
    assert!(sum >= 0.9 * 100e6, "{rates:?}");
    assert!(jain(rates.iter().copied()) >= 0.99, "{rates:?}");
    let [marked, dropped] =
        [&gateway.tunnels[0].marked, &gateway.tunnels[0].dropped].map(|count| count.load(Relaxed));
    assert!(marked > 10 && dropped == 0, "{marked} marked, {dropped} dropped");
}

#[test]
fn a_flood_that_claims_to_understand_marks_gains_nothing() {
    let gateway = Gateway::new(100_000_000, &[1, 1]);
    // Every second packet of either tunnel comes with the other's, at three times the limit.
    for step in 0..200_000_u64 {
        let now = START + step * 37_000;
        gateway.admit(0, now, BYTES, true);
        gateway.admit(1, now, BYTES, false);
    }
    let rates = gateway.take_rates(7.4);
    assert!(jain(rates.iter().copied()) >= 0.999, "{rates:?}");
    assert_near(rates.iter().sum(), 100e6, 1.0);
}
