//! What the user configures: the endpoint as a whole and each peer.

mod auth;
mod distinguished_name;
mod endpoint;
mod identity;
mod mode;
mod peer;
mod psk;

pub use auth::{Auth, CertificateAuth};
pub use distinguished_name::DistinguishedName;
pub use endpoint::{Backoff, EndpointConfig, FRAGMENT_SIZES, RetransmitPolicy};
pub(crate) use identity::shortened;
pub use identity::{Identity, IdentityError};
pub use mode::ConnectionMode;
pub use peer::{PeerConfig, PeerId};
pub use psk::Psk;
