//! An attacker's place on a wire: sees frames and sends his own.

use crate::{NetNs, capture};
use anyhow::{Context as _, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv, send};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Mutex;

/// A packet socket on one end of a cable.
#[derive(Debug)]
pub struct RawPort {
    socket: OwnedFd,
    /// Room for one GRO super-packet, which is not to be made for each frame.
    buffer: Mutex<Vec<u8>>,
}

impl RawPort {
    /// Opens `device` in `namespace`.
    ///
    /// # Errors
    /// There is no such device.
    pub fn open(namespace: &NetNs, device: &str) -> Result<Self> {
        Ok(Self::new(namespace.enter(|| capture::open(device))??))
    }

    /// Opens `device` in the network namespace of the calling thread.
    ///
    /// # Errors
    /// There is no such device.
    pub fn open_here(device: &str) -> Result<Self> {
        Ok(Self::new(capture::open(device)?))
    }

    fn new(socket: OwnedFd) -> Self {
        Self { socket, buffer: Mutex::new(vec![0; 1 << 16]) }
    }

    /// The next frame that others sent or received there, its Ethernet header included; `None` if there is none for 50 ms.
    ///
    /// # Errors
    /// The device is gone.
    pub fn receive(&self) -> Result<Option<Vec<u8>>> {
        self.receive_with(MsgFlags::empty())
    }

    /// As [`Self::receive`], but only a frame that is there already.
    ///
    /// # Errors
    /// The device is gone.
    pub fn receive_now(&self) -> Result<Option<Vec<u8>>> {
        self.receive_with(MsgFlags::MSG_DONTWAIT)
    }

    fn receive_with(&self, flags: MsgFlags) -> Result<Option<Vec<u8>>> {
        let mut buffer = self.buffer.lock().expect("no holder panics");
        match recv(self.socket.as_raw_fd(), &mut buffer, flags) {
            Ok(length) => Ok(Some(buffer[..length].to_vec())),
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(None),
            Err(error) => Err(error).context("cannot receive frames"),
        }
    }

    /// Sends a frame as it is; false if the queue at the other end is full.
    ///
    /// # Errors
    /// The device takes no such frame.
    pub fn try_send(&self, frame: &[u8]) -> Result<bool> {
        match send(self.socket.as_raw_fd(), frame, MsgFlags::empty()) {
            Ok(_) => Ok(true),
            Err(Errno::ENOBUFS | Errno::EAGAIN) => Ok(false),
            Err(error) => Err(error).context("cannot send a frame"),
        }
    }

    /// Sends a frame as it is.
    ///
    /// # Errors
    /// The device takes no such frame.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        let sent = send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).context("cannot send a frame")?;
        ensure!(sent == frame.len(), "{sent} of {} bytes were sent", frame.len());
        Ok(())
    }
}
