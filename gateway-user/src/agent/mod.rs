//! The agent: one process that runs the gateway of one VNet.
//!
//! ```text
//! run      prepares everything, then runs the loop below until SIGTERM or SIGINT
//! runtime  the loop: sockets, timers, signals, commands and datapath events, one at a time
//! workers  threads for the cryptography of IKE
//! resolver threads that look up names of peers
//! writer   files of the state directory, beside the loop
//! core     all state; driven by function calls, no sockets, no clock
//! ```

mod certificate_reader;
mod certificates;
mod core;
mod dataplane;
pub mod events;
mod interface;
mod key_log;
mod lock;
mod prepare;
mod profile;
mod resolver;
mod runtime;
mod settings;
mod sockets;
mod terms;
#[cfg(test)]
mod test_support;
mod throttle;
mod workers;
mod writer;

pub use crate::model::{Bandwidth, BandwidthError};
pub use certificates::{CertificateFileError, CertificateFiles};
pub use interface::InterfaceError;
pub use key_log::KeyLogError;
pub use lock::LockError;
pub use runtime::run;
pub use settings::{Options, Peering};
