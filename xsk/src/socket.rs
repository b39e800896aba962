//! A socket on one queue of one interface.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::error::{Error, Step};
use crate::frame::Frame;
use crate::ring::{Consumer, Producer};
use crate::sys;
use crate::umem::{Registration, Umem};

/// Entries of the four rings of a socket, each a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Frames to receive into.
    pub fill: u32,
    /// Received frames.
    pub receive: u32,
    /// Frames to send.
    pub send: u32,
    /// Sent frames.
    pub completion: u32,
}

impl Sizes {
    /// The same size for all.
    pub const fn all(entries: u32) -> Self {
        Self { fill: entries, receive: entries, send: entries, completion: entries }
    }
}

/// How to make a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Entries of the rings.
    pub sizes: Sizes,
    /// Try to do without copies. Where the driver cannot, the socket copies.
    pub zero_copy: bool,
    /// Most frames that the kernel sends per call in copy mode (`XDP_MAX_TX_SKB_BUDGET`, since Linux 6.17; 32 before and by
    /// default). Values that the kernel would refuse are brought into its range.
    pub send_budget: Option<u32>,
    /// Memory that packets may occupy between the socket and the interface in copy mode, in bytes (`SO_SNDBUFFORCE`, which
    /// needs CAP_NET_ADMIN).
    pub send_buffer: Option<u32>,
}

/// Whether the kernel copies packets between the socket's memory and the driver's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The driver works on the socket's memory.
    ZeroCopy,
    /// The kernel copies.
    Copy,
}

/// What became of the frames in the send ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The kernel has taken, or is taking, all of them.
    Done,
    /// Some are left: the kernel had done its share, the interface's queue was full, or memory was short. Call again later.
    More,
    /// The interface is down or gone; the frames stay in the ring.
    Down,
}

/// Counters of the kernel (`XDP_STATISTICS`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Packets dropped because they were too long, because the fill ring was empty (copy mode), or while the socket was being
    /// closed.
    pub receive_dropped: u64,
    /// Packets dropped because the receive ring was full.
    pub receive_ring_full: u64,
    /// Times that the kernel found no frame in the fill ring.
    pub fill_ring_empty: u64,
    /// Entries of the fill ring that made no sense.
    pub invalid_fill: u64,
    /// Entries of the send ring that made no sense.
    pub invalid_send: u64,
}

/// An AF_XDP socket, bound to one queue of one interface.
///
/// Frames in its rings when it is dropped are lost until the [`Umem`] is gone. The queue is free for another socket when the
/// socket is dropped, or when the `Umem` is, if the socket was the first of it.
#[derive(Debug)]
pub struct Socket<'umem> {
    fd: OwnedFd,
    umem: &'umem Umem,
    fill: Producer<u64>,
    received: Consumer<libc::xdp_desc>,
    send: Producer<libc::xdp_desc>,
    sent: Consumer<u64>,
    interface: String,
    queue: u32,
    mode: Mode,
}

impl<'umem> Socket<'umem> {
    /// Makes a socket and binds it to `queue` of `interface`, for receiving and for sending.
    ///
    /// # Errors
    /// A ring size is no power of two, the interface has no such queue, another socket is bound to it, or the kernel refuses
    /// for want of privileges (CAP_NET_RAW) or memory.
    pub fn bind(umem: &'umem Umem, interface: &str, queue: u32, options: &Options) -> Result<Self, Error> {
        let sizes = options.sizes;
        for (what, value) in [
            ("the size of a fill ring", sizes.fill),
            ("the size of a receive ring", sizes.receive),
            ("the size of a send ring", sizes.send),
            ("the size of a completion ring", sizes.completion),
        ] {
            if !value.is_power_of_two() {
                return Err(Error::Size { what, rule: "a power of two", value: value as usize });
            }
        }
        let place = Place { interface, queue };
        let index =
            sys::interface_index(interface).map_err(|source| place.error(Step::FindInterface, source))?;
        if options.zero_copy
            && let Ok(socket) = Self::bind_as(umem, &place, index, Mode::ZeroCopy, options)
        {
            return Ok(socket);
        }
        Self::bind_as(umem, &place, index, Mode::Copy, options)
    }

    /// Frames that were received and not taken yet.
    #[inline]
    pub fn received(&mut self) -> u32 {
        self.received.available()
    }

    /// Takes a received frame. Its place in the ring is given back by [`Self::release_received`].
    #[inline]
    pub fn receive(&mut self) -> Option<Frame<'umem>> {
        let descriptor = self.received.pop()?;
        // SAFETY: the kernel put the packet there and gave the chunk up.
        unsafe { self.umem.frame(descriptor.addr, descriptor.len) }
    }

    /// Gives the kernel the places of the frames that were taken.
    #[inline]
    pub fn release_received(&mut self) {
        self.received.release();
    }

    /// Gives the kernel a chunk to receive into, from [`Self::publish_fill`] on; gives it back if the ring is full.
    ///
    /// # Panics
    /// The frame belongs to another [`Umem`].
    #[inline]
    pub fn fill(&mut self, frame: Frame<'umem>) -> Result<(), Frame<'umem>> {
        let address = self.umem.address(&frame).expect(OTHER_MEMORY);
        // The kernel finds the chunk from any address within it.
        if self.fill.push(address) { Ok(()) } else { Err(frame) }
    }

    /// Shows the kernel the frames to receive into.
    #[inline]
    pub fn publish_fill(&mut self) {
        self.fill.publish();
    }

    /// Places in the fill ring.
    #[inline]
    pub fn fill_room(&mut self) -> u32 {
        self.fill.room()
    }

    /// Whether the driver waits for [`Self::wake_receive`] before it looks at the fill ring.
    #[inline]
    pub fn fill_needs_wakeup(&self) -> bool {
        self.fill.needs_wakeup()
    }

    /// Makes the driver look at the fill ring.
    ///
    /// # Errors
    /// The kernel refuses for a reason that is not passing.
    pub fn wake_receive(&self) -> Result<(), Error> {
        match sys::kick_rx(self.fd.as_fd()) {
            Ok(()) => Ok(()),
            Err(source) if passing(&source).is_some() => Ok(()),
            Err(source) => Err(self.place().error(Step::Receive, source)),
        }
    }

    /// Puts a frame into the send ring, to be sent after [`Self::publish_send`] and a [`Self::wake_send`]; gives it back if
    /// the ring is full.
    ///
    /// # Panics
    /// The frame belongs to another [`Umem`].
    #[inline]
    pub fn send(&mut self, frame: Frame<'umem>) -> Result<(), Frame<'umem>> {
        let addr = self.umem.address(&frame).expect(OTHER_MEMORY);
        let descriptor = libc::xdp_desc { addr, len: frame.len() as u32, options: 0 };
        if self.send.push(descriptor) { Ok(()) } else { Err(frame) }
    }

    /// Shows the kernel the frames to send.
    #[inline]
    pub fn publish_send(&mut self) {
        self.send.publish();
    }

    /// Frames in the send ring that the kernel has not taken.
    #[inline]
    pub fn unsent(&mut self) -> u32 {
        self.send.pending()
    }

    /// Whether frames in the send ring stay there until [`Self::wake_send`]; always so in copy mode.
    #[inline]
    pub fn send_needs_wakeup(&self) -> bool {
        self.send.needs_wakeup()
    }

    /// Makes the kernel send what is in the send ring, as far as it gets without waiting.
    ///
    /// # Errors
    /// The kernel refuses for a reason that is not passing.
    #[inline]
    pub fn wake_send(&self) -> Result<Wake, Error> {
        match sys::kick_tx(self.fd.as_fd()) {
            Ok(()) => Ok(Wake::Done),
            Err(source) => passing(&source).ok_or_else(|| self.place().error(Step::Send, source)),
        }
    }

    /// Takes a chunk whose packet was sent, or could not be sent for good. Its place in the ring is given back by
    /// [`Self::release_sent`].
    #[inline]
    pub fn sent(&mut self) -> Option<Frame<'umem>> {
        let address = self.sent.pop()?;
        // SAFETY: the kernel is done with the chunk and gave it up.
        unsafe { self.umem.frame(address, 0) }
    }

    /// Gives the kernel the places of the chunks that were taken.
    #[inline]
    pub fn release_sent(&mut self) {
        self.sent.release();
    }

    /// Whether the kernel copies.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Name of the interface.
    pub fn interface(&self) -> &str {
        &self.interface
    }

    /// Number of the queue.
    pub fn queue(&self) -> u32 {
        self.queue
    }

    /// The kernel's counters.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn statistics(&self) -> Result<Statistics, Error> {
        let raw: libc::xdp_statistics = sys::option(self.fd.as_fd(), libc::SOL_XDP, libc::XDP_STATISTICS)
            .map_err(|source| self.place().error(Step::Query, source))?;
        Ok(Statistics {
            receive_dropped: raw.rx_dropped,
            receive_ring_full: raw.rx_ring_full,
            fill_ring_empty: raw.rx_fill_ring_empty_descs,
            invalid_fill: raw.rx_invalid_descs,
            invalid_send: raw.tx_invalid_descs,
        })
    }

    fn place(&self) -> Place<'_> {
        Place { interface: &self.interface, queue: self.queue }
    }

    fn bind_as(
        umem: &'umem Umem,
        place: &Place<'_>,
        index: u32,
        mode: Mode,
        options: &Options,
    ) -> Result<Self, Error> {
        let at = |step| move |source| place.error(step, source);
        let fd = sys::xdp_socket().map_err(at(Step::Create))?;
        // Held until the end, so that of two sockets that are bound at once one is the first.
        let mut registrations = umem.registrations();
        let zero_copy = mode == Mode::ZeroCopy;
        let shared = registrations.iter().find(|registration| registration.zero_copy == zero_copy);
        if shared.is_none() {
            umem.register(fd.as_fd()).map_err(at(Step::RegisterMemory))?;
        }
        let rings = Rings::make(fd.as_fd(), &options.sizes).map_err(at(Step::MakeRings))?;
        set_options(fd.as_fd(), options).map_err(at(Step::SetOption))?;
        let flags = match (shared, mode) {
            (Some(_), _) => libc::XDP_SHARED_UMEM,
            (None, Mode::ZeroCopy) => libc::XDP_ZEROCOPY | libc::XDP_USE_NEED_WAKEUP,
            (None, Mode::Copy) => libc::XDP_COPY | libc::XDP_USE_NEED_WAKEUP,
        };
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: flags,
            sxdp_ifindex: index,
            sxdp_queue_id: place.queue,
            sxdp_shared_umem_fd: shared.map_or(0, |registration| {
                use std::os::fd::AsRawFd as _;
                registration.fd().as_raw_fd().cast_unsigned()
            }),
        };
        sys::bind(fd.as_fd(), &address).map_err(at(Step::Bind))?;
        if shared.is_none() {
            let owner = fd.try_clone().map_err(at(Step::Create))?;
            registrations.push(Registration { owner, zero_copy });
        }
        let Rings { fill, received, send, sent } = rings;
        let (interface, queue) = (place.interface.to_owned(), place.queue);
        Ok(Self { fd, umem, fill, received, send, sent, interface, queue, mode })
    }
}

impl AsFd for Socket<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// States the invariant that [`Socket::fill`] and [`Socket::send`] rely on.
const OTHER_MEMORY: &str = "a frame goes to sockets of its own memory only";

struct Place<'a> {
    interface: &'a str,
    queue: u32,
}

impl Place<'_> {
    fn error(&self, step: Step, source: io::Error) -> Error {
        Error::Socket { interface: self.interface.to_owned(), queue: self.queue, step, source }
    }
}

struct Rings {
    fill: Producer<u64>,
    received: Consumer<libc::xdp_desc>,
    send: Producer<libc::xdp_desc>,
    sent: Consumer<u64>,
}

impl Rings {
    fn make(fd: BorrowedFd<'_>, sizes: &Sizes) -> io::Result<Self> {
        for (name, size) in [
            (libc::XDP_UMEM_FILL_RING, sizes.fill),
            (libc::XDP_UMEM_COMPLETION_RING, sizes.completion),
            (libc::XDP_RX_RING, sizes.receive),
            (libc::XDP_TX_RING, sizes.send),
        ] {
            sys::set_option(fd, libc::SOL_XDP, name, &size)?;
        }
        let layout: libc::xdp_mmap_offsets = sys::option(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS)?;
        Ok(Self {
            fill: Producer::map(fd, FILL_PAGES, &layout.fr, sizes.fill)?,
            received: Consumer::map(fd, libc::XDP_PGOFF_RX_RING, &layout.rx, sizes.receive)?,
            send: Producer::map(fd, libc::XDP_PGOFF_TX_RING, &layout.tx, sizes.send)?,
            sent: Consumer::map(fd, COMPLETION_PAGES, &layout.cr, sizes.completion)?,
        })
    }
}

/// Where the fill ring is mapped.
const FILL_PAGES: libc::off_t = libc::XDP_UMEM_PGOFF_FILL_RING.cast_signed();
/// Where the completion ring is mapped.
const COMPLETION_PAGES: libc::off_t = libc::XDP_UMEM_PGOFF_COMPLETION_RING.cast_signed();

fn set_options(fd: BorrowedFd<'_>, options: &Options) -> io::Result<()> {
    /// What the kernel takes at least for `XDP_MAX_TX_SKB_BUDGET`, and its default (`TX_BATCH_SIZE`, `net/xdp/xsk.c`).
    const BUDGET_MIN: u32 = 32;
    if let Some(budget) = options.send_budget
        && options.sizes.send >= BUDGET_MIN
    {
        let budget = budget.clamp(BUDGET_MIN, options.sizes.send);
        match sys::set_option(fd, libc::SOL_XDP, sys::XDP_MAX_TX_SKB_BUDGET, &budget) {
            // The kernel is older than the option.
            Err(error) if error.raw_os_error() == Some(libc::ENOPROTOOPT) => {}
            result => result?,
        }
    }
    if let Some(bytes) = options.send_buffer {
        // The kernel doubles it, for its own book-keeping.
        let value = i32::try_from(bytes / 2).unwrap_or(i32::MAX / 2);
        sys::set_option(fd, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &value)?;
    }
    Ok(())
}

/// What a failed wake-up means, if it is no failure.
fn passing(error: &io::Error) -> Option<Wake> {
    match error.raw_os_error()? {
        libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::ENOMEM | libc::EINTR => Some(Wake::More),
        libc::ENETDOWN | libc::ENXIO | libc::ENODEV => Some(Wake::Down),
        _ => None,
    }
}
