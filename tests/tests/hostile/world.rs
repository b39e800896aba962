//! The gateway under test: the compiled programs in the kernel, in a network namespace of the calling thread's own.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::process::Command;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, Map, MapData, PerCpuArray};
use aya::programs::{TestRun as _, TestRunOptions, Xdp, XdpMode};
use gateway_common::{DropReason, GatewayConfig, Port, PortRole, Route, RouteKind, Sa, Tunnel, mss};
use gateway_user::datapath::{Counters, CpuSas, Direction, Limits, Object, Plain, SaConfig, SaTable};
use nix::net::if_::if_nametoindex;
use nix::sched::{CloneFlags, unshare};

use super::model::Arrival;
use super::network::{self, CPU_SAS, Interface, OUTER, Owner, PREFIXES, TUNNEL_LIST, TUNNELS};

const LIMITS: Limits = Limits { tunnels: TUNNELS as u32 - 1, cpu_sas: CPU_SAS, slots: 0 };

/// Room for a frame that comes out: a page.
const LONGEST_OUT: usize = 4096;

/// What the programs made of a frame: `XDP_DROP`, `XDP_PASS` or `XDP_REDIRECT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Drop,
    Pass,
    Redirect,
}

/// Programs and maps.
pub(crate) struct World {
    object: Object,
    sas: SaTable,
    cpu_sas: CpuSas,
    counters: Counters,
    tunnels: Array<MapData, Plain<Tunnel>>,
    drops: Array<MapData, u64>,
    stray_drops: PerCpuArray<MapData, u64>,
    memory: SaMemory,
    indices: [u32; Interface::ALL.len()],
}

impl World {
    /// Moves the calling thread into a new namespace and makes a gateway there, which leaves `padding` bytes behind opened packets.
    pub(crate) fn new(padding: u32) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace (root is needed)")?;
        // The kernel itself has nothing to say on the cables.
        std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1")
            .context("cannot switch IPv6 off")?;
        for command in network::commands() {
            let output =
                Command::new("sh").args(["-c", &command]).output().with_context(|| command.clone())?;
            ensure!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot switch on forwarding")?;
        // What leaves through the stack ends there: only the programs are under test.
        std::fs::write("/proc/sys/net/ipv4/conf/vgw0/forwarding", "0").context("cannot stop forwarding")?;
        let mut indices = [0; Interface::ALL.len()];
        for interface in Interface::ALL {
            indices[interface as usize] = if_nametoindex(interface.name())?;
        }
        let mut object = Object::load(LIMITS)?;
        let sas = SaTable::new(&object.ebpf, LIMITS)?;
        let cpu_sas = CpuSas::new(&object.ebpf, CPU_SAS)?;
        let counters = Counters::new(&object.ebpf)?;
        let memory = SaMemory::new(&object)?;
        let mut take = |name: &str| -> Result<Map> {
            object.ebpf.take_map(name).with_context(|| format!("no map {name}"))
        };
        fill_config(take("CONFIG")?.try_into()?, &indices, padding)?;
        fill_ports(take("PORTS")?.try_into()?, &indices)?;
        fill_routes(take("ROUTES4")?.try_into()?)?;
        let mut tunnels: Array<_, Plain<Tunnel>> = take("TUNNELS")?.try_into()?;
        for tunnel in TUNNEL_LIST {
            tunnels.set(tunnel.number, Plain(Tunnel { outbound_sa: 0, mtu: tunnel.mtu as u32 }), 0)?;
        }
        let drops = take("DROPS")?.try_into()?;
        let stray_drops = take("STRAY_DROPS")?.try_into()?;
        Ok(Self { object, sas, cpu_sas, counters, tunnels, drops, stray_drops, memory, indices })
    }

    /// Attaches the programs to the gateway's interfaces, so that what arrives by cable meets them.
    pub(crate) fn attach(&mut self) -> Result<()> {
        for interface in [Interface::Lan, Interface::Wan, Interface::Arm, Interface::VgwPeer] {
            self.object.program("gateway")?.attach(interface.name(), XdpMode::Driver)?;
        }
        self.object.program("returned")?.attach(Interface::Vgw0.name(), XdpMode::Driver)?;
        Ok(())
    }

    /// Slots for SAs, the one that is never used included.
    pub(crate) fn slots() -> u32 {
        LIMITS.sa_entries()
    }

    /// Runs `program` on a frame; the verdict. The frame afterwards goes to `out`.
    pub(crate) fn run(&self, program: &str, arrival: &Arrival, out: &mut Vec<u8>) -> Result<Verdict> {
        let frame = &arrival.frame[..];
        // `struct xdp_md` of linux/bpf.h: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let words = [0, frame.len() as u32, 0, self.index(arrival.interface), arrival.queue, 0];
        let mut context = [0; 24];
        for (place, word) in context.chunks_exact_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        out.resize(LONGEST_OUT, 0);
        let program: &Xdp = self.object.ebpf.program(program).context("no such program")?.try_into()?;
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut *out),
            ctx_in: Some(&context),
            ..TestRunOptions::new()
        };
        let result = program.test_run(options)?;
        let verdict = match result.return_value {
            1 => Verdict::Drop,
            2 => Verdict::Pass,
            4 => Verdict::Redirect,
            other => bail!("verdict {other}"),
        };
        out.truncate(result.data_size_out as usize);
        Ok(verdict)
    }

    /// Index of an interface.
    pub(crate) fn index(&self, interface: Interface) -> u32 {
        self.indices[interface as usize]
    }

    /// Installs an SA that receives. Returns its slot.
    pub(crate) fn receive_with(&mut self, tunnel: u32, config: &SaConfig) -> Result<u32> {
        self.sas.install(Direction::Inbound, tunnel, config)
    }

    /// Removes an SA that receives.
    pub(crate) fn remove_inbound(&mut self, tunnel: u32, spi: u32) -> Result<()> {
        ensure!(self.sas.remove(Direction::Inbound, tunnel, spi)?, "no inbound SA {spi:#x}");
        Ok(())
    }

    /// Installs an SA that sends, whose last sequence number is `sent`, and uses it. Returns its slot.
    pub(crate) fn send_with(
        &mut self,
        tunnel: u32,
        queue: Option<u32>,
        config: &SaConfig,
        sent: u64,
    ) -> Result<u32> {
        let slot = self.sas.install(Direction::Outbound, tunnel, config)?;
        self.memory.sequence(slot).store(sent, Ordering::SeqCst);
        if let Some(queue) = queue {
            self.cpu_sas.set(tunnel, queue, slot)?;
        } else {
            let Plain(entry) = self.tunnels.get(&tunnel, 0)?;
            self.tunnels.set(tunnel, Plain(Tunnel { outbound_sa: slot, ..entry }), 0)?;
        }
        Ok(slot)
    }

    /// Removes an SA that no tunnel sends with any more.
    pub(crate) fn remove_outbound(&mut self, tunnel: u32, spi: u32) -> Result<()> {
        ensure!(self.sas.remove(Direction::Outbound, tunnel, spi)?, "no outbound SA {spi:#x}");
        Ok(())
    }

    /// Sequence number, packets and bytes of an SA.
    pub(crate) fn sa(&self, slot: u32) -> (u64, u64, u64) {
        self.memory.read(slot)
    }

    /// Drops counted for a tunnel and a reason.
    pub(crate) fn dropped(&self, tunnel: u32, reason: DropReason) -> Result<u64> {
        if tunnel == 0 {
            return Ok(self.stray_drops.get(&(reason as u32), 0)?.iter().sum());
        }
        Ok(self.drops.get(&(tunnel * DropReason::COUNT + reason as u32), 0)?)
    }

    /// Everything else that is counted.
    pub(crate) fn counters(&self) -> &Counters {
        &self.counters
    }
}

fn fill_config(mut map: Array<MapData, Plain<GatewayConfig>>, indices: &[u32], padding: u32) -> Result<()> {
    let config = GatewayConfig {
        vgw_peer_ifindex: indices[Interface::VgwPeer as usize],
        wan_addr4: OUTER,
        wan_addr6: [0; 16],
        vgw0_mac: Interface::Vgw0.mac(),
        vgw_peer_mac: Interface::VgwPeer.mac(),
        cpu_sas: CPU_SAS,
        padding,
        mss_limit: mss::FIT,
    };
    Ok(map.set(0, Plain(config), 0)?)
}

fn fill_ports(mut map: HashMap<MapData, u32, Plain<Port>>, indices: &[u32]) -> Result<()> {
    for interface in [Interface::Lan, Interface::Wan, Interface::Arm, Interface::VgwPeer] {
        let mut roles = 0;
        if interface.faces_vnet() {
            roles |= PortRole::LAN;
        }
        if interface.faces_peers() {
            roles |= PortRole::WAN;
        }
        if interface == Interface::VgwPeer {
            roles |= PortRole::TUNNEL;
        }
        let port = Port { roles, mac: interface.mac(), reserved: [0; 2], first_lane: 0, lanes: 0 };
        map.insert(indices[interface as usize], Plain(port), 0)?;
    }
    Ok(())
}

fn fill_routes(mut map: LpmTrie<MapData, [u8; 4], Plain<Route>>) -> Result<()> {
    for ((prefix, length), owner) in PREFIXES {
        let route = match owner {
            Owner::Local => Route { kind: RouteKind::LOCAL, tunnel: 0 },
            Owner::Remote(tunnel) => Route { kind: RouteKind::REMOTE, tunnel: *tunnel },
        };
        map.insert(&Key::new(*length, *prefix), Plain(route), 0)?;
    }
    Ok(())
}

/// Map `SAS` in memory: reading it takes no system call.
struct SaMemory {
    start: NonNull<Sa>,
    length: usize,
}

impl SaMemory {
    fn new(object: &Object) -> Result<Self> {
        let Some(Map::Array(data)) = object.ebpf.map("SAS") else { bail!("map SAS is missing") };
        let length = World::slots() as usize * size_of::<Sa>();
        // SAFETY: a new mapping; the kernel checks the arguments.
        let start = unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let fd = data.fd().as_fd().as_raw_fd();
            libc::mmap(std::ptr::null_mut(), length, protection, libc::MAP_SHARED, fd, 0)
        };
        ensure!(start != libc::MAP_FAILED, "cannot map SAS: {}", std::io::Error::last_os_error());
        let start = NonNull::new(start).context("mapped at 0")?.cast();
        Ok(Self { start, length })
    }

    fn entry(&self, slot: u32) -> *mut Sa {
        assert!((slot as usize) < self.length / size_of::<Sa>());
        // SAFETY: within the mapping.
        unsafe { self.start.as_ptr().add(slot as usize) }
    }

    fn sequence(&self, slot: u32) -> &AtomicU64 {
        // SAFETY: an aligned word of the mapping, which everybody changes with atomic instructions.
        unsafe { AtomicU64::from_ptr(&raw mut (*self.entry(slot)).sequence) }
    }

    fn read(&self, slot: u32) -> (u64, u64, u64) {
        let entry = self.entry(slot);
        // SAFETY: aligned words of the mapping; no program runs meanwhile.
        unsafe {
            (
                (&raw const (*entry).sequence).read_volatile(),
                (&raw const (*entry).packets).read_volatile(),
                (&raw const (*entry).bytes).read_volatile(),
            )
        }
    }
}

impl Drop for SaMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`, which nothing points into any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.length) };
    }
}
