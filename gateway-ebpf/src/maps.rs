//! Every map of the datapath. The agent pins them and may override the sizes of the per-tunnel ones at load time; workers map
//! those that are mmap-able into their memory.

use aya_ebpf::bindings::BPF_F_MMAPABLE;
use aya_ebpf::macros::map;
use aya_ebpf::maps::lpm_trie::LpmTrie;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, PerfEventByteArray, ProgramArray, RingBuf, XskMap};
use gateway_common::budget::Direction;
use gateway_common::{
    Budget, BudgetCounters, Capture, CaptureRecord, Control, DropReason, EventKind, Flow, FlowKey,
    GatewayConfig, GhashTables, Job, Lane, Port, ProgramSlot, RoundMeter, Route, Sa, Share, ShareMeter, Slot,
    SpiKey, Tunnel, TunnelCounters, limits,
};

use crate::mss::TcpOptions;
use crate::route::Question;

/// Tunnels when the agent does not say otherwise, the "no tunnel" entry included.
const TUNNELS_DEFAULT: u32 = 11;
/// SAs when the agent does not say otherwise.
const SAS_DEFAULT: u32 = TUNNELS_DEFAULT * limits::SAS_PER_TUNNEL;

#[map]
pub(crate) static CONFIG: Array<GatewayConfig> = Array::with_max_entries(1, 0);

#[map]
pub(crate) static PORTS: HashMap<u32, Port> = HashMap::with_max_entries(256, 0);

#[map]
pub(crate) static ROUTES4: LpmTrie<[u8; 4], Route> = LpmTrie::with_max_entries(65_536, 1);

#[map]
pub(crate) static ROUTES6: LpmTrie<[u8; 16], Route> = LpmTrie::with_max_entries(65_536, 1);

#[map]
pub(crate) static TUNNELS: Array<Tunnel> = Array::with_max_entries(TUNNELS_DEFAULT, 0);

/// Outbound SAs of single receive queues, as indices into `SAS`; 0 for none. Entry `tunnel * n + queue % n`, where `n` is
/// [`GatewayConfig::cpu_sas`].
#[map]
pub(crate) static CPU_SAS: Array<u32> = Array::with_max_entries(TUNNELS_DEFAULT, 0);

#[map]
pub(crate) static SAS: Array<Sa> = Array::with_max_entries(SAS_DEFAULT, BPF_F_MMAPABLE);

#[map]
pub(crate) static GHASH: Array<GhashTables> = Array::with_max_entries(SAS_DEFAULT, 0);

#[map]
pub(crate) static SPIS: HashMap<SpiKey, u32> = HashMap::with_max_entries(SAS_DEFAULT, 0);

#[map]
pub(crate) static COUNTERS: PerCpuArray<TunnelCounters> = PerCpuArray::with_max_entries(TUNNELS_DEFAULT, 0);

/// Drops of packets that belong to no tunnel: strangers can send them by the million, so each CPU counts for itself.
#[map]
pub(crate) static STRAY_DROPS: PerCpuArray<u64> = PerCpuArray::with_max_entries(DropReason::COUNT, 0);

/// Drops of each tunnel; those of tunnel 0 that workers count.
#[map]
pub(crate) static DROPS: Array<u64> =
    Array::with_max_entries(TUNNELS_DEFAULT * DropReason::COUNT, BPF_F_MMAPABLE);

#[map]
pub(crate) static BUDGET: Array<Budget> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub(crate) static SHARES: Array<Share> = Array::with_max_entries(TUNNELS_DEFAULT, BPF_F_MMAPABLE);

#[map]
pub(crate) static ROUND_METERS: Array<RoundMeter> = Array::with_max_entries(Direction::COUNT, BPF_F_MMAPABLE);

#[map]
pub(crate) static SHARE_METERS: Array<ShareMeter> =
    Array::with_max_entries(TUNNELS_DEFAULT * Direction::COUNT, BPF_F_MMAPABLE);

#[map]
pub(crate) static BUDGET_COUNTERS: PerCpuArray<BudgetCounters> =
    PerCpuArray::with_max_entries(Direction::COUNT, 0);

/// What the workers count as the programs do in `BUDGET_COUNTERS`.
#[map]
pub(crate) static WORKER_BUDGET_COUNTERS: Array<BudgetCounters> =
    Array::with_max_entries(Direction::COUNT, BPF_F_MMAPABLE);

#[map]
pub(crate) static EVENTS: RingBuf = RingBuf::with_byte_size(65_536, 0);

/// Time of the last rate-limited event of each tunnel and kind, ns.
#[map]
pub(crate) static EVENT_TIMES: Array<u64> = Array::with_max_entries(TUNNELS_DEFAULT * EventKind::COUNT, 0);

#[map]
pub(crate) static JOB: PerCpuArray<Job> = PerCpuArray::with_max_entries(1, 0);

/// The key of the flow that is at work, of IPv6 ones.
#[map]
pub(crate) static KEY: PerCpuArray<FlowKey> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static FIB: PerCpuArray<Question> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static TCP_OPTIONS: PerCpuArray<TcpOptions> = PerCpuArray::with_max_entries(1, 0);

#[map]
pub(crate) static PROGRAMS: ProgramArray = ProgramArray::with_max_entries(ProgramSlot::COUNT, 0);

/// Sockets of the workers, by lane.
#[map]
pub(crate) static XSKS: XskMap = XskMap::with_max_entries(limits::LANES, 0);

#[map]
pub(crate) static LANES: Array<Lane> = Array::with_max_entries(limits::LANES, BPF_F_MMAPABLE);

/// The agent says how many there are: [`Slot::index`].
#[map]
pub(crate) static SLOTS: Array<Slot> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub(crate) static CONTROL: Array<Control> = Array::with_max_entries(1, BPF_F_MMAPABLE);

#[map]
pub(crate) static FLOWS: Array<Flow> = Array::with_max_entries(limits::FLOWS, BPF_F_MMAPABLE);

/// What user space wants copies of, by tunnel.
#[map]
pub(crate) static CAPTURES: Array<Capture> = Array::with_max_entries(TUNNELS_DEFAULT, 0);

/// Copies of frames, each behind a [`CaptureRecord`].
#[map]
pub(crate) static FRAMES: PerfEventByteArray = PerfEventByteArray::new(0);

/// The record that is being written.
#[map]
pub(crate) static RECORD: PerCpuArray<CaptureRecord> = PerCpuArray::with_max_entries(1, 0);

/// Why the frame of this CPU is dropped: tunnel in the upper half, one more than the number of the [`DropReason`] in the lower.
#[map]
pub(crate) static DROPPED: PerCpuArray<u64> = PerCpuArray::with_max_entries(1, 0);

/// What the workers count as the programs do in `COUNTERS`.
#[map]
pub(crate) static WORKER_COUNTERS: Array<TunnelCounters> =
    Array::with_max_entries(TUNNELS_DEFAULT, BPF_F_MMAPABLE);
