//! Captures of packets: what user space makes of the frames that the datapath copies.
//!
//! ```text
//! packet   a copied frame, told apart by side and direction      filter   which of them are wanted
//! headers  addresses and ports of a frame                        pcapng   how they are written
//! feed     all of it together: copied frames in, pcapng out
//! ```

mod feed;
mod filter;
mod headers;
mod packet;
pub mod pcapng;

pub use feed::CaptureFeed;
pub use filter::Filter;
pub use packet::{Context, Direction, Packet, Side};
