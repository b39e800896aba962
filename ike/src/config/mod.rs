//! What the user configures: the endpoint as a whole and each peer.

mod endpoint;
mod identity;
mod peer;
mod psk;

pub use endpoint::{Backoff, EndpointConfig, FRAGMENT_SIZES, RetransmitPolicy};
pub use identity::Identity;
pub use peer::{PeerConfig, PeerId};
pub use psk::Psk;
