//! The UDP sockets of IKE.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use anyhow::Context;
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
    failures: Throttle<std::io::ErrorKind>,
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
        let socket = UdpSocket::bind(local).await.with_context(|| {
            format!("cannot bind UDP {local} for IKE (does another IKE daemon run here?)")
        })?;
        Ok(Self { socket, local, buffer: vec![0; BUFFER_LEN] })
    }
}
