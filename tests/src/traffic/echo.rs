//! UDP echo with verified content.

use super::{pattern, socket};
use crate::NetNs;
use anyhow::{Context as _, Result, ensure};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a thread looks whether it should stop.
const TICK: Duration = Duration::from_millis(50);

/// Sends back every datagram it receives. Dropping it stops it.
#[derive(Debug)]
pub struct UdpEcho {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UdpEcho {
    /// Listens at `address` in `namespace`, on a port of the kernel's choice.
    pub fn start(namespace: &NetNs, address: impl Into<IpAddr>) -> Result<Self> {
        let socket = socket::bind(namespace, address.into())?;
        socket.set_read_timeout(Some(TICK))?;
        let address = socket.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                let mut buffer = vec![0; 1 << 16];
                while !stop.load(Ordering::Relaxed) {
                    if let Ok((length, peer)) = socket.recv_from(&mut buffer) {
                        // A lost answer is the client's to find.
                        let _ = socket.send_to(&buffer[..length], peer);
                    }
                }
            }
        });
        Ok(Self { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for UdpEcho {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the echo does not panic");
        }
    }
}

/// Client of a [`UdpEcho`].
#[derive(Debug)]
pub struct EchoClient {
    socket: UdpSocket,
    seed: u64,
}

impl EchoClient {
    /// Sends from `address` in `namespace` to the echo at `peer`.
    pub fn connect(namespace: &NetNs, address: impl Into<IpAddr>, peer: SocketAddr) -> Result<Self> {
        let socket = socket::bind(namespace, address.into())?;
        socket.connect(peer)?;
        Ok(Self { socket, seed: 0 })
    }

    /// Sends `size` bytes (0 to 65507) and waits until exactly these come back, at most `timeout`. Nothing is sent
    /// twice: one lost packet is an error.
    pub fn exchange(&mut self, size: usize, timeout: Duration) -> Result<()> {
        self.seed += 0x1_0000_0000;
        let mut sent = vec![0; size];
        pattern::fill(self.seed, 0, &mut sent);
        let written = self.socket.send(&sent).with_context(|| format!("cannot send {size} bytes"))?;
        ensure!(written == size, "only {written} of {size} bytes were sent");
        let deadline = Instant::now() + timeout;
        let mut buffer = vec![0; 1 << 16];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "{size} bytes did not come back within {timeout:?}");
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.recv(&mut buffer) {
                Ok(length) if buffer[..length] == sent => return Ok(()),
                // A late duplicate of another exchange has another length or content; corruption would end in the timeout.
                Ok(_) => {}
                Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error).with_context(|| format!("waiting for {size} bytes")),
            }
        }
    }
}
