//! Many datagrams per system call.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::ptr;

use super::packet::Header;

/// Datagrams per call.
pub(super) const BATCH: usize = 64;
/// Room for one payload.
const ROOM: usize = 1500;

/// Payloads to send.
pub(super) struct SendBatch {
    payloads: Vec<[u8; ROOM]>,
    lengths: [usize; BATCH],
    filled: usize,
}

impl SendBatch {
    pub(super) fn new() -> Self {
        Self { payloads: vec![[0x5a; ROOM]; BATCH], lengths: [0; BATCH], filled: 0 }
    }

    /// Empties the batch.
    pub(super) fn clear(&mut self) {
        self.filled = 0;
    }

    /// Adds a payload of `length` bytes that begins with `header`. There is room for [`BATCH`] of them.
    pub(super) fn push(&mut self, header: Header, length: usize) {
        header.write(&mut self.payloads[self.filled][..length]);
        self.lengths[self.filled] = length;
        self.filled += 1;
    }

    /// Sends the payloads on a connected socket; returns how many went.
    ///
    /// # Errors
    /// The first one could not be sent.
    pub(super) fn send(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let mut vectors = [EMPTY; BATCH];
        for ((vector, payload), length) in vectors.iter_mut().zip(&mut self.payloads).zip(self.lengths) {
            *vector = libc::iovec { iov_base: payload.as_mut_ptr().cast(), iov_len: length };
        }
        let mut messages = vectors.each_mut().map(message);
        // SAFETY: the first `filled` messages refer to one vector each, and that to an initialised payload that is longer
        // than its length; all of them live until the call returns.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), self.filled as libc::c_uint, 0)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }
}

/// Heads of payloads that arrived. The rest of each payload is not copied, which a counter has no use for.
pub(super) struct ReceiveBatch {
    heads: [[u8; Header::LEN]; BATCH],
}

impl ReceiveBatch {
    pub(super) fn new() -> Self {
        Self { heads: [[0; Header::LEN]; BATCH] }
    }

    /// Waits for a datagram, as long as the socket's time-out says, and takes what else is there. Returns the heads of
    /// those that are long enough to have one.
    ///
    /// # Errors
    /// Nothing arrived in time, or the socket is broken.
    pub(super) fn receive(&mut self, socket: &UdpSocket) -> io::Result<impl Iterator<Item = Header>> {
        let mut vectors = [EMPTY; BATCH];
        for (vector, head) in vectors.iter_mut().zip(&mut self.heads) {
            *vector = libc::iovec { iov_base: head.as_mut_ptr().cast(), iov_len: Header::LEN };
        }
        let mut messages = vectors.each_mut().map(message);
        // SAFETY: each message refers to one vector, and that to a head of exactly its length; all of them live until the
        // call returns.
        let received = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                messages.as_mut_ptr(),
                BATCH as libc::c_uint,
                libc::MSG_WAITFORONE,
                ptr::null_mut(),
            )
        };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        let lengths = messages.map(|message| message.msg_len as usize);
        let whole = self.heads[..received].iter().zip(lengths).filter(|(_, length)| *length == Header::LEN);
        Ok(whole.map(|(head, _)| Header::read(head)))
    }
}

const EMPTY: libc::iovec = libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 };

fn message(vector: &mut libc::iovec) -> libc::mmsghdr {
    libc::mmsghdr {
        msg_hdr: libc::msghdr {
            msg_name: ptr::null_mut(),
            msg_namelen: 0,
            msg_iov: vector,
            msg_iovlen: 1,
            msg_control: ptr::null_mut(),
            msg_controllen: 0,
            msg_flags: 0,
        },
        msg_len: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_batch_arrives_in_order() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        // Too short to be one of ours.
        sender.send(b"short").unwrap();
        let sent: Vec<Header> = (0..10).map(|sequence| Header { load: 1, flow: 2, sequence }).collect();
        let mut batch = SendBatch::new();
        for (length, header) in (20..).zip(&sent) {
            batch.push(*header, length);
        }
        assert_eq!(batch.send(&sender).unwrap(), sent.len());

        let mut received = Vec::new();
        let mut batch = ReceiveBatch::new();
        while received.len() < sent.len() {
            received.extend(batch.receive(&receiver).unwrap());
        }
        assert_eq!(received, sent);
    }
}
