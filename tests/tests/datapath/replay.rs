//! Anti-replay of whole packets, sealed and opened, against the plain model that the arithmetic is tested with.

use std::sync::Barrier;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use gateway_common::limits::REPLAY_WINDOW_MAX;
use gateway_common::{Aead, DropReason};
use gateway_user::datapath::{PacketPolicy, SaConfig};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use xdp_harness::frames::{Ip, ethernet, pattern};
use xdp_harness::{GatewayUnderTest, HOST, LOCAL, PEER_HOST, REMOTE, Verdict, esp, sa};

use self::model::{Expected, Model, Random};

#[path = "../../../gateway-common/tests/replay/model.rs"]
mod model;

const WINDOWS: [u32; 6] = [64, 128, 256, 1024, 4096, REPLAY_WINDOW_MAX];

fn policy(replay_window: u32) -> PacketPolicy {
    PacketPolicy { replay_window, ..PacketPolicy::default() }
}

fn receiving(spi: u32, window: u32, esn: bool) -> SaConfig {
    let policy = policy(window);
    SaConfig { esn, policy, ..sa(spi, Aead::Aes128Gcm) }
}

fn arriving(sa: &SaConfig, sequence: u64) -> Vec<u8> {
    let mut outer = Ip::new(REMOTE, LOCAL);
    outer.protocol = 50;
    let inner = Ip::new(PEER_HOST, HOST).packet(&pattern(4));
    ethernet(&outer.packet(&esp::seal(sa, sequence, &inner, 0, esp::IPV4)))
}

/// The programs of a gateway, and how many packets they have refused so far.
struct Programs {
    gateway: GatewayUnderTest,
    refused: u64,
    mistaken: u64,
}

impl Programs {
    fn new() -> Self {
        Self { gateway: GatewayUnderTest::new().unwrap(), refused: 0, mistaken: 0 }
    }

    /// What the programs do with the packet of number `sequence`.
    fn receive(&mut self, sa: &SaConfig, sequence: u64) -> Expected {
        let verdict = self.gateway.run(&arriving(sa, sequence)).unwrap().verdict;
        if verdict == Verdict::Redirect {
            return Expected::Accepted;
        }
        assert_eq!(verdict, Verdict::Drop);
        let drops = self.gateway.counters.drops(1).unwrap();
        let count = |reason: DropReason| drops.get(reason.name()).copied().unwrap_or(0);
        let now = (count(DropReason::Replayed), count(DropReason::AuthenticationFailed));
        let more = (now.0 - self.refused, now.1 - self.mistaken);
        (self.refused, self.mistaken) = now;
        match more {
            (1, 0) => Expected::Refused,
            (0, 1) => Expected::Mistaken,
            _ => panic!("number {sequence:#x}: {drops:?}"),
        }
    }

    fn agree(&mut self, sa: &SaConfig, model: &mut Model, sequence: u64) {
        let before = model.highest();
        let expected = model.receive(sequence);
        assert_eq!(self.receive(sa, sequence), expected, "number {sequence:#x} after {before:#x}, {sa:?}");
    }
}

#[test]
fn every_window_agrees_with_a_set_of_seen_numbers() {
    let mut programs = Programs::new();
    for (number, window) in WINDOWS.into_iter().enumerate() {
        for esn in [false, true] {
            let sa = receiving(0x7000 + number as u32 * 2 + u32::from(esn), window, esn);
            let slot = programs.gateway.receive_with(1, &sa).unwrap();
            let mut random = Random::new(0x5eed_0000_0000_0001 ^ u64::from(window) << 1 ^ u64::from(esn));
            let mut model = Model::new(window, esn, 0);
            for _ in 0..1500 {
                let sequence = random.arrival(model.highest(), window).max(1);
                programs.agree(&sa, &mut model, sequence.cast_unsigned());
            }
            assert_eq!(programs.gateway.read_sa(slot).unwrap().sequence, model.highest());
        }
    }
}

#[test]
fn the_lower_half_wraps_under_every_window() {
    let mut programs = Programs::new();
    for (number, window) in WINDOWS.into_iter().enumerate() {
        let sa = receiving(0x7100 + number as u32, window, true);
        programs.gateway.receive_with(1, &sa).unwrap();
        let mut random = Random::new(0x3a9d_0000_0000_0001 ^ u64::from(window));
        let mut model = Model::new(window, true, 0);
        for wrap in 1..=3_u64 {
            // As far as a receiver can follow from anywhere before.
            programs.agree(&sa, &mut model, (wrap << 32) - 9000);
            programs.agree(&sa, &mut model, (wrap << 32) - 40);
            for _ in 0..300 {
                let sequence = random.arrival(model.highest(), window);
                programs.agree(&sa, &mut model, sequence.cast_unsigned());
            }
            programs.agree(&sa, &mut model, (wrap << 32) + 20_000);
        }
        // The first that is too far ahead is taken for one of 2^32 before, and the last that is not is understood.
        let edge = model.highest() + (1 << 32) - u64::from(window);
        programs.agree(&sa, &mut model, edge + 1);
        programs.agree(&sa, &mut model, edge);
        assert_eq!(model.highest(), edge);
    }
}

#[test]
fn numbers_of_32_bits_end_at_the_last() {
    let mut programs = Programs::new();
    let sa = receiving(0x7200, 1024, false);
    programs.gateway.receive_with(1, &sa).unwrap();
    let last = u64::from(u32::MAX);
    let mut model = Model::new(1024, false, 0);
    for sequence in [1, last - 2000, last - 1024, last - 1, last, last, last - 1023, last - 1024, 1, 2] {
        programs.agree(&sa, &mut model, sequence);
    }
    assert_eq!(model.highest(), last);
    // 2^32 is 0 on the wire, which no packet may have.
    assert_eq!(programs.receive(&sa, last + 1), Expected::Refused);
}

#[test]
fn a_window_changes_while_packets_flow() {
    let mut programs = Programs::new();
    let sa = receiving(0x7300, 64, true);
    programs.gateway.receive_with(1, &sa).unwrap();
    let mut other = receiving(0x7301, 64, true);
    other.remote.set_port(4501);
    programs.gateway.receive_with(2, &other).unwrap();
    for sequence in [900, 1000] {
        assert_eq!(programs.receive(&sa, sequence), Expected::Accepted);
    }
    assert_eq!(programs.receive(&sa, 930), Expected::Mistaken, "left of a window of 64");
    programs.gateway.sas.set_policy(1, policy(128));
    assert_eq!(programs.receive(&sa, 930), Expected::Accepted, "within one of 128");
    assert_eq!(programs.receive(&sa, 900), Expected::Refused, "seen when it was in the smaller one");
    programs.gateway.sas.set_policy(1, policy(64));
    assert_eq!(programs.receive(&sa, 931), Expected::Mistaken, "the small one again");
    let slot = programs.gateway.sas.find(gateway_user::datapath::Direction::Inbound, 2, 0x7301).unwrap();
    assert_eq!(programs.gateway.read_sa(slot).unwrap().replay_window, 64, "another tunnel's");
}

/// Two CPUs and twice as many threads receive the same packets of one SA, each in an order of its own. Before the next part of them
/// nobody begins until all are done with this one, so that every number is in the window whenever it comes.
#[test]
fn of_several_cpus_one_accepts_each_number() {
    const THREADS: usize = 4;
    const ROUNDS: u64 = 60;
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let cpus: Vec<_> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap()).collect();
    let mut programs = Programs::new();
    for (number, (window, start)) in
        [(64, 0), (256, 0), (64, (1 << 32) - 900), (4096, (1 << 32) - 900)].into_iter().enumerate()
    {
        let sa = receiving(0x7400 + number as u32, window, true);
        let slot = programs.gateway.receive_with(1, &sa).unwrap();
        // From nought a jump cannot lead as far with every window.
        for number in [start / 2, start].into_iter().filter(|number| *number > 0) {
            assert_eq!(programs.receive(&sa, number), Expected::Accepted);
        }
        let part = u64::from(window / 2).min(128);
        let frames: Vec<_> = (0..part * ROUNDS).map(|place| arriving(&sa, start + 1 + place)).collect();
        let accepted: Vec<_> = frames.iter().map(|_| AtomicU32::new(0)).collect();
        let barrier = Barrier::new(THREADS);
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let (gateway, frames, accepted, barrier, cpus) =
                    (&programs.gateway, &frames, &accepted, &barrier, &cpus);
                scope.spawn(move || {
                    let mut own = CpuSet::new();
                    own.set(cpus[thread % cpus.len()]).unwrap();
                    sched_setaffinity(Pid::from_raw(0), &own).unwrap();
                    let mut random = Random::new(0xabcd_0001 + thread as u64);
                    for round in 0..ROUNDS {
                        let (offset, step) = (random.below(part), 1 + 2 * random.below(part / 2));
                        barrier.wait();
                        for position in 0..part {
                            let place = (round * part + (offset + step * position) % part) as usize;
                            if gateway.run(&frames[place]).unwrap().verdict == Verdict::Redirect {
                                accepted[place].fetch_add(1, Relaxed);
                            }
                        }
                    }
                });
            }
        });
        for (place, count) in accepted.iter().enumerate() {
            assert_eq!(count.load(Relaxed), 1, "number {} of window {window}", start + 1 + place as u64);
        }
        assert_eq!(programs.gateway.read_sa(slot).unwrap().sequence, start + part * ROUNDS);
    }
    assert_eq!(programs.gateway.dropped(1, DropReason::AuthenticationFailed).unwrap(), 0);
}
