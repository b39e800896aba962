//! Network configuration files: reading, checking and writing.

mod error;

pub use error::{ErrorKind, NetcfgError, Report};
