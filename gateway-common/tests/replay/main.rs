//! Anti-replay against a plain model of it, and with several threads at once (RFC 4303 section 3.4.3, appendix A2).

mod model;

use std::sync::Barrier;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::thread;

use gateway_common::limits::{REPLAY_SLOTS, REPLAY_WINDOW_MAX};
use gateway_common::replay::{accept, precheck, slot_index};
use model::{Expected, Model, Random};

const WINDOWS: [u32; 6] = [64, 128, 256, 1024, 4096, REPLAY_WINDOW_MAX];

/// Packets for each window and kind of sequence number: 2.4 million together.
const PACKETS: u64 = 200_000;

/// The part of an SA that anti-replay uses.
struct Receiver {
    window: u32,
    extended: bool,
    highest: AtomicU64,
    slots: [AtomicU64; REPLAY_SLOTS],
}

impl Receiver {
    fn new(window: u32, extended: bool, highest: u64) -> Self {
        let new = Self {
            window,
            extended,
            highest: AtomicU64::new(0),
            slots: [const { AtomicU64::new(0) }; REPLAY_SLOTS],
        };
        assert!(highest == 0 || new.accept(highest));
        new
    }

    fn accept(&self, sequence: u64) -> bool {
        accept(&self.highest, &self.slots[slot_index(sequence)], self.window, sequence)
    }

    /// What becomes of a packet whose ICV was made with `sequence`.
    fn receive(&self, sequence: u64) -> Expected {
        let slot = |index: usize| self.slots[index].load(Relaxed);
        match precheck(self.highest.load(Relaxed), self.window, self.extended, sequence as u32, slot) {
            Some(other) if other != sequence => Expected::Mistaken,
            Some(_) if self.accept(sequence) => Expected::Accepted,
            None | Some(_) => Expected::Refused,
        }
    }
}

/// A receiver and its model, which must agree on every packet.
struct Pair {
    receiver: Receiver,
    model: Model,
}

impl Pair {
    fn new(window: u32, extended: bool, highest: u64) -> Self {
        Self {
            receiver: Receiver::new(window, extended, highest),
            model: Model::new(window, extended, highest),
        }
    }

    fn receive(&mut self, sequence: u64) {
        let before = self.model.highest();
        let expected = self.model.receive(sequence);
        let Receiver { window, extended, .. } = self.receiver;
        assert_eq!(
            self.receiver.receive(sequence),
            expected,
            "number {sequence:#x} after {before:#x}, window {window}, extended {extended}"
        );
        assert_eq!(self.receiver.highest.load(Relaxed), self.model.highest());
    }
}

#[test]
fn agrees_with_a_set_of_seen_numbers() {
    for window in WINDOWS {
        for extended in [false, true] {
            let mut random =
                Random::new(0x9e37_79b9_7f4a_7c15 ^ u64::from(window) << 1 ^ u64::from(extended));
            let mut pair = Pair::new(window, extended, 0);
            for _ in 0..PACKETS {
                let sequence = random.arrival(pair.model.highest(), window);
                pair.receive(sequence.max(1).cast_unsigned());
            }
        }
    }
}

#[test]
fn infers_the_upper_half_around_twenty_wraps() {
    for window in WINDOWS {
        let mut random = Random::new(0x0d15_ea5e_0000_0001 ^ u64::from(window));
        let mut pair = Pair::new(window, true, 0);
        for wrap in 1..=20_u64 {
            // A jump as large as the receiver can follow, which leaves the whole ring behind; then the numbers that a sender uses.
            let jump = (wrap << 32) - 10_000;
            pair.receive(jump);
            (0..20_000).for_each(|step| pair.receive(jump - 20 + step));
            for _ in 0..2000 {
                let sequence = random.arrival(pair.model.highest(), window);
                pair.receive(sequence.max(1).cast_unsigned());
            }
            // The last number that is still understood, and what no receiver can tell from an earlier one.
            let edge = pair.model.highest() + (1 << 32) - u64::from(window);
            pair.receive(edge + 1);
        }
        assert!(pair.model.highest() >> 32 == 20, "{:#x}", pair.model.highest());
        let edge = pair.model.highest() + (1 << 32) - u64::from(window);
        pair.receive(edge);
        assert_eq!(pair.model.highest(), edge);
    }
}

#[test]
fn numbers_of_32_bits_end_at_the_last() {
    const LAST: u64 = u32::MAX as u64;
    for window in WINDOWS {
        let mut random = Random::new(0x00ff_00ff_00ff_0001 ^ u64::from(window));
        let mut pair = Pair::new(window, false, LAST - 30_000);
        for _ in 0..PACKETS / 4 {
            let sequence = random.arrival(pair.model.highest(), window);
            pair.receive(sequence.clamp(1, LAST.cast_signed()).cast_unsigned());
        }
        pair.receive(LAST);
        assert_eq!(pair.model.highest(), LAST);
        // What would come after the last is number 0 on the wire, then 1: never accepted.
        assert_eq!(pair.receiver.receive(0), Expected::Refused);
        (1..100).for_each(|number| assert_eq!(pair.receiver.receive(number), Expected::Refused));
    }
}

/// Threads work through the same numbers, each in an order of its own. Before the next part of them nobody begins until all are
/// done with this one, so that every number is in the window whenever it comes.
#[test]
fn of_several_threads_one_accepts_each_number() {
    const THREADS: u64 = 4;
    const ROUNDS: u64 = 400;
    for window in WINDOWS {
        for start in [0, (1 << 32) - 2000] {
            let receiver = Receiver::new(window, true, start);
            let part = u64::from(window / 2).min(256);
            let accepted: Vec<AtomicU32> = (0..part * ROUNDS).map(|_| AtomicU32::new(0)).collect();
            let barrier = Barrier::new(THREADS as usize);
            thread::scope(|scope| {
                for number in 0..THREADS {
                    let (receiver, accepted, barrier) = (&receiver, &accepted, &barrier);
                    scope.spawn(move || {
                        let mut random = Random::new(0xabcd_0001 + number);
                        for round in 0..ROUNDS {
                            let offset = random.below(part);
                            // An odd step visits each number once: the part's length is a power of two.
                            let step = 1 + 2 * random.below(part / 2);
                            barrier.wait();
                            for position in 0..part {
                                let place = round * part + (offset + step * position) % part;
                                let sequence = start + 1 + place;
                                if receiver.receive(sequence) == Expected::Accepted {
                                    accepted[place as usize].fetch_add(1, Relaxed);
                                }
                            }
                        }
                    });
                }
            });
            for (place, count) in accepted.iter().enumerate() {
                assert_eq!(count.load(Relaxed), 1, "number {} of window {window}", start + 1 + place as u64);
            }
            assert_eq!(receiver.highest.load(Relaxed), start + part * ROUNDS);
        }
    }
}
