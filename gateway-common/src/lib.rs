//! Types shared by the XDP programs and the agent.
//!
//! Everything here is plain old data with a fixed layout (`repr(C)`): the agent writes these structures into BPF maps
//! and the XDP programs read them in place. Multi-byte fields are in host byte order unless a field says otherwise.
//! The crate depends on nothing, not even on `std`.
#![no_std]

pub mod aes;
pub mod budget;
mod capture;
mod config;
mod counters;
pub mod df;
mod drop_reason;
pub mod dscp;
pub mod ecn;
mod ethernet;
mod event;
mod flow;
mod handoff;
pub mod icmp;
pub mod ip;
mod ipv4;
mod ipv6;
mod job;
mod lane;
pub mod limits;
pub mod mss;
mod port;
pub mod port_entropy;
pub mod replay;
mod route;
mod sa;
mod shared_word;
mod slot;
pub mod trailer;
mod tunnel;
mod way_answer;
pub mod wire;

pub use budget::{Budget, BudgetCounters, RoundMeter, Share, ShareMeter};
pub use capture::{Capture, CapturePoint, CaptureRecord};
pub use config::GatewayConfig;
pub use counters::TunnelCounters;
pub use drop_reason::DropReason;
pub use ethernet::Ethernet;
pub use event::{Event, EventKind};
pub use flow::{Flow, FlowKey};
pub use handoff::{ETHERTYPE_RETURN, Handoff, ReturnHeader, ReturnKind};
pub use ip::Ip;
pub use ipv4::Ipv4;
pub use ipv6::Ipv6;
pub use job::{Job, ProgramSlot};
pub use lane::{Control, Lane, LaneState};
pub use port::{Port, PortRole};
pub use route::{Route, RouteKind};
pub use sa::{Aead, GhashTables, Sa, SaFlags, SpiKey};
pub use shared_word::SharedWord;
pub use slot::Slot;
pub use tunnel::Tunnel;
pub use way_answer::WayAnswer;

/// Marks a type whose every bit pattern is a valid value and which has no padding that user space would leak.
///
/// # Safety
/// The type must be `repr(C)`, hold only integers and arrays of integers, and contain no implicit padding.
pub unsafe trait Pod: Copy + 'static {}

// SAFETY: one integer.
unsafe impl Pod for u64 {}
