//! IKEv2 (RFC 7296) without input and output.
//!
//! The crate has no sockets, no clock, no threads and no kernel interface. Its user owns the UDP sockets on ports 500
//! and 4500, the clock, the source of randomness and the data plane, and drives one [`Endpoint`]:
//!
//! 1. datagrams go in by [`Endpoint::handle_datagram`], the passing of time by [`Endpoint::handle_timeout`] (not later
//!    than [`Endpoint::poll_timeout`] says), wishes by [`Endpoint::set_peer`], [`Endpoint::connect`] and so on. None of
//!    these calls computes much: that is left to the pieces of [`Work`] which come from [`Endpoint::poll_work`], may run
//!    on any thread, and go back by [`Endpoint::handle_done`];
//! 2. after each of these calls all events are taken from [`Endpoint::poll_event`] and carried out, **then** all
//!    datagrams from [`Endpoint::poll_transmit`] are sent. The order matters: a peer may use a new inbound SA as soon as
//!    it has received the datagram that announces it.
//!
//! One thing does not come in from outside: signatures for certificates take their randomness from the operating system.
//!
//! ```
//! use std::time::Instant;
//! use ike::{Endpoint, EndpointConfig, Identity, PeerConfig, PeerId, Psk};
//! use rand::SeedableRng;
//!
//! // A program takes randomness from the operating system; a fixed seed replays a run.
//! let rng = rand::rngs::StdRng::seed_from_u64(1);
//! let mut endpoint = Endpoint::new(EndpointConfig::default(), Box::new(rng));
//! let peer = PeerConfig::new("192.0.2.1".parse()?, "198.51.100.7".parse()?, Psk::new("correct horse"));
//! endpoint.set_peer(Instant::now(), PeerId(1), peer);
//! while let Some(work) = endpoint.poll_work() {
//!     let done = std::thread::spawn(|| work.run()).join().expect("work does not panic");
//!     endpoint.handle_done(Instant::now(), done);
//! }
//! let first = endpoint.poll_transmit().expect("IKE_SA_INIT goes out at once");
//! assert_eq!(first.remote, "198.51.100.7:500".parse()?);
//! # Ok::<(), std::net::AddrParseError>(())
//! ```
//!
//! # Layers
//! - [`wire`]: codecs of messages and payloads;
//! - [`crypto`]: Diffie-Hellman groups, PRFs, ciphers, key derivation;
//! - `certificate` (private): our certificate, the authorities we trust, the check of a peer's;
//! - `sa` (private): the state machine of one IKE SA with its Child SAs;
//! - [`endpoint`]: many peers, which of their SAs counts, timers, retries and events.
#![forbid(unsafe_code)]

pub mod crypto;
pub mod endpoint;
pub mod proposal;
pub mod wire;

mod certificate;
mod config;
mod der;
mod event;
mod key_export;
mod proposal_choice;
mod proposal_names;
mod proposal_refused;
mod proposal_text;
mod sa;
mod status;

pub use certificate::{CertificateError, Credentials, TrustAnchors};
pub use config::{
    Auth, Backoff, CertificateAuth, ConnectionMode, DistinguishedName, EndpointConfig, FRAGMENT_SIZES,
    Identity, IdentityError, PeerConfig, PeerId, Psk, RetransmitPolicy,
};
pub use crypto::{DhGroup, EspAead, IkeAead, IkeCbc, Integrity, Prf, SecureRng};
pub use endpoint::{Done, Endpoint, Work};
pub use event::{EspSa, Event, PeerState, Transmit};
pub use key_export::ExportedIkeKeys;
pub use proposal::{EspProposal, IkeEncryption, IkeProposal};
pub use proposal_text::ProposalError;
pub use status::{ChildStatus, IkeSaStatus, PeerStatus};
pub use wire::AddressRange;
