//! Streams at full speed.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddrV4, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result};
use testbed::NetNs;

use super::load::Arrivals;
use super::{WARM_UP_SECONDS, gateway, host_address};
use crate::end_to_end::End;

const PORT: u16 = 9001;
/// Bytes of IPv4 and TCP headers with time stamps, in every full packet.
const HEADERS: u64 = 20 + 20 + 12;
/// What senders slow down by (RFC 9438).
const CONGESTION_CONTROL: &str = "cubic";
/// Bytes of a full packet.
const PACKET: u64 = gateway::TUNNEL_MTU as u64;

/// Sends this number of streams through each tunnel, and counts what arrives in `seconds`, headers of full packets included.
///
/// # Errors
/// A connection cannot be made.
pub(super) fn measure(near: &NetNs, far: &NetNs, streams: &[u64], seconds: u32) -> Result<Arrivals> {
    let tunnels = || (0..streams.len() as u16).zip(streams);
    let listen = || -> Result<Vec<TcpListener>> {
        tunnels()
            .map(|(tunnel, _)| Ok(TcpListener::bind(SocketAddrV4::new(host_address(End::B, tunnel), PORT))?))
            .collect()
    };
    let listeners = far.enter(listen)??;
    let (mut senders, mut receivers) = (Vec::new(), Vec::new());
    for ((tunnel, count), listener) in tunnels().zip(&listeners) {
        for _ in 0..*count {
            let connect = || connect(tunnel);
            let sender = near.enter(connect)?.with_context(|| format!("tunnel {tunnel}"))?;
            senders.push(sender);
            receivers.push((usize::from(tunnel), listener.accept()?.0));
        }
    }
    let payload: Vec<_> = streams.iter().map(|_| AtomicU64::new(0)).collect();
    let mut arrivals = std::thread::scope(|scope| {
        for sender in &senders {
            scope.spawn(|| send(sender));
        }
        for (tunnel, receiver) in &receivers {
            let counter = &payload[*tunnel];
            scope.spawn(|| receive(receiver, counter));
        }
        let arrivals = Arrivals::watch(&payload, WARM_UP_SECONDS, seconds);
        for stream in senders.iter().chain(receivers.iter().map(|(_, receiver)| receiver)) {
            // One that is closed already is over as well.
            let _ = stream.shutdown(Shutdown::Both);
        }
        arrivals
    });
    for bytes in arrivals.seconds.iter_mut().flat_map(|(_, bytes)| bytes) {
        *bytes = *bytes * PACKET / (PACKET - HEADERS);
    }
    Ok(arrivals)
}

/// From the host's address in the network of the tunnel, or its packets would belong to another one.
fn connect(tunnel: u16) -> Result<TcpStream> {
    use nix::sys::socket::sockopt::TcpCongestion;
    use nix::sys::socket::{
        AddressFamily, SockFlag, SockType, SockaddrIn, bind, connect, setsockopt, socket,
    };
    use std::ffi::OsString;
    use std::os::fd::AsRawFd as _;

    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    // Whatever the machine's default is.
    setsockopt(&socket, TcpCongestion, &OsString::from(CONGESTION_CONTROL))?;
    bind(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(host_address(End::A, tunnel), 0)))?;
    connect(socket.as_raw_fd(), &SockaddrIn::from(SocketAddrV4::new(host_address(End::B, tunnel), PORT)))?;
    Ok(socket.into())
}

fn send(mut stream: &TcpStream) {
    let block = [0; 16 << 10];
    // Ends when the stream is shut down.
    while stream.write_all(&block).is_ok() {}
}

fn receive(mut stream: &TcpStream, counter: &AtomicU64) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(bytes @ 1..) = stream.read(&mut buffer) {
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}
