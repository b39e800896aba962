//! One interface: the lanes of a worker on it, and sending.

use anyhow::Result;
use xsk::{Frame, Socket, Wake};

use super::lane::Lane;

/// Calls that send the frames of one round, at most. The kernel sends at least 32 frames per call, or as many as the option
/// says.
const SEND_CALLS: u32 = 8;

/// An interface of the gateway.
pub(super) struct Port<'umem> {
    /// Interface index.
    pub(super) index: u32,
    /// At least one; frames are sent on the socket of the first.
    pub(super) lanes: Vec<Lane<'umem>>,
    /// Whether frames were put into the send ring since the last flush, or were left there by it.
    is_pending: bool,
}

impl<'umem> Port<'umem> {
    pub(super) fn new(index: u32, lanes: Vec<Lane<'umem>>) -> Self {
        assert!(!lanes.is_empty(), "a port has a lane to send on");
        Self { index, lanes, is_pending: false }
    }

    /// Puts a frame into the send ring, to go with the next flush. Gives it back if there is no room even after a flush.
    #[inline]
    pub(super) fn send(
        &mut self,
        frame: Frame<'umem>,
        free: &mut Vec<Frame<'umem>>,
    ) -> Result<(), Frame<'umem>> {
        self.is_pending = true;
        let Err(frame) = self.socket().send(frame) else { return Ok(()) };
        // A failure shows at the regular flush, too.
        let _ = self.flush(free);
        self.is_pending = true;
        self.socket().send(frame)
    }

    /// Sends what is in the send ring, and collects the chunks of what was sent before. True if frames are left.
    ///
    /// # Errors
    /// The kernel refuses for a reason that does not pass.
    #[inline]
    pub(super) fn flush(&mut self, free: &mut Vec<Frame<'umem>>) -> Result<bool> {
        if !self.is_pending {
            return Ok(false);
        }
        let socket = self.socket();
        socket.publish_send();
        let mut unsent = socket.unsent();
        for _ in 0..SEND_CALLS {
            // Chunks that were sent must be collected before the kernel can send more.
            collect(socket, free);
            if unsent == 0 || !socket.send_needs_wakeup() || socket.wake_send()? == Wake::Down {
                break;
            }
            let left = socket.unsent();
            if left == unsent {
                break;
            }
            unsent = left;
        }
        collect(socket, free);
        let is_left = socket.unsent() > 0;
        self.is_pending = is_left;
        Ok(is_left)
    }

    /// Whether frames wait in the send ring.
    pub(super) fn is_pending(&self) -> bool {
        self.is_pending
    }

    /// Collects the chunks of what was sent.
    #[inline]
    pub(super) fn collect(&mut self, free: &mut Vec<Frame<'umem>>) {
        collect(self.socket(), free);
    }

    fn socket(&mut self) -> &mut Socket<'umem> {
        &mut self.lanes[0].socket
    }
}

#[inline]
fn collect<'umem>(socket: &mut Socket<'umem>, free: &mut Vec<Frame<'umem>>) {
    let before = free.len();
    while let Some(frame) = socket.sent() {
        free.push(frame);
    }
    if free.len() != before {
        socket.release_sent();
    }
}
