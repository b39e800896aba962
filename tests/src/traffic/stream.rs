//! A TCP stream with verified content.

use super::pattern;
use crate::NetNs;
use anyhow::{Context as _, Result, ensure};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A stream that stands still for this long is broken.
const STALL: Duration = Duration::from_secs(20);

/// Bytes written and verified at a time; a multiple of 8.
const BLOCK: usize = 1 << 16;

/// Receiver of one [`send_stream`].
#[derive(Debug)]
pub struct StreamSink {
    address: SocketAddr,
    thread: JoinHandle<Result<u64>>,
}

impl StreamSink {
    /// Listens at `address` in `namespace`, on a port of the kernel's choice, for one connection.
    pub fn start(namespace: &NetNs, address: impl Into<IpAddr>) -> Result<Self> {
        let address = address.into();
        let listener = namespace.enter(|| TcpListener::bind((address, 0)))?;
        let listener = listener.with_context(|| format!("cannot listen at {address}"))?;
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        Ok(Self { address, thread: std::thread::spawn(move || receive(&listener)) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits for the end of the stream and returns its length in bytes, all of them verified.
    pub fn finish(self) -> Result<u64> {
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Streams from `namespace` to the sink at `peer` for `duration`, ends the stream in order, and waits until the sink has
/// confirmed its length. Returns that length in bytes.
pub fn send_stream(namespace: &NetNs, peer: SocketAddr, duration: Duration) -> Result<u64> {
    let stream = namespace.enter(|| TcpStream::connect_timeout(&peer, STALL))?;
    let mut stream = stream.with_context(|| format!("cannot connect to {peer}"))?;
    stream.set_write_timeout(Some(STALL))?;
    stream.set_read_timeout(Some(STALL))?;
    let start = Instant::now();
    let mut block = vec![0; BLOCK];
    let mut sent = 0;
    while start.elapsed() < duration {
        pattern::fill(0, sent, &mut block);
        stream.write_all(&block).with_context(|| format!("the stream broke after {sent} bytes"))?;
        sent += BLOCK as u64;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut confirmed = [0; 8];
    stream.read_exact(&mut confirmed).context("no confirmation")?;
    let confirmed = u64::from_be_bytes(confirmed);
    ensure!(confirmed == sent, "{sent} bytes were sent and {confirmed} arrived");
    Ok(sent)
}

fn receive(listener: &TcpListener) -> Result<u64> {
    let mut stream = accept(listener)?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(STALL))?;
    let mut received = 0_u64;
    let mut block = vec![0; BLOCK];
    let mut expected = vec![0; BLOCK];
    loop {
        let filled =
            read_block(&mut stream, &mut block).with_context(|| format!("after {received} bytes"))?;
        pattern::fill(0, received, &mut expected);
        ensure!(block[..filled] == expected[..filled], "wrong content within 64 KiB after byte {received}");
        received += filled as u64;
        if filled < BLOCK {
            stream.write_all(&received.to_be_bytes())?;
            return Ok(received);
        }
    }
}

fn accept(listener: &TcpListener) -> Result<TcpStream> {
    crate::poll_until(STALL, "a connection", || match listener.accept() {
        Ok((stream, _)) => Ok(Some(stream)),
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    })
}

/// Fills `block`, or less of it at the end of the stream. Returns the bytes read.
fn read_block(stream: &mut TcpStream, block: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match stream.read(&mut block[filled..])? {
            0 => break,
            length => filled += length,
        }
    }
    Ok(filled)
}
