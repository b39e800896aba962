//! Every map of the datapath. The agent pins them and may override the sizes of the per-tunnel ones at load time.

use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::LpmTrie;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, ProgramArray, RingBuf};
use gateway_common::{
    Budget, DropReason, EventKind, GatewayConfig, GhashTables, Job, Port, ProgramSlot, Route, Sa, SpiKey,
    Tunnel, TunnelCounters,
};

/// Tunnels when the agent does not say otherwise, the "no tunnel" entry included.
const TUNNELS_DEFAULT: u32 = 11;
/// SAs when the agent does not say otherwise.
const SAS_DEFAULT: u32 = TUNNELS_DEFAULT * gateway_common::limits::SAS_PER_TUNNEL;

#[map]
pub(crate) static CONFIG: Array<GatewayConfig> = Array::with_max_entries(1, 0);

#[map]
pub(crate) static PORTS: HashMap<u32, Port> = HashMap::with_max_entries(256, 0);

#[map]
pub(crate) static ROUTES4: LpmTrie<[u8; 4], Route> = LpmTrie::with_max_entries(65_536, 1);

#[map]
pub(crate) static TUNNELS: Array<Tunnel> = Array::with_max_entries(TUNNELS_DEFAULT, 0);

#[map]
pub(crate) static SAS: Array<Sa> = Array::with_max_entries(SAS_DEFAULT, 0);

#[map]
pub(crate) static GHASH: Array<GhashTables> = Array::with_max_entries(SAS_DEFAULT, 0);

#[map]
pub(crate) static SPIS: HashMap<SpiKey, u32> = HashMap::with_max_entries(SAS_DEFAULT, 0);

#[map]
pub(crate) static COUNTERS: PerCpuArray<TunnelCounters> = PerCpuArray::with_max_entries(TUNNELS_DEFAULT, 0);

#[map]
pub(crate) static DROPS: PerCpuArray<u64> =
    PerCpuArray::with_max_entries(TUNNELS_DEFAULT * DropReason::COUNT, 0);

#[map]
pub(crate) static BUDGET: Array<Budget> = Array::with_max_entries(1, 0);

#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(65_536, 0);

/// Time of the last rate-limited event of each tunnel and kind, ns.
#[map]
pub(crate) static EVENT_TIMES: Array<u64> = Array::with_max_entries(TUNNELS_DEFAULT * EventKind::COUNT, 0);

#[map]
pub(crate) static JOB: PerCpuArray<Job> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static PROGRAMS: ProgramArray = ProgramArray::with_max_entries(ProgramSlot::COUNT, 0);
