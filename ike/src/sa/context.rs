//! What a state machine works with: time, randomness and the places its output goes to.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::config::EndpointConfig;
use crate::crypto::SecureRng;
use crate::event::{EspSa, Transmit};

/// UDP port of IKE without NAT traversal (RFC 7296 §2).
pub(crate) const IKE_PORT: u16 = 500;
/// UDP port of IKE and ESP with NAT traversal (RFC 7296 §2.23).
pub(crate) const NAT_PORT: u16 = 4500;
/// What tells IKE from ESP on port 4500 (RFC 3948 §2.2).
pub(crate) const NON_ESP_MARKER: [u8; 4] = [0; 4];
/// The whole payload of a NAT keep-alive (RFC 3948 §2.3).
pub(crate) const NAT_KEEPALIVE: [u8; 1] = [0xff];

const NONCE_LEN: usize = 32;
/// SPIs below are reserved (RFC 4303 §2.1).
pub(crate) const FIRST_ESP_SPI: u32 = 256;

/// Two ends of a UDP conversation, seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Path {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

/// The surroundings of one step of a state machine.
pub(crate) struct Context<'a> {
    pub(crate) now: Instant,
    pub(crate) rng: &'a mut dyn SecureRng,
    pub(crate) config: &'a EndpointConfig,
    pub(crate) esp_spis: &'a mut EspSpis,
    /// Counts creations and establishments of IKE SAs, to tell which came first.
    pub(crate) order: &'a mut u64,
    /// No established IKE SA with the same peer exists beside the one that is stepped.
    pub(crate) sole: bool,
    pub(crate) transmits: &'a mut VecDeque<Transmit>,
    pub(crate) notices: Vec<Notice>,
}

/// What a state machine reports to the endpoint, in order.
#[derive(Debug)]
pub(crate) enum Notice {
    /// Both ends are authenticated and the first Child SA exists. Its outbound half waits for
    /// [`crate::sa::IkeSa::release_outbound`].
    Established { initial_contact: bool },
    /// The peer has shown that it holds the SA as established too.
    Confirmed,
    /// Install an inbound SA.
    InboundReady(EspSa),
    /// Install an outbound SA and move to it.
    OutboundReady(EspSa),
    /// Nothing new will be sent to this inbound SA.
    InboundRetired(u32),
    /// The outbound SA goes to another address.
    OutboundMoved { spi: u32, remote: SocketAddr },
    /// Something a human should know, while the SA goes on.
    Problem(String),
    /// A request for an IKE SA was refused, the peer's or ours, for this reason. Nobody vouches for who sent it.
    Refused(String),
    /// The SA is of no more use.
    Ended { reason: String },
}

impl Context<'_> {
    /// Queues the datagrams of an IKE message, with the non-ESP marker where it belongs.
    pub(crate) fn transmit(&mut self, path: Path, message: &[Vec<u8>]) {
        let marker: &[u8] = if path.local.port() == NAT_PORT { &NON_ESP_MARKER } else { &[] };
        for datagram in message {
            let payload = [marker, datagram].concat();
            self.transmits.push_back(Transmit { local: path.local, remote: path.remote, payload });
        }
    }

    /// Queues a NAT keep-alive.
    pub(crate) fn transmit_keepalive(&mut self, path: Path) {
        let payload = NAT_KEEPALIVE.to_vec();
        self.transmits.push_back(Transmit { local: path.local, remote: path.remote, payload });
    }

    pub(crate) fn next_order(&mut self) -> u64 {
        *self.order += 1;
        *self.order
    }

    pub(crate) fn notify(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    pub(crate) fn nonce(&mut self) -> Vec<u8> {
        let mut nonce = vec![0; NONCE_LEN];
        self.rng.fill(&mut nonce);
        nonce
    }

    /// A random IKE SPI, never zero.
    pub(crate) fn ike_spi(&mut self) -> u64 {
        random_u64(self.rng).max(1)
    }

    /// An SPI for an inbound Child SA.
    pub(crate) fn esp_spi(&mut self) -> u32 {
        self.esp_spis.next(self.rng)
    }

    pub(crate) fn random_up_to(&mut self, longest: Duration) -> Duration {
        random_up_to(self.rng, longest)
    }
}

/// A random time between zero and `longest`.
pub(crate) fn random_up_to(rng: &mut dyn SecureRng, longest: Duration) -> Duration {
    let nanoseconds = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX - 1);
    Duration::from_nanos(random_u64(rng) % (nanoseconds + 1))
}

fn random_u64(rng: &mut dyn SecureRng) -> u64 {
    let mut octets = [0; 8];
    rng.fill(&mut octets);
    u64::from_be_bytes(octets)
}

/// Source of SPIs for inbound Child SAs. The lower half counts, so that SPIs in use at one time differ without anyone
/// keeping a list; the upper half is random, so that those of a restarted endpoint differ from those before.
#[derive(Default)]
pub(crate) struct EspSpis {
    count: u16,
}

impl EspSpis {
    fn next(&mut self, rng: &mut dyn SecureRng) -> u32 {
        loop {
            self.count = self.count.wrapping_add(1);
            let spi = (random_u64(rng) as u32) << 16 | u32::from(self.count);
            if spi >= FIRST_ESP_SPI {
                return spi;
            }
        }
    }
}
