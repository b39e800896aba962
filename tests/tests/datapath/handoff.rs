//! Frames for AF_XDP workers: what they are given, and when the kernel engine takes a frame instead.

use gateway_common::{Aead, DropReason, Handoff, Lane, PortRole};
use gateway_user::datapath::SaConfig;
use xdp_harness::frames::{Ip, ethernet, pattern, udp};
use xdp_harness::worker::Handed;
use xdp_harness::{
    GatewayUnderTest, HOST, INGRESS, LOCAL, Outcome, PEER_HOST, REMOTE, UNRESOLVED_REMOTE, VGW_PEER_IFINDEX,
    Verdict, esp, sa,
};

const AEADS: [Aead; 3] = [Aead::ChaCha20Poly1305, Aead::Aes128Gcm, Aead::Aes256Gcm];
const BOTH: u32 = PortRole::LAN | PortRole::WAN;

fn gateway() -> GatewayUnderTest {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.open_lane(BOTH).unwrap();
    gateway
}

/// Every algorithm with and without UDP, extended sequence numbers and an implicit IV; each with its own SPI.
fn every_kind() -> impl Iterator<Item = SaConfig> {
    AEADS.into_iter().enumerate().flat_map(|(number, aead)| {
        (0..8_u32).map(move |variant| {
            let mut sa = sa(0x4000 + number as u32 * 16 + variant, aead);
            sa.udp_encapsulation = variant & 1 != 0;
            sa.esn = variant & 2 != 0;
            sa.implicit_iv = variant & 4 != 0;
            sa
        })
    })
}

fn outbound(len: usize) -> Vec<u8> {
    ethernet(&Ip::new(HOST, PEER_HOST).packet(&pattern(len - 20)))
}

fn inbound(sa: &SaConfig, sequence: u64, len: usize) -> Vec<u8> {
    let packet = Ip::new(PEER_HOST, HOST).packet(&pattern(len - 20));
    let esp = esp::seal(sa, sequence, &packet, 0, esp::IPV4);
    let mut outer = Ip::new(REMOTE, LOCAL);
    outer.tos = 2;
    if sa.udp_encapsulation {
        return ethernet(&outer.packet(&udp(sa.remote.port(), sa.local.port(), &esp)));
    }
    outer.protocol = 50;
    ethernet(&outer.packet(&esp))
}

/// Fields of a [`gateway_common::Job`] as they lie in memory, without what may follow an AAD of 8 bytes.
struct ExpectedJob {
    sa: u32,
    offset: u32,
    length: u32,
    sequence: u64,
    iv: [u8; 8],
    next: u32,
    egress: u32,
    inner_len: u32,
    outer_ecn: u32,
}

/// Checks the first 80 bytes of `frame` against the documented layout.
fn assert_handoff(frame: &[u8], sa: &SaConfig, job: &ExpectedJob) {
    let mut expected = [&sa.spi.to_be_bytes()[..], &[0; 4]].concat();
    for word in [job.sa, job.offset, job.length, if sa.esn { 12 } else { 8 }] {
        expected.extend(word.to_ne_bytes());
    }
    expected.extend(sa.spi.to_be_bytes());
    if sa.esn {
        expected.extend(job.sequence.to_be_bytes());
    } else {
        expected.extend((job.sequence as u32).to_be_bytes());
        expected.extend(&frame[expected.len()..expected.len() + 4]);
    }
    expected.extend([&sa.salt[..], &job.iv].concat());
    expected.extend([job.next.to_ne_bytes(), job.egress.to_ne_bytes()].concat());
    expected.extend(job.sequence.to_ne_bytes());
    for word in [1, job.inner_len, job.outer_ecn, INGRESS] {
        expected.extend(word.to_ne_bytes());
    }
    assert_eq!(frame[..Handoff::LEN], expected, "{sa:?}");
}

fn egress() -> u32 {
    nix::net::if_::if_nametoindex("wan").unwrap()
}

#[test]
fn a_worker_can_seal_every_frame_that_it_gets() {
    let mut gateway = gateway();
    let mut packets = 0;
    for sa in every_kind() {
        let index = gateway.send_with(1, &sa).unwrap();
        let start = if sa.esn { (1_u64 << 32) - 3 } else { 0 };
        gateway.edit_sa(index, |entry| entry.sequence = start).unwrap();
        for (count, len) in [20_usize, 21, 63, 64, 65, 511, 1400, 1437, 1438].into_iter().enumerate() {
            let sequence = start + count as u64 + 1;
            let handed = gateway.run(&outbound(len)).unwrap();
            packets += 1;
            assert_eq!(handed.verdict, Verdict::Redirect);
            assert_eq!(gateway.lane().unwrap().produced, packets, "{sa:?}, {len} bytes");
            let headers =
                20 + 8 + if sa.udp_encapsulation { 8 } else { 0 } + if sa.implicit_iv { 0 } else { 8 };
            let job = ExpectedJob {
                sa: index,
                offset: 14 + headers,
                length: (len as u32 + 2).next_multiple_of(4),
                sequence,
                iv: sequence.to_be_bytes(),
                next: 6,
                egress: egress(),
                inner_len: len as u32,
                outer_ecn: 0,
            };
            assert_handoff(&handed.frame, &sa, &job);
            // With the worker's part done it is what the kernel engine sends with the same sequence number.
            gateway.edit_sa(index, |entry| entry.sequence = sequence - 1).unwrap();
            gateway.edit_lane(|lane| lane.limit = 0).unwrap();
            let expected = gateway.run(&outbound(len)).unwrap();
            gateway.edit_lane(|lane| lane.limit = 1_000_000).unwrap();
            assert!(Handed::parse(&handed.frame).seal(&sa) == expected.frame, "{sa:?}, {len} bytes");
        }
        // Counted when handed over, like those that the kernel engine sealed.
        assert_eq!(gateway.read_sa(index).unwrap().packets, 18);
        gateway.sas.remove(gateway_user::datapath::Direction::Outbound, 1, sa.spi).unwrap();
    }
    let counters = gateway.counters.traffic(1).unwrap();
    assert_eq!((counters.out_packets, counters.in_packets), (2 * packets, 0));
}

#[test]
fn a_worker_can_open_every_frame_that_it_gets() {
    let mut gateway = gateway();
    for sa in every_kind() {
        let index = gateway.receive_with(1, &sa).unwrap();
        let high = if sa.esn { 1_u64 << 32 } else { 0 };
        gateway.edit_sa(index, |entry| entry.sequence = high).unwrap();
        for (count, len) in [20_usize, 21, 22, 23, 64, 1400, 1438].into_iter().enumerate() {
            let sequence = high + count as u64 + 1;
            let frame = inbound(&sa, sequence, len);
            let handed = gateway.run(&frame).unwrap();
            assert_eq!(handed.verdict, Verdict::Redirect);
            let offset =
                14 + 20 + 8 + if sa.udp_encapsulation { 8 } else { 0 } + if sa.implicit_iv { 0 } else { 8 };
            let iv = if sa.implicit_iv { sequence } else { sequence ^ 0x5a5a_0000_0000_0000 };
            let job = ExpectedJob {
                sa: index,
                offset,
                length: (len as u32 + 2).next_multiple_of(4),
                sequence,
                iv: iv.to_be_bytes(),
                next: 7,
                egress: 0,
                inner_len: 0,
                outer_ecn: 2,
            };
            assert_handoff(&handed.frame, &sa, &job);
            let mut handed = Handed::parse(&handed.frame);
            assert_eq!(handed.frame, frame, "the frame is handed over as it came");
            assert!(handed.open(&sa), "{sa:?}, {len} bytes");
            let inner = Ip::new(PEER_HOST, HOST).packet(&pattern(len - 20));
            assert!(handed.frame[offset as usize..].starts_with(&inner));
        }
        let entry = gateway.read_sa(index).unwrap();
        assert_eq!((entry.sequence, entry.packets), (high, 0), "nothing is accepted or counted yet");
    }
    assert_eq!(gateway.counters.traffic(1).unwrap().in_packets, 0);
    assert!(gateway.counters.drops(1).unwrap().is_empty());
}

#[test]
fn a_frame_for_the_stack_goes_to_a_worker_too() {
    let mut gateway = gateway();
    let mut sa = sa(0x4100, Aead::Aes256Gcm);
    sa.remote.set_ip(UNRESOLVED_REMOTE.into());
    gateway.send_with(1, &sa).unwrap();
    let handed = gateway.run(&outbound(100)).unwrap();
    assert_eq!(Handed::parse(&handed.frame).handoff.job.egress_ifindex, VGW_PEER_IFINDEX);
    // And what the kernel routed into the tunnel interface comes from there.
    gateway.open_lane(PortRole::TUNNEL).unwrap();
    let handed = gateway.run(&outbound(100)).unwrap();
    assert_eq!(Handed::parse(&handed.frame).handoff.job.aad[4..12], 2_u64.to_be_bytes());
    assert_eq!(gateway.lane().unwrap().produced, 1);
}

/// Whether a frame that leaves the gateway was sealed, with the sequence number `sequence`.
fn is_sealed(outcome: &Outcome, sa: &SaConfig, sequence: u64) -> bool {
    if outcome.frame[12..14] != [0x08, 0x00] {
        return false;
    }
    let (found, inner) = esp::open(sa, 0, &outcome.frame[34..]);
    assert_eq!((found, inner[16..20].try_into().unwrap()), (sequence, PEER_HOST.octets()));
    true
}

/// A way to make the lane refuse frames: its name, what it does, and the counter of the lane that moves.
type Refusal = (&'static str, fn(&mut GatewayUnderTest), fn(&Lane) -> u64);

#[test]
fn no_sequence_number_is_skipped_or_used_twice_when_the_kernel_engine_takes_over() {
    fn now_ns() -> u64 {
        let time = nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap();
        std::time::Duration::from(time).as_nanos() as u64
    }
    let refusals: [Refusal; 6] = [
        ("closed", |gateway| gateway.edit_lane(|lane| lane.limit = 0).unwrap(), |_| 0),
        ("no socket", |gateway| gateway.close_socket().unwrap(), |_| 0),
        ("a queue without lane", |gateway| gateway.set_queues(0).unwrap(), |_| 0),
        ("no socket to send on", |gateway| gateway.set_unserved("wan").unwrap(), |_| 0),
        (
            "full",
            |gateway| gateway.edit_lane(|lane| lane.limit = lane.produced - lane.consumed).unwrap(),
            |lane| lane.full,
        ),
        (
            "stalled",
            |gateway| {
                let long_ago = now_ns() - Lane::STALL_NS * 5;
                gateway
                    .edit_lane(|lane| (lane.progress_ns, lane.waiting_since_ns) = (long_ago, long_ago))
                    .unwrap();
            },
            |lane| lane.stalled,
        ),
    ];
    let mut gateway = gateway();
    for (number, (what, refuse, counter)) in refusals.into_iter().enumerate() {
        gateway.open_lane(BOTH).unwrap();
        let sa = sa(0x4200 + number as u32, Aead::ChaCha20Poly1305);
        let index = gateway.send_with(1, &sa).unwrap();
        for sequence in 1..=3 {
            assert!(!is_sealed(&gateway.run(&outbound(64)).unwrap(), &sa, sequence), "{what}");
        }
        refuse(&mut gateway);
        for sequence in 4..=6 {
            let outcome = gateway.run(&outbound(64)).unwrap();
            assert_eq!(outcome.verdict, Verdict::Redirect, "{what}");
            assert!(is_sealed(&outcome, &sa, sequence), "{what}: the worker got sequence number {sequence}");
        }
        let lane = gateway.lane().unwrap();
        assert_eq!(lane.produced, 3, "{what}");
        assert_eq!(
            (lane.full + lane.stalled, counter(&lane)),
            if counter(&lane) == 0 { (0, 0) } else { (3, 3) },
            "{what}"
        );
        gateway.open_lane(BOTH).unwrap();
        let handed = Handed::parse(&gateway.run(&outbound(64)).unwrap().frame);
        assert_eq!(handed.handoff.job.sequence, 7, "{what}: and back to the worker");
        let entry = gateway.read_sa(index).unwrap();
        assert_eq!((entry.sequence, entry.packets), (7, 7), "{what}");
        assert!(gateway.counters.drops(1).unwrap().is_empty(), "{what}");
    }
}

#[test]
fn the_kernel_engine_opens_what_no_worker_takes() {
    let mut gateway = gateway();
    let sa = sa(0x4300, Aead::Aes128Gcm);
    gateway.receive_with(1, &sa).unwrap();
    let mut to_worker = 0;
    for sequence in 1..=6 {
        gateway.edit_lane(|lane| lane.limit = if sequence % 2 == 0 { 100 } else { 0 }).unwrap();
        let outcome = gateway.run(&inbound(&sa, sequence, 200)).unwrap();
        assert_eq!(outcome.verdict, Verdict::Redirect);
        to_worker += u64::from(outcome.frame.len() > 250);
        assert_eq!(gateway.lane().unwrap().produced, to_worker);
    }
    assert_eq!(to_worker, 3);
    assert_eq!(gateway.counters.traffic(1).unwrap().in_packets, 3);
}

#[test]
fn an_idle_worker_does_not_count_as_hanging() {
    let mut gateway = gateway();
    gateway.send_with(1, &sa(0x4400, Aead::Aes128Gcm)).unwrap();
    for _ in 0..3 {
        // Since the machine was started nothing has happened, but nothing waits either.
        gateway.edit_lane(|lane| (lane.progress_ns, lane.consumed) = (0, lane.produced)).unwrap();
        gateway.run(&outbound(64)).unwrap();
    }
    let lane = gateway.lane().unwrap();
    assert_eq!((lane.produced, lane.stalled), (3, 0));
    assert!(lane.waiting_since_ns != 0, "from now on the worker has to show progress");
}

#[test]
fn what_is_refused_reaches_no_worker() {
    let mut gateway = gateway();
    let mut sa = sa(0x4500, Aead::Aes128Gcm);
    gateway.receive_with(1, &sa).unwrap();
    let replayed = inbound(&sa, 1, 100);
    gateway.edit_lane(|lane| lane.limit = 0).unwrap();
    assert_eq!(gateway.run(&replayed).unwrap().verdict, Verdict::Redirect);
    gateway.edit_lane(|lane| lane.limit = 100).unwrap();
    assert_eq!(gateway.run(&replayed).unwrap().verdict, Verdict::Drop);
    assert_eq!(gateway.dropped(1, DropReason::Replayed).unwrap(), 1);
    sa.spi += 1;
    assert_eq!(gateway.run(&inbound(&sa, 1, 100)).unwrap().verdict, Verdict::Drop);
    assert_eq!(gateway.dropped(0, DropReason::UnknownSpi).unwrap(), 1);
    assert_eq!(gateway.run(&outbound(100)).unwrap().verdict, Verdict::Drop);
    assert_eq!(gateway.dropped(1, DropReason::NoOutboundSa).unwrap(), 1);
    assert_eq!(gateway.lane().unwrap().produced, 0);
}
