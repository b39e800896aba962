//! Many datagrams per system call.

use std::io;
use std::net::UdpSocket;
use std::os::fd::AsRawFd as _;
use std::ptr;

use super::packet::Header;

/// Datagrams per call.
pub(super) const BATCH: usize = 64;
/// Bytes of datagrams that the kernel takes in one piece to cut them apart itself.
const MOST_BYTES: usize = 65_507;
/// Room of a control message with one 16-bit number, in bytes.
const CONTROL: usize = 24;

/// Payloads to send. Those of equal length that follow each other go to the kernel in one piece, which cuts it into datagrams
/// (`UDP_SEGMENT` of udp(7)) before they reach the port: that saves most of the sender's time and changes nothing on the link.
pub(super) struct SendBatch {
    bytes: Vec<u8>,
    runs: Vec<Run>,
    packets: usize,
}

/// Payloads of equal length, one behind the other.
#[derive(Clone, Copy)]
struct Run {
    start: usize,
    length: usize,
    count: usize,
}

impl SendBatch {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::new(), runs: Vec::with_capacity(BATCH), packets: 0 }
    }

    /// Empties the batch.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.runs.clear();
        self.packets = 0;
    }

    /// Adds a payload of `length` bytes that begins with `header`. There is room for [`BATCH`] of them.
    pub(super) fn push(&mut self, header: Header, length: usize) {
        assert!(self.packets < BATCH, "the batch is full");
        let start = self.bytes.len();
        self.bytes.resize(start + length, FILLER);
        header.write(&mut self.bytes[start..]);
        self.packets += 1;
        match self.runs.last_mut() {
            Some(run) if run.length == length && (run.count + 1) * length <= MOST_BYTES => run.count += 1,
            _ => self.runs.push(Run { start, length, count: 1 }),
        }
    }

    /// Sends the payloads on a connected socket; returns how many went.
    ///
    /// # Errors
    /// The first ones could not be sent.
    pub(super) fn send(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        let mut vectors = [EMPTY; BATCH];
        let mut controls = [Control([0; CONTROL]); BATCH];
        for ((vector, control), run) in vectors.iter_mut().zip(&mut controls).zip(&self.runs) {
            let run_bytes = &mut self.bytes[run.start..][..run.length * run.count];
            *vector = libc::iovec { iov_base: run_bytes.as_mut_ptr().cast(), iov_len: run_bytes.len() };
            *control = Control::segment(run.length as u16);
        }
        let mut messages = vectors.each_mut().map(message);
        for (message, control) in messages.iter_mut().zip(&mut controls) {
            message.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            message.msg_hdr.msg_controllen = CONTROL as _;
        }
        let count = self.runs.len();
        // SAFETY: the first `count` messages refer to one vector and one control message each, and these to initialised bytes
        // of the lengths given; all of them live until the call returns.
        let sent =
            unsafe { libc::sendmmsg(socket.as_raw_fd(), messages.as_mut_ptr(), count as libc::c_uint, 0) };
        let sent = usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
        Ok(self.runs[..sent].iter().map(|run| run.count).sum())
    }
}

/// A control message as cmsg(3) lays it out on 64-bit machines: length, level, type, data, padding.
#[derive(Clone, Copy)]
#[repr(align(8))]
struct Control([u8; CONTROL]);

impl Control {
    /// Has the kernel cut the data into datagrams of `length` bytes.
    fn segment(length: u16) -> Self {
        let mut bytes = [0; CONTROL];
        bytes[..8].copy_from_slice(&(16 + size_of::<u16>()).to_ne_bytes());
        bytes[8..12].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        bytes[12..16].copy_from_slice(&libc::UDP_SEGMENT.to_ne_bytes());
        bytes[16..18].copy_from_slice(&length.to_ne_bytes());
        Self(bytes)
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

/// What payloads are filled with.
const FILLER: u8 = 0x5a;

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
    fn a_batch_arrives_in_order_as_datagrams_of_its_own_each() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        receiver.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        // Too short to be one of ours.
        sender.send(b"short").unwrap();
        let sent: Vec<Header> = (0..10).map(|sequence| Header { load: 1, flow: 2, sequence }).collect();
        let mut batch = SendBatch::new();
        for (length, header) in [20, 20, 20, 500, 500, 21, 1400, 1400, 1400, 22].into_iter().zip(&sent) {
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

    #[test]
    fn a_full_batch_of_long_payloads_is_sent() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(receiver.local_addr().unwrap()).unwrap();
        let mut batch = SendBatch::new();
        for _ in 0..2 {
            batch.clear();
            for sequence in 0..BATCH as u64 {
                batch.push(Header { load: 1, flow: 2, sequence }, 1372);
            }
            assert_eq!(batch.send(&sender).unwrap(), BATCH);
        }
    }
}
