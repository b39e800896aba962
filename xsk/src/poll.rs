//! Waiting for several sockets, and for other descriptors beside them.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::time::Duration;

use crate::error::Error;

/// Descriptors to wait for.
///
/// A packet that arrives between a look at a receive ring and the call of [`Waiter::wait`] is not missed: the kernel looks at
/// the ring itself before it lets the caller sleep. In copy mode the call also sends what is in the send rings.
#[derive(Debug)]
pub struct Waiter {
    polled: Vec<libc::pollfd>,
    /// Keeps the numbers above from naming something else.
    _descriptors: Vec<OwnedFd>,
}

/// What a descriptor has to say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// There is something to read: for a socket, received frames.
    pub readable: bool,
    /// It is closed at the other end, or broken: for a socket, its interface is gone.
    pub ended: bool,
}

impl Waiter {
    /// Waits for `descriptors`, which are asked for by their order. They are usually duplicates
    /// (`socket.as_fd().try_clone_to_owned()`), so that the sockets stay free to use.
    pub fn new(descriptors: impl IntoIterator<Item = OwnedFd>) -> Self {
        let descriptors: Vec<OwnedFd> = descriptors.into_iter().collect();
        let polled = descriptors
            .iter()
            .map(|fd| libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 })
            .collect();
        Self { polled, _descriptors: descriptors }
    }

    /// Sleeps until a descriptor is ready or `timeout` has passed; returns at once for zero. True if one is ready.
    ///
    /// # Errors
    /// The kernel refuses. An interruption by a signal is none.
    pub fn wait(&mut self, timeout: Duration) -> Result<bool, Error> {
        let timeout = libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let (polled, count) = (self.polled.as_mut_ptr(), self.polled.len() as libc::nfds_t);
        // SAFETY: the pointers are valid, the first one for so many elements; no signal mask is given.
        let ready = unsafe { libc::ppoll(polled, count, &raw const timeout, std::ptr::null()) };
        if ready < 0 {
            let error = io::Error::last_os_error();
            for polled in &mut self.polled {
                polled.revents = 0;
            }
            return if error.kind() == io::ErrorKind::Interrupted {
                Ok(false)
            } else {
                Err(Error::Wait(error))
            };
        }
        Ok(ready > 0)
    }

    /// What the last [`Waiter::wait`] found about a descriptor.
    pub fn readiness(&self, index: usize) -> Readiness {
        let events = self.polled[index].revents;
        Readiness {
            readable: events & libc::POLLIN != 0,
            ended: events & (libc::POLLERR | libc::POLLHUP | libc::POLLNVAL) != 0,
        }
    }
}
