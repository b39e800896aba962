//! Slots: frames that are copied to a worker, and finished ones that leave in place of those that arrive.

use gateway_common::{Aead, Handoff, PortRole, Slot};
use gateway_user::datapath::SaConfig;
use xdp_harness::frames::{Ip, ethernet, pattern};
use xdp_harness::worker::Handed;
use xdp_harness::{GatewayUnderTest, HOST, LOCAL, Outcome, PEER_HOST, REMOTE, Verdict, esp, sa};

const BOTH: u32 = PortRole::LAN | PortRole::WAN;
const SLOTS: u32 = 8;

fn gateway() -> (GatewayUnderTest, SaConfig) {
    let mut gateway = GatewayUnderTest::new().unwrap();
    gateway.open_slots(BOTH, SLOTS).unwrap();
    let sa = sa(0x6000, Aead::Aes128Gcm);
    gateway.send_with(1, &sa).unwrap();
    (gateway, sa)
}

fn outbound(len: usize) -> Vec<u8> {
    ethernet(&Ip::new(HOST, PEER_HOST).packet(&pattern(len - 20)))
}

fn interface(name: &str) -> u32 {
    nix::net::if_::if_nametoindex(name).unwrap()
}

/// What the worker of the lane finds in the slot of frame `number`.
fn handed(gateway: &GatewayUnderTest, number: u64) -> Handed {
    let slot = gateway.slot(number).unwrap();
    Handed { handoff: slot.handoff, frame: slot.frame[..slot.len as usize].to_vec() }
}

/// Does the worker's part on frame `number`: `bytes` are to be sent on the WAN, and stand `start` bytes behind the start.
fn finish(gateway: &mut GatewayUnderTest, number: u64, start: usize, bytes: &[u8]) {
    let edit = |slot: &mut Slot| {
        slot.frame[start..start + bytes.len()].copy_from_slice(bytes);
        (slot.out_start, slot.out_len) = (start as u32, bytes.len() as u32);
        slot.out_ifindex = interface("wan");
    };
    gateway.edit_slot(number, edit).unwrap();
    gateway.edit_lane(|lane| lane.consumed = number + 1).unwrap();
}

fn run(gateway: &GatewayUnderTest, len: usize) -> Outcome {
    gateway.run(&outbound(len)).unwrap()
}

#[test]
fn a_worker_finds_in_the_slots_what_it_would_get_by_the_socket() {
    let (mut gateway, sa) = gateway();
    // More than there are slots.
    for (number, len) in [20, 21, 64, 65, 511, 1400, 1437, 1438, 100, 1000].into_iter().enumerate() {
        let number = number as u64;
        assert_eq!(run(&gateway, len).verdict, Verdict::Drop, "its content is in the slot");
        let lane = gateway.lane().unwrap();
        assert_eq!((lane.produced, lane.sent, lane.exchanged), (number + 1, number, 0));
        let sealed = handed(&gateway, number).seal(&sa);
        // What the kernel engine makes of the same packet with the same sequence number.
        gateway.edit_sa(1, |entry| entry.sequence -= 1).unwrap();
        gateway.edit_lane(|lane| lane.limit = 0).unwrap();
        assert!(run(&gateway, len).frame == sealed, "{len} bytes");
        // The worker sends it itself.
        let left = number + 1;
        gateway
            .edit_lane(|lane| (lane.limit, lane.consumed, lane.sent) = (SLOTS.into(), left, left))
            .unwrap();
    }
}

#[test]
fn received_packets_go_to_the_slots_too() {
    let (mut gateway, _) = gateway();
    let sa = sa(0x6001, Aead::Aes256Gcm);
    gateway.receive_with(1, &sa).unwrap();
    let packet = Ip::new(PEER_HOST, HOST).packet(&pattern(500));
    let mut outer = Ip::new(REMOTE, LOCAL);
    outer.protocol = 50;
    let frame = ethernet(&outer.packet(&esp::seal(&sa, 1, &packet, 0, esp::IPV4)));
    assert_eq!(gateway.run(&frame).unwrap().verdict, Verdict::Drop);
    let mut handed = handed(&gateway, 0);
    assert!(handed.open(&sa));
    let offset = handed.handoff.job.offset as usize;
    assert_eq!(handed.frame[offset..offset + packet.len()], packet);
}

#[test]
fn a_finished_frame_leaves_in_place_of_one_that_arrives() {
    let (mut gateway, sa) = gateway();
    // Shorter and longer ones take each other along; an opened packet begins behind the headers that it came with.
    let lens = [100, 100, 1438, 60, 1438, 100, 20, 1438, 20, 777, 1400, 1400];
    run(&gateway, lens[0]);
    for (number, len) in lens.into_iter().enumerate().skip(1) {
        let number = number as u64;
        let sealed = handed(&gateway, number - 1).seal(&sa);
        let start = if number.is_multiple_of(3) { 58 } else { 0 };
        finish(&mut gateway, number - 1, start, &sealed);
        let outcome = run(&gateway, len);
        assert_eq!(outcome.verdict, Verdict::Redirect);
        assert!(outcome.frame == sealed, "frame {number} of {len} bytes");
        let lane = gateway.lane().unwrap();
        assert_eq!((lane.produced, lane.sent, lane.exchanged), (number + 1, number, number));
        assert_eq!(handed(&gateway, number).handoff.job.sequence, number + 1);
    }
    assert!(gateway.counters.drops(1).unwrap().is_empty() && gateway.counters.drops(0).unwrap().is_empty());
}

#[test]
fn frames_leave_in_their_order_and_only_when_they_are_finished() {
    let (mut gateway, sa) = gateway();
    for _ in 0..5 {
        assert_eq!(run(&gateway, 200).verdict, Verdict::Drop, "nothing is finished");
    }
    let sealed: Vec<_> = (0..3).map(|number| handed(&gateway, number).seal(&sa)).collect();
    for (number, bytes) in sealed.iter().enumerate() {
        finish(&mut gateway, number as u64, 0, bytes);
    }
    for bytes in &sealed {
        assert!(run(&gateway, 200).frame == *bytes);
    }
    gateway.edit_lane(|lane| lane.limit = 100).unwrap();
    assert_eq!(run(&gateway, 200).verdict, Verdict::Drop, "the fourth is not finished");
    assert_eq!(gateway.lane().unwrap().sent, 3);
}

#[test]
fn of_a_frame_that_the_worker_dropped_nothing_leaves() {
    let (mut gateway, sa) = gateway();
    run(&gateway, 200);
    run(&gateway, 200);
    let second = handed(&gateway, 1).seal(&sa);
    gateway.edit_slot(0, |slot| slot.out_len = 0).unwrap();
    finish(&mut gateway, 1, 0, &second);
    assert_eq!(run(&gateway, 200).verdict, Verdict::Drop);
    assert!(run(&gateway, 200).frame == second);
    let lane = gateway.lane().unwrap();
    assert_eq!((lane.sent, lane.exchanged), (2, 1));
}

#[test]
fn a_length_that_makes_no_sense_is_not_believed() {
    let (mut gateway, _) = gateway();
    for (number, len) in [13, Slot::ROOM as u32 + 1, u32::MAX].into_iter().enumerate() {
        run(&gateway, 200);
        gateway.edit_slot(number as u64, |slot| slot.out_len = len).unwrap();
        gateway.edit_lane(|lane| lane.consumed = number as u64 + 1).unwrap();
        assert_eq!(run(&gateway, 200).verdict, Verdict::Drop, "{len}");
        gateway.edit_lane(|lane| (lane.produced, lane.consumed) = (lane.sent, lane.sent)).unwrap();
    }
    assert_eq!(gateway.lane().unwrap().exchanged, 0);
}

#[test]
fn the_kernel_engine_takes_what_finds_every_slot_in_use() {
    let (mut gateway, sa) = gateway();
    for _ in 0..SLOTS {
        assert_eq!(run(&gateway, 100).verdict, Verdict::Drop);
    }
    // That all are finished is not enough: none has left.
    gateway.edit_lane(|lane| lane.consumed = lane.produced).unwrap();
    let outcome = run(&gateway, 100);
    assert_eq!(outcome.verdict, Verdict::Redirect);
    assert_eq!(esp::open(&sa, 0, &outcome.frame[34..]).0, u64::from(SLOTS) + 1);
    let lane = gateway.lane().unwrap();
    assert_eq!((lane.produced, lane.full, lane.sent), (SLOTS.into(), 1, 0));
    gateway.edit_lane(|lane| lane.sent = 1).unwrap();
    run(&gateway, 100);
    assert_eq!(gateway.lane().unwrap().produced, u64::from(SLOTS) + 1, "one has left");
}

#[test]
fn a_worker_that_sleeps_is_woken_by_the_first_frame_and_again_after_a_while() {
    let (mut gateway, _) = gateway();
    gateway.open_slots(BOTH, 128).unwrap();
    gateway.edit_lane(|lane| lane.asleep = 1).unwrap();
    for number in 1..=2 * Slot::RING_AGAIN {
        let expected =
            if number == 1 || number % Slot::RING_AGAIN == 0 { Verdict::Redirect } else { Verdict::Drop };
        assert_eq!(run(&gateway, 100).verdict, expected, "frame {number}");
    }
    gateway.edit_lane(|lane| (lane.consumed, lane.sent) = (lane.produced, lane.produced)).unwrap();
    assert_eq!(run(&gateway, 100).verdict, Verdict::Redirect, "it had worked on all");
    gateway.edit_lane(|lane| lane.asleep = 0).unwrap();
    assert_eq!(run(&gateway, 100).verdict, Verdict::Drop);
    assert_eq!(gateway.lane().unwrap().exchanged, 0);
}

#[test]
fn what_the_worker_holds_is_not_taken_along() {
    let (mut gateway, sa) = gateway();
    run(&gateway, 100);
    let sealed = handed(&gateway, 0).seal(&sa);
    finish(&mut gateway, 0, 0, &sealed);
    gateway.edit_lane(|lane| lane.hold = 1).unwrap();
    assert_eq!(run(&gateway, 1000).verdict, Verdict::Drop);
    let lane = gateway.lane().unwrap();
    assert_eq!((lane.sent, lane.exchanged, lane.produced), (0, 0, 2), "but the frame was handed over");
    gateway.edit_lane(|lane| lane.hold = 0).unwrap();
    assert!(run(&gateway, 1000).frame == sealed);
}

#[test]
fn without_a_socket_nothing_goes_to_a_slot() {
    let (mut gateway, sa) = gateway();
    gateway.close_socket().unwrap();
    let outcome = run(&gateway, 100);
    assert_eq!(esp::open(&sa, 0, &outcome.frame[34..]).0, 1);
    assert_eq!(gateway.lane().unwrap().produced, 0);
}

#[test]
fn the_layout_is_that_of_the_documentation() {
    let (gateway, sa) = gateway();
    run(&gateway, 100);
    let slot = gateway.slot(0).unwrap();
    assert_eq!(slot.handoff.spi, sa.spi.to_be_bytes());
    assert_eq!(slot.len as usize, 14 + 20 + 8 + 8 + 104 + 16);
    assert_eq!(slot.handoff.job.egress_ifindex, interface("wan"));
    assert_eq!(size_of_val(&slot.handoff), Handoff::LEN);
}
