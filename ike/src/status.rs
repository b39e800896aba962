//! What a user can ask about a peer.

use std::net::SocketAddr;
use std::time::Instant;

use crate::event::PeerState;
use crate::wire::AddressRange;

/// The connection with a peer as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// State of the connection.
    pub state: PeerState,
    /// Why the connection last failed or ended, for a human; cleared by the next success.
    pub last_error: Option<String>,
    /// Where the peer was last seen by an authenticated message, while an IKE SA exists.
    pub remote: Option<SocketAddr>,
    /// The IKE SA in use.
    pub ike: Option<IkeSaStatus>,
    /// The Child SA in use.
    pub child: Option<ChildStatus>,
    /// The Child SAs of single resources, in the order of [`ChildStatus::resource`].
    pub resource_children: Vec<ChildStatus>,
}

/// An established IKE SA.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each shown by itself")]
pub struct IkeSaStatus {
    /// The initiator's SPI.
    pub spi_i: u64,
    /// The responder's SPI.
    pub spi_r: u64,
    /// The algorithms, such as `aes256gcm16-prfsha384-x25519`.
    pub proposal: String,
    /// The identity that the peer has proved.
    pub peer_identity: String,
    /// How both ends proved their identities: `pre-shared key` or `certificate`.
    pub authentication: &'static str,
    /// When both ends had authenticated each other, or when it replaced its predecessor.
    pub established: Instant,
    /// When this side will rekey it.
    pub rekey_at: Instant,
    /// How often it has been replaced since both ends authenticated each other, by either side.
    pub rekeys: u64,
    /// Whether we are the original initiator, which is who asked for the last rekey.
    pub initiator: bool,
    /// Whether a NAT was found in front of either end (a forced encapsulation looks like one).
    pub nat_detected: bool,
    /// Whether ESP goes in UDP port 4500.
    pub udp_encapsulation: bool,
    /// Whether both ends understand fragments of IKE messages (RFC 7383).
    pub fragmentation: bool,
    /// Whether both ends want Child SAs for single resources (RFC 9611).
    pub resource_children: bool,
}

/// A Child SA whose outbound half carries traffic: of one resource, or all that has no Child SA of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildStatus {
    /// SPI chosen by us.
    pub inbound_spi: u32,
    /// SPI chosen by the peer.
    pub outbound_spi: u32,
    /// The algorithms, such as `chacha20poly1305-esn`.
    pub proposal: String,
    /// Our addresses that were agreed on.
    pub local_selectors: Vec<AddressRange>,
    /// The peer's addresses that were agreed on.
    pub remote_selectors: Vec<AddressRange>,
    /// When it was negotiated.
    pub established: Instant,
    /// When this side will rekey it.
    pub rekey_at: Instant,
    /// How often the Child SA was rekeyed since both ends authenticated each other, by either side.
    pub rekeys: u64,
    /// The resource that it belongs to here, as in [`crate::EspSa::resource`].
    pub resource: Option<u32>,
}
