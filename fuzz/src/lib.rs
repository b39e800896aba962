//! What the fuzz targets do with their input. A target is a few lines around one function of this crate.
//!
//! - [`codec`]: octets against the parsers of messages and payloads;
//! - [`certificate`]: the DER that peers send;
//! - [`identity`]: identities and distinguished names;
//! - [`session`]: a whole endpoint that responds, in virtual time, against a stranger who sends what he likes, against
//!   one who knows the keys of the IKE SA but not the pre-shared key, and against a peer who knows all of it.
//!
//! Nothing here is random: a run follows from its input.

pub mod certificate;
pub mod codec;
pub mod identity;
pub mod session;

mod peer;
mod piece;
mod world;
