//! A generator inside the kernel: one XDP program, run on live frames, that writes headers and redirects.

use std::net::Ipv4Addr;

use anyhow::Result;
use xdp_harness::frames::{Ip, pattern, udp};

use crate::bpf::programs;
use crate::bpf::{Link, Program};

/// Ethernet, IPv4 and UDP header.
const HEADERS: usize = 14 + 20 + 8;
const UDP_PORT: u16 = 9;

/// Who sends to whom.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) source_mac: [u8; 6],
    pub(super) destination_mac: [u8; 6],
    pub(super) source: Ipv4Addr,
    pub(super) destination: Ipv4Addr,
}

/// Sends frames of one size out of one interface as fast as one processor can.
///
/// The headers are written anew for every frame, since the kernel recycles memory in which a gateway has worked.
pub(super) struct Generator {
    program: Program,
    frame: Vec<u8>,
    /// For each run of a program that is attached nowhere the kernel patches its code and waits for all processors.
    _known: Link,
}

impl Generator {
    /// A generator of UDP packets of `bytes` bytes, IP header included, out of the interface with index `interface`.
    ///
    /// # Errors
    /// The kernel refuses the program.
    pub(super) fn new(interface: u32, addresses: &Addresses, bytes: usize) -> Result<Self> {
        let ip = Ip::new(addresses.source, addresses.destination);
        let packet = ip.packet(&udp(UDP_PORT, UDP_PORT, &pattern(bytes - 28)));
        let frame = [&addresses.destination_mac[..], &addresses.source_mac, &[0x08, 0x00], &packet].concat();
        let program = programs::write_and_redirect(&frame[..HEADERS], interface)?;
        let known = program.attach_generic("lo")?;
        Ok(Self { program, frame, _known: known })
    }

    /// Sends `count` frames; the calling thread must be in the interface's namespace.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(super) fn send(&self, count: u32) -> Result<()> {
        self.program.inject(&self.frame, count)
    }
}
