//! Control of the XDP datapath: loads the programs, keeps their maps and the kernel's routes in step with the tunnels.
//!
//! ```text
//! object   the compiled programs, loaded and linked by tail calls     netdev   interfaces, routes, offloads, sysctls
//! pins     the BPF file system                                        vgw0     the tunnel interface
//! sa_table SAs and their slots        events   what the programs report        stats    what they count
//! engine   what seals and opens       workers  the processes of engine `xsk`
//! cpu_sas  SAs of single receive queues     ipv6     the kernel's IPv6           policy   what is done with a connection's packets
//! budget   the shared bandwidth        slots    how many SAs each tunnel may have     prefixes what leads into which tunnel, kept by a thread of its own
//! trace    what would become of a packet     capture  copies of packets for whoever watches
//! reassembled  ESP that arrived in fragments
//! ```

mod budget;
mod capture;
mod control;
mod cpu_sas;
mod engine;
mod ethtool;
mod events;
mod ipv6;
mod key_schedule;
mod mtu;
mod netdev;
mod object;
mod pins;
mod policy;
mod prefixes;
mod reassembled;
mod sa_table;
mod served;
mod slots;
mod stats;
mod sysctl;
mod trace;
mod tunnel;
mod vgw0;
mod wan_addresses;
mod workers;

pub use budget::{BandwidthLimit, BudgetControl, TunnelShare};
pub(crate) use capture::unix_now_ns;
pub use capture::{CaptureSpec, CaptureStream, CapturedFrame, Captures};
pub use control::{Datapath, DatapathConfig, TraceFrom};
pub use cpu_sas::CpuSas;
pub use engine::{EngineConfig, EngineEvent, EngineStats, LaneStats, WorkerStats};
pub use events::{DatapathEvent, DatapathEvents};
pub use key_schedule::{KeyLengthError, contract_key, expand_key, ghash_tables};
pub use object::{Limits, Object, Plain};
pub use policy::PacketPolicy;
pub use sa_table::{Direction, SaConfig, SaCounters, SaTable};
pub use stats::{BudgetStats, Counters, DatapathStats, TunnelStats};
pub(crate) use trace::interface_name;
pub use trace::{Origin, Trace, TraceStep, TracedHop, TracedPacket, TracedSa, TracedVerdict, Tracer};
pub use tunnel::{TunnelChange, TunnelId};
pub use wan_addresses::WanAddresses;
pub use workers::{CpuList, CpuListError, PlanError};
