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
    /// inbound SAs per peer.
    InstallInbound {
        /// The peer.
        peer: PeerId,
        /// The SA.
        sa: EspSa,
    },
    /// Install an outbound SA and move all traffic to the peer to it. An SA is announced at most once, so its sequence
    /// numbers never start anew.
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
    /// Remove an outbound SA. When it is still the active one, traffic to the peer stops.
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
