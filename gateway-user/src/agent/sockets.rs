//! The UDP sockets of IKE.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use ike::Transmit;
use tokio::net::UdpSocket;

use super::throttle::Throttle;

/// IKE (RFC 7296 section 2).
const IKE_PORT: u16 = 500;
/// IKE and ESP through NATs (RFC 3948).
const NAT_T_PORT: u16 = 4500;
/// Leads every IKE message on [`NAT_T_PORT`]; anything else there is ESP (RFC 3948 section 2.2).
const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// The largest UDP payload.
const BUFFER_LEN: usize = 65_535;

/// The sockets for ports 500 and 4500 on the WAN address.
#[derive(Debug)]
pub(super) struct IkeSockets {
    ike: Port,
    nat_t: Port,
    failures: Throttle<ErrorKind>,
}

#[derive(Debug)]
struct Port {
    socket: UdpSocket,
    local: SocketAddr,
    buffer: Vec<u8>,
}

/// A datagram of IKE that arrived.
#[derive(Debug)]
pub(super) struct Datagram<'a> {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    pub(super) payload: &'a [u8],
}

impl IkeSockets {
    /// Binds both ports.
    pub(super) async fn bind(address: Ipv4Addr) -> anyhow::Result<Self> {
        let (ike, nat_t) = (Port::bind(address, IKE_PORT).await?, Port::bind(address, NAT_T_PORT).await?);
        Ok(Self { ike, nat_t, failures: Throttle::new() })
    }

    /// Waits for the next datagram that is IKE's. Safe to cancel.
    pub(super) async fn receive(&mut self) -> Datagram<'_> {
        loop {
            let (on_nat_t, result) = tokio::select! {
                result = self.ike.socket.recv_from(&mut self.ike.buffer) => (false, result),
                result = self.nat_t.socket.recv_from(&mut self.nat_t.buffer) => (true, result),
            };
            let (length, remote) = match result {
                Ok(received) => received,
                Err(error) => {
                    // A socket reports here what a datagram that it sent met on its way.
                    self.log_failure("receive", &error);
                    continue;
                }
            };
            let port = if on_nat_t { &self.nat_t } else { &self.ike };
            // ESP with a known SPI never comes this far: the XDP program takes it. The rest is not for IKE.
            if on_nat_t && !port.buffer[..length].starts_with(&NON_ESP_MARKER) {
                continue;
            }
            // Borrowed anew, because a borrow that is returned conditionally would last for the whole loop.
            let port = if on_nat_t { &self.nat_t } else { &self.ike };
            return Datagram { local: port.local, remote, payload: &port.buffer[..length] };
        }
    }

    /// Sends a datagram. A failure is only logged: IKE sends again whatever stays unanswered.
    pub(super) async fn send(&mut self, transmit: &Transmit) {
        let port = if transmit.local.port() == NAT_T_PORT { &self.nat_t } else { &self.ike };
        if let Err(error) = port.socket.send_to(&transmit.payload, transmit.remote).await {
            self.log_failure("send", &error);
        }
    }

    fn log_failure(&mut self, what: &str, error: &std::io::Error) {
        if let Some(suppressed) = self.failures.admit(Instant::now(), error.kind()) {
            tracing::warn!(suppressed, "cannot {what} an IKE datagram: {error}");
        }
    }
}

impl Port {
    async fn bind(address: Ipv4Addr, port: u16) -> anyhow::Result<Self> {
        let local = SocketAddr::from((address, port));
        let socket = UdpSocket::bind(local).await.map_err(|error| {
            let hint = bind_hint(error.kind());
            anyhow::Error::new(error).context(format!("cannot bind UDP {local} for IKE ({hint})"))
        })?;
        Ok(Self { socket, local, buffer: vec![0; BUFFER_LEN] })
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
        let error = message(Port::bind(Ipv4Addr::LOCALHOST, port).await.err().unwrap());
        assert!(error.contains("does another IKE daemon run here?"), "{error}");
        let error = message(Port::bind([192, 0, 2, 200].into(), port).await.err().unwrap());
        assert!(error.contains("is the address still on the interface?"), "{error}");
        assert!(bind_hint(ErrorKind::PermissionDenied).contains("needs root"));
    }
}
