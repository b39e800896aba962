//! The load generators: UDP at a given rate or as fast as it goes, by the kernel or by sockets, TCP streams, and round trips;
//! host A sends, host B receives and counts.

mod batch;
mod echo;
mod interval;
mod light;
mod pacer;
mod packet;
mod place;
mod receiver;
mod sender;
mod sequence;
mod tcp;
mod udp;

pub(crate) use echo::{Echo, RoundTrips};
pub(crate) use light::LightGenerator;
pub(crate) use packet::PacketSize;
pub(crate) use place::Placement;
pub(crate) use tcp::streams;
pub(crate) use udp::{Delivery, Generator, Load, Rate};
