//! Round trips of small UDP packets.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::place::{Placement, pin};
use crate::end_to_end::topology::{End, Topology};

/// Port of both hosts.
const PORT: u16 = 20_002;
/// Bytes of UDP payload: an inner IP packet of 64 bytes.
const PAYLOAD: usize = 36;
/// How often the thread looks whether it should stop.
const TICK: Duration = Duration::from_millis(50);
/// A packet that has not come back within this time is lost.
const TIMEOUT: Duration = Duration::from_millis(200);

/// A thread at host B that sends back what it gets, and a socket at host A. Dropping it stops the thread.
pub(crate) struct Echo {
    client: UdpSocket,
    placement: Placement,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Times of round trips, and how many packets did not come back.
#[derive(Clone, Debug)]
pub(crate) struct RoundTrips {
    /// In µs, in the order of measurement.
    pub(crate) micros: Vec<f64>,
    pub(crate) lost: usize,
}

impl Echo {
    /// Starts the thread.
    ///
    /// # Errors
    /// A socket cannot be opened.
    pub(crate) fn start(topology: &Topology, placement: Placement) -> Result<Self> {
        let open = |end: End| -> Result<UdpSocket> {
            let socket = topology.host(end).enter(|| UdpSocket::bind((end.host_address(), PORT)))??;
            socket.connect((end.other().host_address(), PORT))?;
            Ok(socket)
        };
        let server = open(End::B).context("cannot open the echo's socket")?;
        let client = open(End::A).context("cannot open the socket of the echo's client")?;
        server.set_read_timeout(Some(TICK))?;
        client.set_read_timeout(Some(TIMEOUT))?;
        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                // Unpinned is slower, not wrong.
                let _ = pin(placement.receiver);
                let mut buffer = [0; PAYLOAD];
                while !stop.load(Ordering::Relaxed) {
                    if server.recv(&mut buffer).is_ok() {
                        // A packet that does not come back is counted at the other end.
                        let _ = server.send(&buffer);
                    }
                }
            }
        });
        Ok(Self { client, placement, stop, thread: Some(thread) })
    }

    /// Sends `count` packets, each when the one before has come back or is given up and `pause` has passed. Ends early
    /// after `most` time.
    ///
    /// # Errors
    /// The socket is broken.
    pub(crate) fn round_trips(&self, count: usize, pause: Duration, most: Duration) -> Result<RoundTrips> {
        thread::scope(|scope| {
            let client = scope.spawn(|| {
                pin(self.placement.sender)?;
                self.exchange(count, pause, most)
            });
            client.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn exchange(&self, count: usize, pause: Duration, most: Duration) -> Result<RoundTrips> {
        let mut trips = RoundTrips { micros: Vec::with_capacity(count), lost: 0 };
        let begin = Instant::now();
        for number in 0..count as u64 {
            if begin.elapsed() > most {
                break;
            }
            let mut packet = [0; PAYLOAD];
            packet[..8].copy_from_slice(&number.to_le_bytes());
            let start = Instant::now();
            self.client.send(&packet).context("cannot send to the echo")?;
            if self.wait_for(&packet, start)? {
                trips.micros.push(start.elapsed().as_nanos() as f64 / 1000.0);
            } else {
                trips.lost += 1;
            }
            if !pause.is_zero() {
                thread::sleep(pause);
            }
        }
        Ok(trips)
    }

    /// Waits for `packet`; answers to earlier ones that were given up are passed over.
    fn wait_for(&self, packet: &[u8; PAYLOAD], start: Instant) -> Result<bool> {
        let mut buffer = [0; PAYLOAD];
        while start.elapsed() < TIMEOUT {
            match self.client.recv(&mut buffer) {
                Ok(_) if buffer == *packet => return Ok(true),
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Err(error).context("waiting for the echo"),
            }
        }
        Ok(false)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the echo does not panic");
        }
    }
}
