//! AF_XDP sockets (`Documentation/networking/af_xdp.rst` of the kernel).
//!
//! A [`Umem`] is memory that user space and the kernel share, cut into chunks of equal size. A [`Frame`] is one chunk that
//! belongs to user space: there is one handle per chunk, handing it to a ring gives it up, and taking it out of a ring gives
//! it back, so that no safe code can read or write memory that the kernel is using.
//!
//! A [`Socket`] is bound to one queue of one interface. It has four rings: frames to receive into (fill), received frames, frames
//! to send, and sent frames (completion). All sockets of one [`Umem`] may hand each other frames, which is how a frame goes
//! from one interface to another without a copy.
//!
//! ```text
//! umem     the shared memory          frame    handles to its chunks
//! ring     the four rings             socket   a socket and its way from creation to binding
//! poll     waiting for sockets        redirect  an XDP program for those who have none
//! sys      system calls
//! ```
//!
//! A socket receives what an XDP program redirects to it: the gateway's own, or the one in [`Redirect`].

mod error;
mod frame;
mod poll;
mod redirect;
mod ring;
mod socket;
mod sys;
mod umem;

pub use error::{Error, Step};
pub use frame::{Frame, prefetch_line};
pub use poll::{Readiness, Waiter};
pub use redirect::Redirect;
pub use socket::{Mode, Options, Sizes, Socket, Statistics, Wake};
pub use umem::{Chunk, Umem};
