//! The far ends of the gateway's cables: a frame goes in at one, and must come out at the right one and nowhere else.
//!
//! Slower than a test run, which does not tell the interface of a redirected frame, and always has room behind the frame.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use testbed::RawPort;

use super::model::Arrival;
use super::network::Interface;

/// Ethernet header.
const HEADER: usize = 14;
/// Longest frame that a cable takes.
const LONGEST: usize = 1514;
/// Longest frame that grows to what a cable takes.
const LONGEST_IN: usize = HEADER + 1400;
/// How long a frame may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);

/// The end of each interface's cable. Those of `vgw0` and its peer are each other.
pub(crate) struct Wire {
    ends: Vec<(Interface, RawPort)>,
}

impl Wire {
    /// Opens the cables of the calling thread's namespace.
    pub(crate) fn open() -> Result<Self> {
        let open = |interface: Interface| Ok((interface, RawPort::open_here(interface.cable_end())?));
        Ok(Self { ends: Interface::ALL.into_iter().map(open).collect::<Result<_>>()? })
    }

    /// Whether a frame can come by cable as it is.
    pub(crate) fn carries(arrival: &Arrival) -> bool {
        arrival.queue == 0 && arrival.frame.len() <= LONGEST_IN
    }

    /// Sends a frame to its interface. What leaves with the Ethernet header `ethernet` goes to `out`.
    ///
    /// # Errors
    /// Nothing leaves with that header, or not where it should, or more than once.
    pub(crate) fn cross(&self, arrival: &Arrival, ethernet: &[u8; HEADER], out: &mut Vec<u8>) -> Result<()> {
        let Some((_, sender)) = self.ends.iter().find(|(interface, _)| *interface == arrival.interface)
        else {
            bail!("no cable leads to {:?}", arrival.interface)
        };
        // Each interface has an address of its own, which frames that leave there bear. Frames for the stack come from the peer
        // of `vgw0`.
        let source = &ethernet[6..12];
        let Some((_, receiver)) = self.ends.iter().find(|(interface, _)| interface.mac() == *source) else {
            bail!("no interface has the address {source:02x?}")
        };
        for (_, end) in &self.ends {
            while end.receive_now()?.is_some() {}
        }
        sender.send(&arrival.frame)?;
        let is_it = |frame: &Vec<u8>| frame.starts_with(ethernet);
        let started = Instant::now();
        loop {
            if let Some(frame) = receiver.receive()?.filter(is_it) {
                *out = frame;
                break;
            }
            ensure!(started.elapsed() < PATIENCE, "nothing left at the cable where it should");
        }
        ensure!(out.len() <= LONGEST, "a frame of {} bytes left", out.len());
        for (interface, end) in &self.ends {
            while let Some(frame) = end.receive_now()? {
                ensure!(!is_it(&frame), "a frame left at {interface:?}, too: {}", hex::encode(frame));
            }
        }
        Ok(())
    }
}
