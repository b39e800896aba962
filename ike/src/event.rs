//! What the endpoint tells its user.

use std::fmt;
use std::net::SocketAddr;

use zeroize::Zeroizing;

use crate::config::PeerId;
use crate::crypto::{EspAead, SALT_LEN};
use crate::key_export::ExportedIkeKeys;

/// Something the user has to know or do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The state of a peer changed, or there is another reason why it is still not connected.
    StateChanged {
        /// The peer.
        peer: PeerId,
        /// The state from now on.
        state: PeerState,
        /// Why, for a human.
        reason: String,
    },
    /// Install an inbound SA at once: the peer may use it as soon as it has our next message. There are at most four
    /// inbound SAs per peer, and with [`crate::PeerConfig::child_sas`] as many for each resource.
    InstallInbound {
        /// The peer.
        peer: PeerId,
        /// The SA.
        sa: EspSa,
    },
    /// Install an outbound SA and move the traffic to the peer to it: that of [`EspSa::resource`] if it has one, else all
    /// that has no SA of its own. An SA is announced at most once, so its sequence numbers never start anew.
    InstallOutbound {
        /// The peer.
        peer: PeerId,
        /// The SA.
        sa: EspSa,
    },
    /// Remove an inbound SA.
    RemoveInbound {
        /// The peer.
        peer: PeerId,
        /// Its SPI.
        spi: u32,
    },
    /// Remove an outbound SA. When it is still the active one, traffic to the peer stops; that of a resource goes on with the
    /// SA that has none.
    RemoveOutbound {
        /// The peer.
        peer: PeerId,
        /// Its SPI.
        spi: u32,
    },
    /// A NAT in front of the peer changed its mapping (RFC 7296 §2.23): send the packets of this outbound SA to another
    /// address from now on. The SA itself, its key and its sequence numbers go on.
    OutboundMoved {
        /// The peer.
        peer: PeerId,
        /// SPI of the outbound SA.
        spi: u32,
        /// Where the peer is now.
        remote: SocketAddr,
    },
    /// The keys of an IKE SA, for decrypting a capture; only with [`crate::EndpointConfig::export_keys`]. The initiator
    /// reports them before it sends IKE_AUTH, the responder when that has arrived, whatever becomes of it, and both ends
    /// when a rekey makes a new IKE SA.
    IkeKeys {
        /// The peer.
        peer: PeerId,
        /// The keys.
        keys: ExportedIkeKeys,
    },
}

/// State of the connection with a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PeerState {
    /// Down, and nothing is being done about it from this side.
    NotConnected,
    /// Down, and this side is trying or waiting to try again.
    Connecting,
    /// An IKE SA with a Child SA is up.
    Connected,
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConnected => "NotConnected",
            Self::Connecting => "Connecting",
            Self::Connected => "Connected",
        })
    }
}

/// One direction of a Child SA, as the data plane needs it. Tunnel mode; the traffic selectors are in [`crate::ChildStatus`].
#[derive(Clone, PartialEq, Eq)]
pub struct EspSa {
    /// The SPI in host order: chosen by us for an inbound SA, by the peer for an outbound one.
    pub spi: u32,
    /// The cipher.
    pub aead: EspAead,
    /// The cipher key, [`EspAead::key_len`] octets, without the salt.
    pub key: Zeroizing<Vec<u8>>,
    /// The leading octets of every nonce.
    pub salt: Zeroizing<[u8; SALT_LEN]>,
    /// Extended (64-bit) sequence numbers.
    pub esn: bool,
    /// Our end of the tunnel. The port counts only with UDP encapsulation.
    pub local: SocketAddr,
    /// The peer's end of the tunnel. The port counts only with UDP encapsulation.
    pub remote: SocketAddr,
    /// ESP goes in UDP between the two ports (RFC 3948).
    pub udp_encapsulation: bool,
    /// We are behind a NAT: what we send must keep coming from our port, whose mapping the peer answers to.
    pub behind_nat: bool,
    /// The resource whose traffic this Child SA carries (RFC 9611), counted from zero; `None` for the one that carries what
    /// has no SA of its own. Each end gives its resources their Child SAs as it likes: the other's number is unknown.
    pub resource: Option<u32>,
}

impl fmt::Debug for EspSa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EspSa")
            .field("spi", &format_args!("{:08x}", self.spi))
            .field("aead", &self.aead)
            .field("esn", &self.esn)
            .field("local", &self.local)
            .field("remote", &self.remote)
            .field("udp_encapsulation", &self.udp_encapsulation)
            .field("behind_nat", &self.behind_nat)
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}

/// A datagram to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// Address and port to send from: port 500 or 4500.
    pub local: SocketAddr,
    /// Address and port to send to.
    pub remote: SocketAddr,
    /// The UDP payload; from port 4500 it begins with the non-ESP marker.
    pub payload: Vec<u8>,
}
