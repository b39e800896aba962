//! What the user configures: the endpoint as a whole and each peer.

mod distinguished_name;
mod endpoint;
mod identity;
mod mode;
mod peer;
mod psk;

pub use distinguished_name::DistinguishedName;
pub use endpoint::{Backoff, EndpointConfig, FRAGMENT_SIZES, RetransmitPolicy};
pub use identity::{Identity, IdentityError};
pub use mode::ConnectionMode;
pub use peer::{PeerConfig, PeerId};
pub use psk::Psk;
