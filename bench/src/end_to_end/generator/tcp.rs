//! TCP streams from host A to host B.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::interval::Interval;
use super::place::{Placement, pin};
use crate::end_to_end::topology::{End, Topology};

/// Port of the receiver.
const PORT: u16 = 20_001;
/// Bytes per system call.
const CHUNK: usize = 128 << 10;
/// How often a blocked thread looks whether it should stop.
const TICK: Duration = Duration::from_millis(100);
/// Time for the congestion window to open; a short measurement has a warm-up of its own length.
const WARM_UP: Duration = Duration::from_millis(500);

/// Sends on `count` streams at once as fast as TCP lets them; returns the goodput of all together in bit/s, as the
/// receiver sees it during `length` after a warm-up.
///
/// # Errors
/// A stream breaks.
pub(crate) fn streams(
    topology: &Topology,
    count: usize,
    length: Duration,
    placement: Placement,
) -> Result<f64> {
    let address = SocketAddrV4::new(End::B.host_address(), PORT);
    let listener = topology.host(End::B).enter(|| TcpListener::bind(address))?.context("cannot listen")?;
    let pairs = (0..count).map(|_| connect(topology, &listener, address)).collect::<Result<Vec<_>>>()?;
    let stop = AtomicBool::new(false);
    let bytes = AtomicU64::new(0);
    thread::scope(|scope| {
        let mut threads = Vec::new();
        for (sender, receiver) in &pairs {
            threads.push(scope.spawn(|| {
                pin(placement.receiver)?;
                receive(receiver, &bytes)
            }));
            threads.push(scope.spawn(|| {
                pin(placement.sender)?;
                send(sender, &stop)
            }));
        }
        let interval = Interval::after(WARM_UP.min(length), length);
        let rate = interval.growth_per_second(|| anyhow::Ok(bytes.load(Ordering::Relaxed)));
        stop.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        }
        Ok(8.0 * rate?)
    })
}

/// The two ends of a new stream.
fn connect(
    topology: &Topology,
    listener: &TcpListener,
    address: SocketAddrV4,
) -> Result<(TcpStream, TcpStream)> {
    let timeout = Duration::from_secs(5);
    let sender = topology
        .host(End::A)
        .enter(|| TcpStream::connect_timeout(&address.into(), timeout))?
        .context("cannot connect to host B")?;
    let (receiver, _) = listener.accept()?;
    sender.set_write_timeout(Some(TICK))?;
    receiver.set_read_timeout(Some(timeout))?;
    Ok((sender, receiver))
}

fn send(mut stream: &TcpStream, stop: &AtomicBool) -> Result<()> {
    let chunk = vec![0x5a; CHUNK];
    while !stop.load(Ordering::Relaxed) {
        match stream.write(&chunk) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error).context("sending on a TCP stream"),
        }
    }
    Ok(stream.shutdown(Shutdown::Write)?)
}

/// Counts what arrives until the sender has ended; then what is under way may be lost.
fn receive(mut stream: &TcpStream, bytes: &AtomicU64) -> Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match stream.read(&mut chunk).context("receiving on a TCP stream")? {
            0 => return Ok(()),
            count => bytes.fetch_add(count as u64, Ordering::Relaxed),
        };
    }
}
