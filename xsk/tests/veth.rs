//! Sockets on the ends of veth pairs.

use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use testbed::{NetNs, Scope, skip_unless_capable};
use xsk::{Chunk, Error, Frame, Mode, Options, Redirect, Sizes, Socket, Step, Umem, Waiter, Wake};

const OPTIONS: Options =
    Options { sizes: Sizes::all(64), zero_copy: false, send_budget: Some(256), send_buffer: Some(1 << 20) };

/// Waits until `condition` holds: the kernel delivers in its own time.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Runs `test` in a namespace with veth pairs a–b and c–d.
fn in_namespace(name: &str, test: impl FnOnce() + Send) {
    if skip_unless_capable(name) {
        return;
    }
    let namespace = NetNs::create(&Scope::unique().namespace("xsk")).unwrap();
    for (near, far) in [("a", "b"), ("c", "d")] {
        let queues = "numrxqueues 2 numtxqueues 2";
        namespace.ip(&format!("link add name {near} {queues} type veth peer name {far} {queues}")).unwrap();
        namespace.ip(&format!("link set dev {near} up")).unwrap();
        namespace.ip(&format!("link set dev {far} up")).unwrap();
    }
    namespace.enter(test).unwrap();
}

/// A frame of `len` bytes for nobody, whose content depends on `number`.
fn content(number: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 0x88, 0xb5];
    bytes.extend((14..len).map(|position| (number * 7 + position * 13 + position / 256) as u8));
    bytes
}

fn write(frame: &mut Frame<'_>, bytes: &[u8]) {
    assert!(frame.set_range(Chunk::HEADROOM, bytes.len()));
    frame.bytes_mut().copy_from_slice(bytes);
}

fn fill<'umem>(socket: &mut Socket<'umem>, frames: &mut Vec<Frame<'umem>>, count: usize) {
    for frame in frames.drain(..count) {
        socket.fill(frame).expect("room in the fill ring");
    }
    socket.publish_fill();
}

fn send<'umem>(socket: &mut Socket<'umem>, mut frame: Frame<'umem>, bytes: &[u8]) {
    write(&mut frame, bytes);
    socket.send(frame).expect("room in the send ring");
    socket.publish_send();
    assert_eq!(socket.wake_send().unwrap(), Wake::Done);
}

/// The next frame to arrive; `None` if there is none for a while.
fn receive<'umem>(socket: &mut Socket<'umem>) -> Option<Frame<'umem>> {
    let mut waiter = Waiter::new([socket.as_fd().try_clone_to_owned().unwrap()]);
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        if let Some(frame) = socket.receive() {
            socket.release_received();
            return Some(frame);
        }
        waiter.wait(Duration::from_millis(100)).unwrap();
    }
    None
}

/// The next chunk that was sent.
fn sent<'umem>(socket: &mut Socket<'umem>) -> Frame<'umem> {
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        if let Some(frame) = socket.sent() {
            socket.release_sent();
            return frame;
        }
        assert!(Instant::now() < deadline, "a sent frame comes back");
        std::thread::yield_now();
    }
}

#[test]
fn what_is_sent_on_one_end_is_received_at_the_other() {
    in_namespace("what_is_sent_on_one_end_is_received_at_the_other", || {
        let (near, far) = (Umem::new(4, Chunk::Small).unwrap(), Umem::new(32, Chunk::Small).unwrap());
        let mut sender = Socket::bind(&near, "a", 0, &OPTIONS).unwrap();
        let mut receiver = Socket::bind(&far, "b", 0, &OPTIONS).unwrap();
        let redirect = Redirect::attach("b", 2).unwrap();
        redirect.insert(&receiver).unwrap();
        let mut frames = far.take_frames();
        fill(&mut receiver, &mut frames, 32);
        let mut free = near.take_frames();
        for (number, len) in (0..20).map(|number| (number, 60 + number * 76)).chain([(20, 1514)]) {
            let bytes = content(number, len);
            send(&mut sender, free.pop().unwrap(), &bytes);
            let frame = receive(&mut receiver).expect("the frame arrives");
            assert_eq!(frame.bytes(), bytes, "{len} bytes");
            assert!(frame.start() >= Chunk::HEADROOM, "room in front");
            frames.push(frame);
            free.push(sent(&mut sender));
        }
        assert_eq!(receiver.statistics().unwrap(), xsk::Statistics::default());
        assert_eq!((receiver.mode(), receiver.interface(), receiver.queue()), (Mode::Copy, "b", 0));
    });
}

#[test]
fn a_frame_goes_from_one_interface_to_another_in_place() {
    in_namespace("a_frame_goes_from_one_interface_to_another_in_place", || {
        let ends = Umem::new(64, Chunk::Small).unwrap();
        let mut source = Socket::bind(&ends, "a", 0, &OPTIONS).unwrap();
        let mut sink = Socket::bind(&ends, "d", 0, &OPTIONS).unwrap();
        let shared = Umem::new(16, Chunk::Small).unwrap();
        let mut inside = Socket::bind(&shared, "b", 0, &OPTIONS).unwrap();
        let mut outside = Socket::bind(&shared, "c", 0, &OPTIONS).unwrap();
        let (on_b, on_d) = (Redirect::attach("b", 1).unwrap(), Redirect::attach("d", 1).unwrap());
        on_b.insert(&inside).unwrap();
        on_d.insert(&sink).unwrap();
        let mut end_frames = ends.take_frames();
        fill(&mut sink, &mut end_frames, 32);
        let mut frames = shared.take_frames();
        fill(&mut inside, &mut frames, 16);
        // Many more than there are chunks: each has to come back.
        for number in 0..200 {
            let bytes = content(number, 200);
            send(&mut source, end_frames.pop().unwrap(), &bytes);
            end_frames.push(sent(&mut source));

            let mut frame = receive(&mut inside).expect("the frame arrives in the middle");
            frame.bytes_mut()[20] ^= 0xff;
            let chunk = frame.chunk_mut().as_ptr();
            outside.send(frame).unwrap();
            outside.publish_send();
            assert_eq!(outside.wake_send().unwrap(), Wake::Done);
            let mut frame = sent(&mut outside);
            assert_eq!(frame.chunk_mut().as_ptr(), chunk, "the same chunk was received and sent");
            inside.fill(frame).unwrap();
            inside.publish_fill();

            let frame = receive(&mut sink).expect("the frame arrives at the far end");
            let mut expected = bytes;
            expected[20] ^= 0xff;
            assert_eq!(frame.bytes(), expected);
            sink.fill(frame).unwrap();
            sink.publish_fill();
        }
    });
}

#[test]
fn full_and_empty_rings_lose_nothing_that_user_space_owns() {
    in_namespace("full_and_empty_rings_lose_nothing_that_user_space_owns", || {
        let umem = Umem::new(64, Chunk::Small).unwrap();
        let small = Options { sizes: Sizes { fill: 8, receive: 4, send: 4, completion: 4 }, ..OPTIONS };
        let mut sender = Socket::bind(&umem, "a", 0, &small).unwrap();
        let mut receiver = Socket::bind(&umem, "b", 0, &small).unwrap();
        let redirect = Redirect::attach("b", 1).unwrap();
        redirect.insert(&receiver).unwrap();
        let mut free = umem.take_frames();

        let mut queued = 0;
        let refused = loop {
            let mut frame = free.pop().unwrap();
            write(&mut frame, &content(queued, 100));
            match sender.send(frame) {
                Ok(()) => queued += 1,
                Err(frame) => break frame,
            }
        };
        assert_eq!((queued, refused.len()), (4, 100));
        free.push(refused);
        sender.publish_send();
        assert_eq!(sender.unsent(), 4);
        // Nothing to receive into.
        assert_eq!(sender.wake_send().unwrap(), Wake::Done);
        assert_eq!(sender.unsent(), 0);
        for _ in 0..4 {
            free.push(sent(&mut sender));
        }
        eventually("four find no room", || receiver.statistics().unwrap().fill_ring_empty == 4);
        assert_eq!(receiver.statistics().unwrap().receive_dropped, 4);
        assert_eq!(receiver.received(), 0);

        while receiver.fill_room() > 0 {
            receiver.fill(free.pop().unwrap()).unwrap();
        }
        let frame = receiver.fill(free.pop().unwrap()).expect_err("the ring has eight places");
        free.push(frame);
        receiver.publish_fill();
        for number in 0..6 {
            send(&mut sender, free.pop().unwrap(), &content(number, 100));
            free.push(sent(&mut sender));
        }
        eventually("two find the ring full", || receiver.statistics().unwrap().receive_ring_full == 2);
        assert_eq!(receiver.received(), 4);
        for number in 0..4 {
            let frame = receiver.receive().unwrap();
            assert_eq!(frame.bytes(), content(number, 100));
            free.push(frame);
        }
        assert!(receiver.receive().is_none());
        // What is not released stays taken.
        send(&mut sender, free.pop().unwrap(), &content(9, 100));
        eventually("no place was given back", || receiver.statistics().unwrap().receive_ring_full == 3);
        assert_eq!(receiver.received(), 0);
        receiver.release_received();
        send(&mut sender, free.pop().unwrap(), &content(10, 100));
        assert_eq!(receive(&mut receiver).unwrap().bytes(), content(10, 100));
    });
}

#[test]
fn a_waiter_wakes_up_for_a_frame() {
    in_namespace("a_waiter_wakes_up_for_a_frame", || {
        let umem = Umem::new(8, Chunk::Small).unwrap();
        let mut sender = Socket::bind(&umem, "a", 0, &OPTIONS).unwrap();
        let mut receiver = Socket::bind(&umem, "b", 0, &OPTIONS).unwrap();
        let redirect = Redirect::attach("b", 1).unwrap();
        redirect.insert(&receiver).unwrap();
        let mut frames = umem.take_frames();
        fill(&mut receiver, &mut frames, 4);
        let descriptors = [&sender, &receiver].map(|socket| socket.as_fd().try_clone_to_owned().unwrap());
        let mut waiter = Waiter::new(descriptors);
        assert!(!waiter.wait(Duration::ZERO).unwrap());
        assert!(!waiter.readiness(1).readable);
        send(&mut sender, frames.pop().unwrap(), &content(1, 100));
        assert!(waiter.wait(Duration::from_secs(5)).unwrap());
        assert!(waiter.readiness(1).readable && !waiter.readiness(0).readable);
        assert!(receiver.receive().is_some());
        receiver.release_received();
        assert!(!waiter.wait(Duration::ZERO).unwrap());
    });
}

#[test]
fn a_queue_has_one_socket_at_a_time() {
    in_namespace("a_queue_has_one_socket_at_a_time", || {
        let first = Umem::new(4, Chunk::Small).unwrap();
        let second = Umem::new(4, Chunk::Small).unwrap();
        {
            let _socket = Socket::bind(&first, "b", 1, &OPTIONS).unwrap();
            let error = Socket::bind(&second, "b", 1, &OPTIONS).expect_err("the queue is taken");
            assert!(
                matches!(&error, Error::Socket { step: Step::Bind, queue: 1, interface, .. } if interface == "b")
            );
            assert!(error.to_string().starts_with("AF_XDP socket on b queue 1: binding failed: "), "{error}");
        }
        drop(first);
        let mut socket = Err(());
        // The kernel takes a moment to let go of a queue.
        for _ in 0..500 {
            socket = Socket::bind(&second, "b", 1, &OPTIONS).map_err(|_| ());
            if socket.is_ok() {
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        socket.expect("the queue is free again");
    });
}

#[test]
fn what_does_not_exist_is_named() {
    in_namespace("what_does_not_exist_is_named", || {
        let umem = Umem::new(4, Chunk::Small).unwrap();
        let error = Socket::bind(&umem, "nowhere", 0, &OPTIONS).unwrap_err();
        assert!(matches!(error, Error::Socket { step: Step::FindInterface, .. }), "{error}");
        let error = Socket::bind(&umem, "b", 7, &OPTIONS).unwrap_err();
        assert!(matches!(error, Error::Socket { step: Step::Bind, queue: 7, .. }), "{error}");
        let odd = Options { sizes: Sizes::all(48), ..OPTIONS };
        let error = Socket::bind(&umem, "b", 0, &odd).unwrap_err();
        assert_eq!(error.to_string(), "the size of a fill ring must be a power of two, not 48");
        // None of these has used the memory up.
        Socket::bind(&umem, "b", 0, &OPTIONS).unwrap();
    });
}

#[test]
fn a_driver_without_zero_copy_copies() {
    in_namespace("a_driver_without_zero_copy_copies", || {
        let umem = Umem::new(4, Chunk::Small).unwrap();
        let options = Options { zero_copy: true, ..OPTIONS };
        assert_eq!(Socket::bind(&umem, "b", 0, &options).unwrap().mode(), Mode::Copy);
        assert_eq!(Socket::bind(&umem, "c", 0, &options).unwrap().mode(), Mode::Copy);
    });
}

#[test]
fn an_interface_that_is_down_says_so() {
    in_namespace("an_interface_that_is_down_says_so", || {
        let umem = Umem::new(4, Chunk::Small).unwrap();
        let mut sender = Socket::bind(&umem, "a", 0, &OPTIONS).unwrap();
        let mut frame = umem.take_frames().pop().unwrap();
        write(&mut frame, &content(0, 100));
        sender.send(frame).unwrap();
        sender.publish_send();
        let status =
            std::process::Command::new("ip").args(["link", "set", "dev", "a", "down"]).status().unwrap();
        assert!(status.success());
        assert_eq!(sender.wake_send().unwrap(), Wake::Down);
        assert_eq!(sender.unsent(), 1, "the frame waits");
    });
}

#[test]
fn the_memory_is_not_dumped_and_not_inherited() {
    let umem = Umem::new(4, Chunk::Small).unwrap();
    let address = umem.take_frames()[0].chunk_mut().as_ptr() as usize;
    let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
    let mut inside = false;
    let flags = maps.lines().find(|line| {
        if let Some((range, _)) = line.split_once(' ')
            && let Some((start, end)) = range.split_once('-')
        {
            let bounds = [start, end].map(|text| usize::from_str_radix(text, 16).unwrap_or(0));
            inside = bounds[0] <= address && address < bounds[1];
        }
        inside && line.starts_with("VmFlags:")
    });
    let flags: Vec<_> = flags.expect("the memory is mapped").split_whitespace().collect();
    assert!(flags.contains(&"dd") && flags.contains(&"dc"), "{flags:?}");
}
