//! One peer and how to talk to it.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use crate::config::{Auth, CertificateAuth, ConnectionMode, Identity, Psk};
use crate::proposal::{EspProposal, IkeProposal};
use crate::wire::AddressRange;

/// Names a peer towards the user of the crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub u32);

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
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
    /// The identity the peer must send and prove. `None` takes any when the pre-shared key decides. With certificates it
    /// must be set, because an authority certifies others than this peer, too; the peer is refused without it.
    pub remote_id: Option<Identity>,
    /// How both ends authenticate.
    pub auth: Auth,
    /// What we offer and accept for the IKE SA, most preferred first.
    pub ike_proposals: Vec<IkeProposal>,
    /// What we offer and accept for Child SAs, most preferred first.
    pub esp_proposals: Vec<EspProposal>,
    /// Which end brings the connection up.
    pub mode: ConnectionMode,
    /// Our addresses that Child SAs are for: offered as initiator, the limit as responder. No range at all stands for all
    /// of IPv4 and IPv6, and at most 128 count.
    pub local_selectors: Vec<AddressRange>,
    /// The peer's addresses that Child SAs are for, likewise.
    pub remote_selectors: Vec<AddressRange>,
    /// Child SAs with the same traffic selectors for one resource each, such as a CPU or a queue, beside the one for
    /// everything (RFC 9611): so many are asked for and accepted, at most [`Self::MAX_CHILD_SAS`]. 1 and 0 stand for none.
    pub child_sas: u16,
    /// Encapsulate ESP in UDP port 4500 even when no NAT is found, by sending a NAT detection hash that cannot match.
    pub force_udp_encapsulation: bool,
    /// After this long without an authenticated IKE message from the peer its liveness is checked (RFC 7296 §2.4).
    pub dpd_interval: Duration,
    /// Soft lifetime of an IKE SA: it is rekeyed at this age, less the jitter.
    pub ike_lifetime: Duration,
    /// Soft lifetime of a Child SA: it is rekeyed at this age, less the jitter.
    pub child_lifetime: Duration,
    /// Rekeying comes earlier by a random time up to this long, so that the two ends seldom rekey at once; never by more
    /// than a quarter of the lifetime.
    pub rekey_jitter: Duration,
    /// An SA that is older than its soft lifetime by this much is given up: the IKE SA is deleted and connected anew.
    pub rekey_margin: Duration,
}

impl PeerConfig {
    /// Most Child SAs for one resource each.
    pub const MAX_CHILD_SAS: u16 = 16;

    /// A peer of the `default` profile that initiates: identities are the addresses, DPD after 45 s, Child SAs rekeyed
    /// after an hour, the IKE SA after eight.
    pub fn new(local: IpAddr, remote: IpAddr, psk: Psk) -> Self {
        Self::with_auth(local, remote, psk.into())
    }

    /// As [`Self::new`], with certificates. Our identity is the one of [`Credentials::identity`]; the peer has to prove
    /// `remote_id`.
    ///
    /// [`Credentials::identity`]: crate::Credentials::identity
    pub fn with_certificate(
        local: IpAddr,
        remote: IpAddr,
        certificate: CertificateAuth,
        remote_id: Identity,
    ) -> Self {
        let local_id = certificate.credentials.identity();
        Self { local_id, remote_id: Some(remote_id), ..Self::with_auth(local, remote, certificate.into()) }
    }

    fn with_auth(local: IpAddr, remote: IpAddr, auth: Auth) -> Self {
        Self {
            local,
            remote,
            local_id: local.into(),
            remote_id: None,
            auth,
            ike_proposals: vec![IkeProposal::default_profile()],
            esp_proposals: vec![EspProposal::default_profile()],
            mode: ConnectionMode::Default,
            local_selectors: AddressRange::ANY.to_vec(),
            remote_selectors: AddressRange::ANY.to_vec(),
            child_sas: 1,
            force_udp_encapsulation: false,
            dpd_interval: Duration::from_secs(45),
            ike_lifetime: Duration::from_hours(8),
            child_lifetime: Duration::from_hours(1),
            rekey_jitter: Duration::from_mins(6),
            rekey_margin: Duration::from_mins(6),
        }
    }

    /// How much earlier than after `lifetime` an SA is rekeyed at most.
    pub(crate) fn jitter_of(&self, lifetime: Duration) -> Duration {
        self.rekey_jitter.min(lifetime / 4)
    }

    /// How many resources may have a Child SA of their own.
    pub(crate) fn resources(&self) -> usize {
        if self.child_sas > 1 { usize::from(self.child_sas.min(Self::MAX_CHILD_SAS)) } else { 0 }
    }

    /// Whether both addresses are known, so that we can initiate.
    pub(crate) fn has_addresses(&self) -> bool {
        !self.local.is_unspecified() && !self.remote.is_unspecified()
    }
}
