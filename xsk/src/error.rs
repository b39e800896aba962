//! What can go wrong.

use std::fmt;
use std::io;

/// An operation that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The shared memory cannot be made.
    #[error("cannot make {bytes} bytes of memory for packets: {source}")]
    Memory {
        /// Its size.
        bytes: usize,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A size that the kernel would not take.
    #[error("{what} must be {rule}, not {value}")]
    Size {
        /// Which size.
        what: &'static str,
        /// What it must be.
        rule: &'static str,
        /// What it is.
        value: usize,
    },
    /// A socket failed.
    #[error("AF_XDP socket on {interface} queue {queue}: {step} failed: {source}")]
    Socket {
        /// Name of the interface.
        interface: String,
        /// Number of the queue.
        queue: u32,
        /// What was being done.
        step: Step,
        /// The kernel's answer.
        source: io::Error,
    },
    /// Waiting failed.
    #[error("cannot wait for sockets: {0}")]
    Wait(io::Error),
}

impl Error {
    /// Another socket has the queue.
    pub fn is_occupied(&self) -> bool {
        matches!(self, Self::Socket { step: Step::Bind, source, .. } if source.raw_os_error() == Some(libc::EBUSY))
    }
}

/// Steps in the life of a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Making the socket.
    Create,
    /// Finding the interface by its name.
    FindInterface,
    /// Making the shared memory known to the kernel.
    RegisterMemory,
    /// Making or mapping a ring.
    MakeRings,
    /// Setting an option.
    SetOption,
    /// Binding to interface and queue.
    Bind,
    /// Waking the kernel to send.
    Send,
    /// Waking the kernel to receive.
    Receive,
    /// Reading counters or flags.
    Query,
}

impl fmt::Display for Step {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Create => "making the socket",
            Self::FindInterface => "finding the interface",
            Self::RegisterMemory => "registering the shared memory",
            Self::MakeRings => "making the rings",
            Self::SetOption => "setting an option",
            Self::Bind => "binding",
            Self::Send => "sending",
            Self::Receive => "waking the driver to receive",
            Self::Query => "reading the state",
        })
    }
}
