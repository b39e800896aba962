//! Traffic whose content is verified where it arrives.
//!
//! A helper is a thread with a socket that was opened inside a namespace; no program needs to be installed there.

mod datagrams;
mod echo;
mod pattern;
mod socket;
mod stream;

pub use datagrams::{DatagramReport, DatagramSink, send_datagrams, send_datagrams_while};
pub use echo::{EchoClient, UdpEcho};
pub use stream::{StreamSink, send_stream};
