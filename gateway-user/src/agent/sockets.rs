//! The UDP sockets of IKE.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::task::{Context, Poll};
use std::time::Instant;

use ike::Transmit;
use tokio::io::ReadBuf;
use tokio::net::UdpSocket;

use super::throttle::Throttle;
use crate::datapath::WanAddresses;

/// IKE (RFC 7296 section 2).
const IKE_PORT: u16 = 500;
/// IKE and ESP through NATs (RFC 3948).
const NAT_T_PORT: u16 = 4500;
/// Leads every IKE message on [`NAT_T_PORT`]; anything else there is ESP (RFC 3948 section 2.2).
const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// The largest UDP payload.
const BUFFER_LEN: usize = 65_535;

/// The sockets for ports 500 and 4500 on each WAN address. None is bound to the unspecified address: what is sent has the right
/// source, and what arrives is known to be for that address.
#[derive(Debug)]
pub(super) struct IkeSockets {
    ports: Vec<Port>,
    /// The port that is asked first, so that a busy one does not silence the others.
    first: usize,
    buffer: Vec<u8>,
    failures: Throttle<ErrorKind>,
}

#[derive(Debug)]
struct Port {
    socket: UdpSocket,
    local: SocketAddr,
}

/// A datagram of IKE that arrived.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) payload: &'a [u8],
}

impl IkeSockets {
    /// Binds both ports of each address.
    pub(super) async fn bind(addresses: WanAddresses) -> anyhow::Result<Self> {
        let mut ports = Vec::new();
        for address in addresses.iter() {
            for port in [IKE_PORT, NAT_T_PORT] {
                ports.push(Port::bind(address, port).await?);
            }
        }
        Ok(Self { ports, first: 0, buffer: vec![0; BUFFER_LEN], failures: Throttle::new() })
    }

    /// Waits for the next datagram that is IKE's. Safe to cancel.
    pub(super) async fn receive(&mut self) -> Datagram<'_> {
        loop {
            let (index, result) = poll_fn(|context| self.poll_any(context)).await;
            let (length, remote) = match result {
                Ok(received) => received,
                Err(error) => {
                    // A socket reports here what a datagram that it sent met on its way.
                    self.log_failure("receive", &error);
                    continue;
                }
            };
            let local = self.ports[index].local;
            // ESP never comes this far, except in fragments: XDP takes it. The rest is not for IKE either; what the kernel has put together
            // other sockets get as well, for the datapath.
            if local.port() == NAT_T_PORT && !self.buffer[..length].starts_with(&NON_ESP_MARKER) {
                continue;
            }
            return Datagram { local, remote, payload: &self.buffer[..length] };
        }
    }

    /// Sends a datagram. A failure is only logged: IKE sends again whatever stays unanswered.
    pub(super) async fn send(&mut self, transmit: &Transmit) {
        let Some(port) = self.ports.iter().find(|port| port.local == transmit.local) else {
            tracing::debug!(local = %transmit.local, "no socket to send an IKE datagram from");
            return;
        };
        if let Err(error) = port.socket.send_to(&transmit.payload, transmit.remote).await {
            self.log_failure("send", &error);
        }
    }

    /// A datagram of the first port that has one: the port's number, its length and its sender.
    fn poll_any(&mut self, context: &mut Context<'_>) -> Poll<(usize, std::io::Result<(usize, SocketAddr)>)> {
        for number in 0..self.ports.len() {
            let index = (self.first + number) % self.ports.len();
            let mut buffer = ReadBuf::new(&mut self.buffer);
            if let Poll::Ready(result) = self.ports[index].socket.poll_recv_from(context, &mut buffer) {
                self.first = index + 1;
                return Poll::Ready((index, result.map(|remote| (buffer.filled().len(), remote))));
            }
        }
        Poll::Pending
    }

    fn log_failure(&mut self, what: &str, error: &std::io::Error) {
        if let Some(suppressed) = self.failures.admit(Instant::now(), error.kind()) {
            tracing::warn!(suppressed, "cannot {what} an IKE datagram: {error}");
        }
    }
}

impl Port {
    async fn bind(address: IpAddr, port: u16) -> anyhow::Result<Self> {
        let local = SocketAddr::from((address, port));
        let socket = UdpSocket::bind(local).await.map_err(|error| {
            let hint = bind_hint(error.kind());
            anyhow::Error::new(error).context(format!("cannot bind UDP {local} for IKE ({hint})"))
        })?;
        Ok(Self { socket, local })
    }
}

/// What to do when a socket cannot be bound.
fn bind_hint(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::PermissionDenied => "the agent needs root: run it with sudo or as a system service",
        ErrorKind::AddrInUse => "does another IKE daemon run here?",
        _ => "is the address still on the interface?",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_taken_port_and_a_foreign_address_are_told_apart() {
        let taken = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let message = |error: anyhow::Error| format!("{error:#}");
        let error = message(Port::bind([127, 0, 0, 1].into(), port).await.err().unwrap());
        assert!(error.contains("does another IKE daemon run here?"), "{error}");
        let error = message(Port::bind([192, 0, 2, 200].into(), port).await.err().unwrap());
        assert!(error.contains("is the address still on the interface?"), "{error}");
        assert!(bind_hint(ErrorKind::PermissionDenied).contains("needs root"));
    }
}
