//! One endpoint that responds, its clock, and what must hold whatever it is sent.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use ike::wire::Header;
use ike::{
    ConnectionMode, DhGroup, Endpoint, EndpointConfig, EspAead, EspProposal, Event, IkeAead, IkeProposal,
    PeerConfig, PeerId, PeerState, Prf, Psk,
};
use rand::SeedableRng;
use rand::rngs::StdRng;

/// The one peer of the endpoint.
pub(crate) const PEER: PeerId = PeerId(1);
/// What the endpoint and its peer share.
pub(crate) const PSK: &[u8] = b"gLm7cT4tqS2";
/// Address of the endpoint.
pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Address of the peer.
pub(crate) const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));
/// What tells IKE from ESP on port 4500 (RFC 3948 §2.2).
const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// Responder SAs that a stranger may bring about.
const MAX_HALF_OPEN: usize = 4;
/// Half-open SAs from which on cookies are demanded.
const COOKIE_THRESHOLD: usize = 2;
/// IKE SAs with a peer that knows the key, in any state, beside the half-open ones.
const MAX_SAS_OF_PEER: usize = 8;
/// Inbound SAs of one peer, as [`Event::InstallInbound`] promises.
const MAX_INBOUND: usize = 4;
/// Octets sent for each octet received from someone unknown.
const MAX_AMPLIFICATION: usize = 3;
/// Far more than honest timers need in the longest time that passes at once.
const MAX_TIMEOUTS: usize = 20_000;

/// The endpoint under test.
pub(crate) struct World {
    endpoint: Endpoint,
    now: Instant,
    /// The other side has shown that it knows the pre-shared key, or is about to.
    pub(crate) trusted: bool,
    inbound: BTreeSet<u32>,
    /// The last request of the endpoint that was not IKE_SA_INIT.
    pub(crate) asked: Option<Header>,
}

impl World {
    /// An endpoint that waits for its peer.
    pub(crate) fn new() -> Self {
        let config = EndpointConfig {
            max_half_open: MAX_HALF_OPEN,
            max_half_open_per_source: MAX_HALF_OPEN,
            cookie_threshold: COOKIE_THRESHOLD,
            ..EndpointConfig::default()
        };
        let endpoint = Endpoint::new(config, Box::new(StdRng::seed_from_u64(1)));
        let mut world =
            Self { endpoint, now: Instant::now(), trusted: false, inbound: BTreeSet::new(), asked: None };
        let peer = PeerConfig {
            ike_proposals: vec![IkeProposal::single(IkeAead::Aes128Gcm16, Prf::HmacSha256, DhGroup::X25519)],
            esp_proposals: vec![EspProposal::single(EspAead::ChaCha20Poly1305, Some(DhGroup::X25519), true)],
            mode: ConnectionMode::Responder,
            ..PeerConfig::new(HERE, THERE, Psk::new(PSK))
        };
        world.act(|endpoint, now| endpoint.set_peer(now, PEER, peer));
        world
    }

    /// Delivers a message to the endpoint's `port` and returns the messages it sends.
    pub(crate) fn deliver(&mut self, from: SocketAddr, port: u16, message: &[u8]) -> Vec<Vec<u8>> {
        let marker: &[u8] = if port == 4500 { &NON_ESP_MARKER } else { &[] };
        self.deliver_raw(from, port, &[marker, message].concat())
    }

    /// The same for all octets of a datagram.
    pub(crate) fn deliver_raw(&mut self, from: SocketAddr, port: u16, datagram: &[u8]) -> Vec<Vec<u8>> {
        let here = SocketAddr::new(HERE, port);
        let sent = self.act(|endpoint, now| endpoint.handle_datagram(now, here, from, datagram));
        if !self.trusted {
            let octets: usize = sent.iter().map(Vec::len).sum();
            assert!(sent.len() <= 1 && octets <= MAX_AMPLIFICATION * datagram.len(), "amplification");
        }
        sent
    }

    /// Lets time pass and returns what is sent meanwhile.
    pub(crate) fn wait(&mut self, time: Duration) -> Vec<Vec<u8>> {
        let end = self.now + time;
        let mut sent = Vec::new();
        for _ in 0..MAX_TIMEOUTS {
            let due = self.endpoint.poll_timeout().filter(|due| *due <= end);
            let Some(due) = due else {
                self.now = end;
                return sent;
            };
            self.now = self.now.max(due);
            sent.extend(self.act(Endpoint::handle_timeout));
        }
        panic!("timers run without end");
    }

    /// Calls the endpoint, checks what comes out, and returns the messages that it sends.
    pub(crate) fn act(&mut self, action: impl FnOnce(&mut Endpoint, Instant)) -> Vec<Vec<u8>> {
        action(&mut self.endpoint, self.now);
        self.endpoint.run_work(self.now);
        while let Some(event) = self.endpoint.poll_event() {
            self.check(event);
        }
        let most = MAX_HALF_OPEN + if self.trusted { MAX_SAS_OF_PEER } else { 0 };
        let sas = self.endpoint.ike_sa_count();
        assert!(sas <= most, "{sas} IKE SAs");
        let mut sent = Vec::new();
        while let Some(transmit) = self.endpoint.poll_transmit() {
            let marker = if transmit.local.port() == 4500 { NON_ESP_MARKER.len() } else { 0 };
            // What is shorter is a keep-alive.
            let Some(message) = transmit.payload.get(marker..).map(<[u8]>::to_vec) else { continue };
            if let Ok((header, _)) = Header::parse(&message)
                && !header.response
                && header.spi_r != 0
            {
                self.asked = Some(header);
            }
            sent.push(message);
        }
        sent
    }

    fn check(&mut self, event: Event) {
        assert!(
            self.trusted || matches!(event, Event::StateChanged { state: PeerState::NotConnected, .. }),
            "a stranger has brought about {event:?}"
        );
        match event {
            Event::InstallInbound { sa, .. } => {
                assert!(self.inbound.insert(sa.spi), "inbound SA {:08x} is installed twice", sa.spi);
                assert!(self.inbound.len() <= MAX_INBOUND, "{} inbound SAs", self.inbound.len());
            }
            Event::RemoveInbound { spi, .. } => {
                assert!(self.inbound.remove(&spi), "inbound SA {spi:08x} was never installed");
            }
            _ => {}
        }
    }

    /// Whether the connection is up.
    pub(crate) fn is_connected(&self) -> bool {
        self.endpoint.status(PEER).is_some_and(|status| status.state == PeerState::Connected)
    }
}
