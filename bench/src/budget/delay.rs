//! A long way: two TUN devices in two namespaces, and a thread that carries packets from one to the other, some time later.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use testbed::NetNs;

/// Name of both devices.
pub(super) const DEVICE: &str = "far0";
/// Packets that may be under way in each direction; more are lost.
const MOST_PACKETS: usize = 20_000;
/// Longest packet.
const PACKET: usize = 2048;

/// Both devices. Dropping it removes them.
pub(super) struct Way {
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Way {
    /// Connects two namespaces; a packet takes `delay`, in either direction.
    ///
    /// # Errors
    /// There is no `/dev/net/tun`.
    pub(super) fn open(near: &NetNs, far: &NetNs, delay: Duration) -> Result<Self> {
        let ends = [near.enter(tun)??, far.enter(tun)??];
        for namespace in [near, far] {
            namespace.ip(&format!("link set {DEVICE} up mtu 1500"))?;
        }
        let is_over = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let is_over = Arc::clone(&is_over);
            move || carry(&ends, delay, &is_over)
        });
        Ok(Self { is_over, thread: Some(thread) })
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("carrying packets does not panic");
        }
    }
}

/// A TUN device of the calling thread's namespace (`Documentation/networking/tuntap.rst`).
fn tun() -> Result<File> {
    let file = File::options()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")
        .context("cannot open /dev/net/tun")?;
    // SAFETY: a structure of integers and arrays, for which zeros are a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(DEVICE.bytes()) {
        *to = from.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as i16;
    // SAFETY: the request is as long as the kernel expects, and lives until the call returns.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    nix::errno::Errno::result(result).context("cannot make a TUN device")?;
    Ok(file)
}

fn carry(ends: &[File; 2], delay: Duration, is_over: &AtomicBool) {
    let mut under_way: [VecDeque<(Instant, Vec<u8>)>; 2] = [VecDeque::new(), VecDeque::new()];
    let mut buffer = [0; PACKET];
    while !is_over.load(Ordering::Relaxed) {
        for (index, packets) in under_way.iter_mut().enumerate() {
            let (mut from, mut to) = (&ends[index], &ends[1 - index]);
            loop {
                match from.read(&mut buffer) {
                    Ok(len) if packets.len() < MOST_PACKETS => {
                        packets.push_back((Instant::now() + delay, buffer[..len].to_vec()));
                    }
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(_) => break,
                    Ok(_) => {}
                }
            }
            while packets.front().is_some_and(|(due, _)| *due <= Instant::now()) {
                if let Some((_, packet)) = packets.pop_front() {
                    // What the device does not take is lost, as on any way.
                    let _ = to.write(&packet);
                }
            }
        }
        let due = under_way.iter().filter_map(|packets| packets.front()).map(|(due, _)| *due).min();
        let pause =
            due.map_or(Duration::from_millis(20), |due| due.saturating_duration_since(Instant::now()));
        let mut readable = ends.each_ref().map(|end| PollFd::new(end.as_fd(), PollFlags::POLLIN));
        // A signal only makes the pause shorter. Rounded up, or the end of a pause would be spent spinning.
        let timeout = u16::try_from(pause.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        let _ = poll(&mut readable, PollTimeout::from(timeout));
    }
}
