//! Network laboratory for end-to-end tests.
//!
//! [`Lab`] builds hosts, gateways and an "internet" out of network namespaces; [`Agent`] runs `vgw agent` in a gateway
//! namespace and talks to it with the command-line client. The rest are the instruments: traffic with verified
//! content ([`traffic`]), a packet capture ([`Capture`]), `ping`, `iperf3`, and a check of what this machine can do
//! ([`Probe`]). `cargo xtask lab` and the tests in `tests/` share all of it.
//!
//! Everything a lab makes (namespaces, directories, pinned maps) carries the name of its [`Scope`], so that a later run
//! can remove what a killed one left behind ([`sweep_stale`]).

mod agent;
mod capture;
mod command;
mod dual_stack;
mod flood;
mod fragments;
mod gateway_options;
mod ike_init;
mod iperf;
mod nat;
mod netcfg;
mod netns;
mod offload;
mod ping;
mod probe;
mod process;
mod raw_port;
mod scenario;
mod scope;
mod skip;
pub mod strongswan;
mod sweep;
mod topology;
pub mod traffic;
mod vgw;
mod wait;

pub use agent::Agent;
pub use capture::{Capture, CaptureReport, PacketClass};
pub use command::{output_of, run, try_run};
pub use dual_stack::Family;
pub use flood::{Attacker, FloodKind};
pub use fragments::{Fragmented, FragmentingRouter};
pub use gateway_options::{CertificateFiles, GatewayOptions, HandOver};
pub use ike_init::ike_init_request;
pub use iperf::{IperfReport, Transport, iperf};
pub use nat::Nat;
pub use netcfg::{LocalSite, NetCfg, VNet};
pub use netns::NetNs;
pub use ping::{PingReport, ping};
pub use probe::Probe;
pub use process::Process;
pub use raw_port::RawPort;
pub use scenario::{scenario, scenario_in};
pub use scope::Scope;
pub use skip::{SKIP_MARKER, skip_unless_capable};
pub use sweep::{leftovers, remove_scope, sweep_stale};
pub use topology::{Lab, LabBuilder, Site};
pub use vgw::{Vgw, vgw_binary};
pub use wait::{poll_until, wait_until};
