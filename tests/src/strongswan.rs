//! strongSwan as a foreign gateway.
//!
//! A [`Charon`] is the daemon in a gateway's namespace, with a configuration, a control socket and a log of its own, so
//! that several run side by side. ESP is done by its plugin `kernel-libipsec` in user space over a TUN device, which
//! works on every kernel and always puts ESP into UDP: it makes NAT detection find a NAT.

mod charon;
mod configuration;
mod message;
mod sas;

pub use charon::{Charon, strongswan_missing};
pub use configuration::{Authentication, Daemon, Peering};
pub use sas::{ChildSa, IkeSa};
