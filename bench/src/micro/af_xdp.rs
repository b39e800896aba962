//! What forwarding costs a user-space thread with AF_XDP sockets that does nothing else: frames received on one interface are
//! sent on another, in place.

use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nix::net::if_::if_nametoindex;
use xsk::{Chunk, Frame, Options, Redirect, Sizes, Socket, Umem, Waiter};

use super::cpu_time::Stopwatch;
use super::generator::Generator;
use super::pin;
use super::wire::Wire;
use crate::bpf::Map;
use crate::bpf::programs;

/// Entries of each ring.
const RING: u32 = 1024;
/// Frames taken from a ring at a time.
const BATCH: usize = 64;
/// Frames that the generator sends at a time.
const BURST: u32 = 2_000;
const OPTIONS: Options = Options {
    sizes: Sizes { fill: 2 * RING, receive: RING, send: RING, completion: RING },
    zero_copy: true,
    send_budget: Some(256),
    send_buffer: Some(64 << 20),
};

/// One thread, kept busy; medians are up to the caller.
#[derive(Clone, Copy, Debug)]
pub(super) struct Forwarding {
    /// Processor time of the thread per frame, in ns: taking, sending, and what the kernel does for both in its time.
    pub(super) forward_ns: f64,
    /// Frames per second that the thread forwarded.
    pub(super) frames_per_second: f64,
}

/// Forwards packets of `bytes` bytes for `duration` while more arrive than can be forwarded.
///
/// # Errors
/// Root is missing, there is one processor only, or the kernel refuses something.
pub(super) fn measure(bytes: usize, duration: Duration) -> Result<Forwarding> {
    let wire = Wire::create()?;
    let counter = Map::counter()?;
    let _drop = wire.receiver.enter(|| programs::drop_and_count(&counter)?.attach(Wire::RECEIVER))??;
    let stop = AtomicBool::new(false);
    let ready = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let forwarder = scope.spawn(|| {
            let result = wire.forwarder.enter(|| forward(&stop, &ready));
            ready.store(true, Ordering::Release);
            result?
        });
        let generated = wire.sender.enter(|| -> Result<()> {
            while !ready.load(Ordering::Acquire) {
                std::thread::sleep(Duration::from_millis(1));
            }
            let _pinned = pin::to_processor(pin::GENERATOR)?;
            let generator = Generator::new(if_nametoindex(Wire::SENDER)?, &Wire::addresses(), bytes)?;
            let start = Instant::now();
            while start.elapsed() < duration && !forwarder.is_finished() {
                generator.send(BURST)?;
            }
            Ok(())
        });
        stop.store(true, Ordering::Release);
        let forwarding = forwarder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        generated??;
        ensure!(counter.count()? > 0, "nothing that was forwarded arrived");
        Ok(forwarding)
    })
}

/// Forwards until `stop`, on a processor of its own.
fn forward(stop: &AtomicBool, ready: &AtomicBool) -> Result<Forwarding> {
    let _pinned = pin::to_processor(pin::FORWARDER)?;
    let umem = Umem::new(4 * RING, Chunk::Small)?;
    let mut inside = Socket::bind(&umem, Wire::IN, 0, &OPTIONS)?;
    let mut outside = Socket::bind(&umem, Wire::OUT, 0, &OPTIONS)?;
    let mut free = umem.take_frames();
    refill(&mut inside, &mut free);
    let redirect = Redirect::attach(Wire::IN, 1).context("cannot redirect to a socket")?;
    redirect.insert(&inside)?;
    let mut waiter = Waiter::new([inside.as_fd().try_clone_to_owned()?]);
    ready.store(true, Ordering::Release);
    let (mut frames, mut start) = (0_u64, None);
    while !stop.load(Ordering::Acquire) {
        let moved = step(&mut inside, &mut outside, &mut free)?;
        if moved == 0 {
            waiter.wait(Duration::from_millis(10))?;
        }
        // The first frames find the caches cold.
        match start {
            None if moved > 0 => start = Some((Instant::now(), Stopwatch::start()?)),
            _ => frames += moved as u64,
        }
    }
    let (clock, processor) = start.context("no frame arrived")?;
    ensure!(frames > 0, "one batch of frames arrived and no more");
    Ok(Forwarding {
        forward_ns: processor.ns()? / frames as f64,
        frames_per_second: frames as f64 / clock.elapsed().as_secs_f64(),
    })
}

/// Moves one batch; returns its size.
fn step<'umem>(
    inside: &mut Socket<'umem>,
    outside: &mut Socket<'umem>,
    free: &mut Vec<Frame<'umem>>,
) -> Result<usize> {
    while let Some(frame) = outside.sent() {
        free.push(frame);
    }
    outside.release_sent();
    refill(inside, free);
    let mut moved = 0;
    while moved < BATCH
        && let Some(frame) = inside.receive()
    {
        if let Err(frame) = outside.send(frame) {
            free.push(frame);
        }
        moved += 1;
    }
    inside.release_received();
    outside.publish_send();
    if outside.unsent() > 0 {
        outside.wake_send()?;
    }
    Ok(moved)
}

fn refill<'umem>(socket: &mut Socket<'umem>, free: &mut Vec<Frame<'umem>>) {
    while let Some(frame) = free.pop() {
        if let Err(frame) = socket.fill(frame) {
            free.push(frame);
            break;
        }
    }
    socket.publish_fill();
}
