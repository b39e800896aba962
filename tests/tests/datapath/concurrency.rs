//! Several CPUs work on one SA at the same time.

use std::collections::HashSet;
use std::sync::Barrier;
use std::thread;

use gateway_common::{Aead, DropReason};
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;
use xdp_harness::frames::{Ip, ethernet, pattern};
use xdp_harness::{GatewayUnderTest, HOST, LOCAL, PEER_HOST, REMOTE, Verdict, esp, sa};

const PACKETS: u64 = 20_000;

/// Runs `work` on two threads at once, each on a CPU of its own where the machine has two.
fn on_two_cpus<T: Send>(work: impl Fn() -> T + Sync) -> [T; 2] {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let cpus: Vec<_> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap()).take(2).collect();
    let start = Barrier::new(2);
    thread::scope(|scope| {
        let run = |number: usize| {
            let (cpus, start, work) = (&cpus, &start, &work);
            scope.spawn(move || {
                let mut own = CpuSet::new();
                own.set(cpus[number % cpus.len()]).unwrap();
                sched_setaffinity(Pid::from_raw(0), &own).unwrap();
                start.wait();
                work()
            })
        };
        let threads = [run(0), run(1)];
        threads.map(|thread| thread.join().unwrap())
    })
}

#[test]
fn each_packet_is_accepted_exactly_once() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let sa = sa(0x61, Aead::ChaCha20Poly1305);
    gateway.receive_with(1, &sa).unwrap();
    let inner = Ip::new(PEER_HOST, HOST).packet(&pattern(4));
    let mut outer = Ip::new(REMOTE, LOCAL);
    outer.protocol = 50;
    let frames: Vec<_> = (1..=PACKETS)
        .map(|sequence| ethernet(&outer.packet(&esp::seal(&sa, sequence, &inner, 0, esp::IPV4))))
        .collect();
    let gateway = &gateway;
    let accepted = on_two_cpus(|| {
        let passed = |frame: &&Vec<u8>| gateway.run(frame).unwrap().verdict == Verdict::Redirect;
        frames.iter().filter(passed).count() as u64
    });
    let replayed = gateway.dropped(1, DropReason::Replayed).unwrap()
        // A packet so late that its number is taken for one of the next 2^32.
        + gateway.dropped(1, DropReason::AuthenticationFailed).unwrap();
    // Each frame came twice. One thread may fall behind the window, but nothing passes twice.
    assert_eq!(accepted[0] + accepted[1] + replayed, 2 * PACKETS, "{:?}", gateway.counters.drops(1));
    assert_eq!(accepted[0] + accepted[1], PACKETS, "one CPU {}, the other {}", accepted[0], accepted[1]);
    assert_eq!(gateway.counters.traffic(1).unwrap().in_packets, PACKETS);
}

#[test]
fn no_sequence_number_is_used_twice() {
    let mut gateway = GatewayUnderTest::new().unwrap();
    let index = gateway.send_with(1, &sa(0x62, Aead::ChaCha20Poly1305)).unwrap();
    let frame = ethernet(&Ip::new(HOST, PEER_HOST).packet(&pattern(4)));
    let [one, other] = on_two_cpus(|| {
        let ivs = (0..PACKETS).map(|_| {
            let outcome = gateway.run(&frame).unwrap();
            assert_eq!(outcome.verdict, Verdict::Redirect);
            <[u8; 8]>::try_from(&outcome.frame[42..50]).unwrap()
        });
        ivs.collect::<Vec<_>>()
    });
    let ivs: HashSet<_> = one.into_iter().chain(other).map(u64::from_be_bytes).collect();
    assert_eq!(ivs, (1..=2 * PACKETS).collect());
    assert_eq!(gateway.read_sa(index).unwrap().packets, 2 * PACKETS);
}
