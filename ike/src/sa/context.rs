//! What a state machine works with: time, randomness and the places its output goes to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::config::EndpointConfig;
use crate::crypto::SecureRng;
use crate::event::{EspSa, Transmit};
use crate::key_export::ExportedIkeKeys;
use crate::sa::clock::WallClock;
use crate::sa::established::Established;
use crate::sa::{IkeSa, Standing};

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
    /// The time of day.
    pub(crate) clock: WallClock,
    pub(crate) rng: &'a mut dyn SecureRng,
    pub(crate) config: &'a EndpointConfig,
    pub(crate) counters: &'a Counters,
    /// No established IKE SA with the same peer exists beside the one that is stepped.
    pub(crate) sole: bool,
    /// The step must not compute: what there is to send waits for the next step that may.
    pub(crate) light: bool,
    pub(crate) transmits: Vec<Transmit>,
    pub(crate) notices: Vec<Notice>,
}

/// What a state machine reports to the endpoint, in order.
pub(crate) enum Notice {
    /// Both ends are authenticated. The outbound half of the first Child SA waits for
    /// [`crate::sa::IkeSa::release_outbound`], which else tells why there is none.
    Established { initial_contact: bool },
    /// The peer has shown that it holds the SA as established too.
    Confirmed,
    /// Install an inbound SA.
    InboundReady(EspSa),
    /// Install an outbound SA and move to it.
    OutboundReady(EspSa),
    /// Nothing new will be sent to this inbound SA.
    InboundRetired(u32),
    /// The peer does not receive with this outbound SA any more, and no other takes its place.
    OutboundRetired(u32),
    /// There is no Child SA, for this reason, but the IKE SA stands.
    Childless { reason: String },
    /// The outbound SA goes to another address.
    OutboundMoved { spi: u32, remote: SocketAddr },
    /// The keys of an IKE SA, which the user wants to see.
    Keys(ExportedIkeKeys),
    /// The peer does not answer, and there was a hint that it has lost this SA.
    Silent,
    /// Something a human should know, while the SA goes on.
    Problem(String),
    /// A request for an IKE SA was refused, the peer's or ours, for this reason. Nobody vouches for who sent it.
    Refused(String),
    /// A rekey has made this IKE SA. It holds no Child SAs yet.
    Successor(Box<IkeSa>),
    /// The Child SAs go to the IKE SA with this SPI of ours, which carries the connection from now on. `before` is how it
    /// was.
    Inherit { heir: u64, estate: Box<Established>, before: Option<Box<Standing>> },
    /// The SA is of no more use.
    Ended { reason: String },
}

impl Context<'_> {
    /// Queues the datagrams of an IKE message, with the non-ESP marker where it belongs.
    pub(crate) fn transmit(&mut self, path: Path, message: &[Vec<u8>]) {
        self.transmits.extend(message.iter().map(|octets| datagram(path, octets)));
    }

    /// Queues a NAT keep-alive.
    pub(crate) fn transmit_keepalive(&mut self, path: Path) {
        let payload = NAT_KEEPALIVE.to_vec();
        self.transmits.push(Transmit { local: path.local, remote: path.remote, payload });
    }

    pub(crate) fn next_order(&self) -> u64 {
        self.counters.next_order()
    }

    pub(crate) fn notify(&mut self, notice: Notice) {
        self.notices.push(notice);
    }

    pub(crate) fn nonce(&mut self) -> Vec<u8> {
        let mut nonce = vec![0; NONCE_LEN];
        self.rng.fill(&mut nonce);
        nonce
    }

    /// An SPI for an inbound Child SA.
    pub(crate) fn esp_spi(&self) -> u32 {
        self.counters.next_esp_spi()
    }

    pub(crate) fn random_up_to(&mut self, longest: Duration) -> Duration {
        random_up_to(self.rng, longest)
    }
}

/// The datagram of an IKE message, with the non-ESP marker where it belongs.
pub(crate) fn datagram(path: Path, message: &[u8]) -> Transmit {
    let marker: &[u8] = if path.local.port() == NAT_PORT { &NON_ESP_MARKER } else { &[] };
    Transmit { local: path.local, remote: path.remote, payload: [marker, message].concat() }
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

/// A random IKE SPI, never zero.
pub(crate) fn ike_spi(rng: &mut dyn SecureRng) -> u64 {
    random_u64(rng).max(1)
}

/// What all SAs of an endpoint count together, though they are stepped on several threads.
pub(crate) struct Counters {
    /// Counts creations and establishments of IKE SAs, to tell which came first.
    order: AtomicU64,
    esp_spi: AtomicU32,
    esp_spi_step: u32,
}

impl Counters {
    /// SPIs of inbound Child SAs go round all 32-bit numbers in odd steps, so that those in use at one time differ without
    /// anyone keeping a list. Start and step are random, so that those of a restarted endpoint differ from those before.
    pub(crate) fn new(rng: &mut dyn SecureRng) -> Self {
        let random = random_u64(rng);
        Self {
            order: AtomicU64::new(0),
            esp_spi: AtomicU32::new((random >> 32) as u32),
            esp_spi_step: random as u32 | 1,
        }
    }

    fn next_order(&self) -> u64 {
        self.order.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn next_esp_spi(&self) -> u32 {
        loop {
            let spi = self.esp_spi.fetch_add(self.esp_spi_step, Ordering::Relaxed);
            if spi >= FIRST_ESP_SPI {
                return spi;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rand::SeedableRng;

    use super::*;

    #[test]
    fn spis_of_child_sas_differ_and_reserved_ones_are_left_out() {
        let counters = Counters::new(&mut rand::rngs::StdRng::seed_from_u64(1));
        let spis: BTreeSet<u32> = (0..100_000).map(|_| counters.next_esp_spi()).collect();
        assert_eq!(spis.len(), 100_000);
        let from_zero = Counters { esp_spi: AtomicU32::new(u32::MAX), esp_spi_step: 1, ..counters };
        assert_eq!(from_zero.next_esp_spi(), u32::MAX);
        assert_eq!(from_zero.next_esp_spi(), FIRST_ESP_SPI);
    }
}
