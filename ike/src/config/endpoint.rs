//! Limits and timers of the endpoint as a whole.

use std::ops::RangeInclusive;
use std::time::Duration;

/// Octets [`EndpointConfig::fragment_size`] may have: from what every IPv4 host must take up to the longest packet.
pub const FRAGMENT_SIZES: RangeInclusive<usize> = 576..=65_535;

/// Limits and timers of an endpoint, the same for every peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointConfig {
    /// When an unanswered request is sent again, and when it is given up.
    pub retransmit: RetransmitPolicy,
    /// Pauses between attempts to connect.
    pub reconnect: Backoff,
    /// How long a responder waits for IKE_AUTH after it has answered IKE_SA_INIT.
    pub half_open_timeout: Duration,
    /// How long an old inbound SA is kept after its delete, for packets that are still under way.
    pub inbound_linger: Duration,
    /// So many responder SAs that are not yet authenticated, over all peers, and a request for another one is answered by
    /// a cookie first (RFC 7296 §2.6); 0 for always. Whatever this says, cookies are also demanded from a source that has
    /// half of [`Self::max_half_open_per_source`].
    pub cookie_threshold: usize,
    /// Most responder SAs that are not yet authenticated, over all peers.
    pub max_half_open: usize,
    /// Most responder SAs that are not yet authenticated for one source address.
    pub max_half_open_per_source: usize,
    /// Pause between NAT keep-alives while this side is behind a NAT (RFC 3948 §2.3).
    pub keepalive_interval: Duration,
    /// Longest IP packet in octets that carries a protected message whole, when the peer understands fragments
    /// (RFC 7383): longer messages are sent in fragments up to this size. Counts as the nearest of [`FRAGMENT_SIZES`].
    /// The path's own MTU is not discovered.
    pub fragment_size: usize,
    /// Give out the keys of IKE SAs as [`crate::Event::IkeKeys`]. Whoever has them reads what the SAs carry.
    pub export_keys: bool,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            retransmit: RetransmitPolicy::default(),
            reconnect: Backoff::default(),
            half_open_timeout: Duration::from_secs(30),
            inbound_linger: Duration::from_secs(5),
            cookie_threshold: 32,
            max_half_open: 256,
            max_half_open_per_source: 16,
            keepalive_interval: Duration::from_secs(20),
            fragment_size: 1280,
            export_keys: false,
        }
    }
}

/// Retransmission of requests (RFC 7296 §2.1): intervals double from `initial` to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetransmitPolicy {
    /// Time from the first transmission to the second.
    pub initial: Duration,
    /// Longest interval.
    pub max: Duration,
    /// Transmissions in all, the first one included. One interval after the last of them the request has failed.
    pub tries: u32,
}

impl Default for RetransmitPolicy {
    /// 0.5, 1, 2, 4, 8, 8, 8 and 8 seconds: given up after 39.5 s.
    fn default() -> Self {
        Self { initial: Duration::from_millis(500), max: Duration::from_secs(8), tries: 8 }
    }
}

/// Pauses that double from `initial` to `max`; each is shortened by up to a quarter at random, so that two ends do not
/// keep step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// First pause.
    pub initial: Duration,
    /// Longest pause.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { initial: Duration::from_secs(1), max: Duration::from_secs(30) }
    }
}
