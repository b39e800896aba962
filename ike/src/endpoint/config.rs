//! What the user configures: the endpoint as a whole and each peer.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::proposal::{EspProposal, IkeProposal};

/// Names a peer towards the user of the crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

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
    /// Most responder SAs that are not yet authenticated, over all peers.
    pub max_half_open: usize,
    /// Most responder SAs that are not yet authenticated for one source address.
    pub max_half_open_per_source: usize,
    /// Pause between NAT keep-alives while this side is behind a NAT (RFC 3948 §2.3).
    pub keepalive_interval: Duration,
}

impl Default for EndpointConfig {
    fn default() -> Self {
        Self {
            retransmit: RetransmitPolicy::default(),
            reconnect: Backoff::default(),
            half_open_timeout: Duration::from_secs(30),
            inbound_linger: Duration::from_secs(5),
            max_half_open: 256,
            max_half_open_per_source: 16,
            keepalive_interval: Duration::from_secs(20),
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

/// One peer and how to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerConfig {
    /// Our address, which datagrams to the peer leave from. It enters NAT detection, so it must be the real one; a peer
    /// that only responds may have the unspecified address here and be reached at any of ours; we never initiate then.
    pub local: IpAddr,
    /// The peer's address, which also selects the peer for an incoming IKE_SA_INIT. The unspecified address is a
    /// placeholder: nothing is sent, nothing matches.
    pub remote: IpAddr,
    /// The identity we send.
    pub local_id: Identity,
    /// The identity the peer must send; `None` takes any, the pre-shared key decides.
    pub remote_id: Option<Identity>,
    /// The pre-shared key.
    pub psk: Psk,
    /// What we offer and accept for the IKE SA, most preferred first.
    pub ike_proposals: Vec<IkeProposal>,
    /// What we offer and accept for Child SAs, most preferred first.
    pub esp_proposals: Vec<EspProposal>,
    /// Connect at once and keep trying for ever.
    pub initiate: bool,
    /// Encapsulate ESP in UDP port 4500 even when no NAT is found, by sending a NAT detection hash that cannot match.
    pub force_udp_encapsulation: bool,
    /// After this long without an authenticated IKE message from the peer its liveness is checked (RFC 7296 §2.4).
    pub dpd_interval: Duration,
    /// Soft lifetime of a Child SA: it is rekeyed at this age, less the jitter.
    pub child_lifetime: Duration,
    /// Rekeying comes earlier by a random time up to this long, so that the two ends seldom rekey at once.
    pub rekey_jitter: Duration,
    /// A Child SA that is older than `child_lifetime` by this much is given up: the IKE SA is deleted and connected anew.
    pub rekey_margin: Duration,
}

impl PeerConfig {
    /// A peer of the `default` profile that initiates: identities are the addresses, DPD after 45 s, Child SAs rekeyed
    /// after an hour.
    pub fn new(local: IpAddr, remote: IpAddr, psk: Psk) -> Self {
        Self {
            local,
            remote,
            local_id: local.into(),
            remote_id: None,
            psk,
            ike_proposals: vec![IkeProposal::default_profile()],
            esp_proposals: vec![EspProposal::default_profile()],
            initiate: true,
            force_udp_encapsulation: false,
            dpd_interval: Duration::from_secs(45),
            child_lifetime: Duration::from_hours(1),
            rekey_jitter: Duration::from_mins(6),
            rekey_margin: Duration::from_mins(6),
        }
    }

    /// Whether both addresses are known, so that we can initiate.
    pub(crate) fn has_addresses(&self) -> bool {
        !self.local.is_unspecified() && !self.remote.is_unspecified()
    }
}

/// An IKE identity (RFC 7296 §3.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// ID_IPV4_ADDR.
    Ipv4(Ipv4Addr),
    /// ID_IPV6_ADDR.
    Ipv6(Ipv6Addr),
    /// ID_FQDN: a domain name without trailing dot.
    Fqdn(String),
    /// ID_RFC822_ADDR: an e-mail address.
    Rfc822(String),
}

impl From<IpAddr> for Identity {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::Ipv4(address),
            IpAddr::V6(address) => Self::Ipv6(address),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipv4(address) => address.fmt(f),
            Self::Ipv6(address) => address.fmt(f),
            Self::Fqdn(name) | Self::Rfc822(name) => f.write_str(name),
        }
    }
}

/// A pre-shared key. It is wiped when dropped and never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Psk(Zeroizing<Vec<u8>>);

impl Psk {
    /// A key of these octets; text is used as it is, without a terminating zero.
    pub fn new(octets: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(octets.into()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Psk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Psk").finish_non_exhaustive()
    }
}
