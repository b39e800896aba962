//! The answer.

use std::fmt;
use std::net::IpAddr;

use gateway_common::DropReason;

/// What became of a packet, and why.
#[derive(Clone, Debug)]
pub struct Trace {
    /// The rules in the order in which they were applied.
    pub steps: Vec<TraceStep>,
    /// What became of it.
    pub verdict: TracedVerdict,
    /// The tunnel concerned, once that is known.
    pub tunnel: Option<u32>,
    /// The outbound SA, if it came to that.
    pub sa: Option<TracedSa>,
    /// What the kernel's forwarding table said last, if it was asked.
    pub next_hop: Option<TracedHop>,
}

/// A rule that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceStep {
    /// What was looked at, or the reason of the drop.
    pub rule: &'static str,
    /// Whether the packet went on to the next rule.
    pub passed: bool,
    /// What was found.
    pub detail: String,
}

/// The end of the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TracedVerdict {
    /// Out of the interface with this index.
    Forward(u32),
    /// Into the kernel's stack through `vgw0`.
    Stack,
    /// Left to the kernel as it came.
    Kernel,
    /// Dropped, and counted for the tunnel.
    Drop {
        /// Number of the tunnel, 0 for none.
        tunnel: u32,
        /// Why.
        reason: DropReason,
    },
}

/// State of an outbound SA. No key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedSa {
    /// SPI, host order.
    pub spi: u32,
    /// Its algorithm, such as `aes256gcm16-esn`.
    pub algorithm: String,
    /// Number that the next packet gets.
    pub next_sequence: u64,
    /// Inner bytes that it has carried.
    pub bytes: u64,
    /// Inner bytes until its hard lifetime has passed; `None` without one.
    pub bytes_left: Option<u64>,
    /// Outer address of this gateway.
    pub local: IpAddr,
    /// Outer address of the peer.
    pub remote: IpAddr,
}

/// What the kernel's forwarding table said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TracedHop {
    /// In a few words.
    pub result: &'static str,
    /// Name of the interface.
    pub interface: Option<String>,
    /// Address of the neighbour.
    pub address: Option<IpAddr>,
    /// Hardware address of the neighbour; `None` while it is not known.
    pub mac: Option<String>,
}

impl fmt::Display for TracedHop {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.result)?;
        if let Some(address) = self.address {
            write!(formatter, ", next hop {address}")?;
        }
        if let Some(interface) = &self.interface {
            write!(formatter, " on {interface}")?;
        }
        match &self.mac {
            Some(mac) => write!(formatter, " ({mac})"),
            None => Ok(()),
        }
    }
}

/// An answer that is being written.
#[derive(Debug, Default)]
pub(super) struct Log {
    steps: Vec<TraceStep>,
    pub(super) tunnel: Option<u32>,
    pub(super) sa: Option<TracedSa>,
    pub(super) next_hop: Option<TracedHop>,
}

impl Log {
    /// The packet goes on to the next rule.
    pub(super) fn pass(&mut self, rule: &'static str, detail: impl Into<String>) {
        self.steps.push(TraceStep { rule, passed: true, detail: detail.into() });
    }

    /// It does not.
    pub(super) fn stop(&mut self, rule: &'static str, detail: impl Into<String>) {
        self.steps.push(TraceStep { rule, passed: false, detail: detail.into() });
    }

    pub(super) fn end(self, verdict: TracedVerdict) -> Trace {
        let Self { steps, tunnel, sa, next_hop } = self;
        let tunnel = match verdict {
            TracedVerdict::Drop { tunnel, .. } if tunnel != 0 => Some(tunnel),
            _ => tunnel,
        };
        Trace { steps, verdict, tunnel, sa, next_hop }
    }
}
