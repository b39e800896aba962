//! The XDP programs under `BPF_PROG_TEST_RUN`: frames in, verdicts and frames out, in a network namespace of the calling
//! thread's own. Nothing is attached.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap as BpfHashMap, Map, MapData};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use gateway_common::{Aead, Budget, GatewayConfig, Port, PortRole, Route, RouteKind, Sa, Share, Tunnel, mss};
use gateway_user::datapath::{
    BudgetControl, Counters, CpuSas, Direction, Limits, Object, Origin, PacketPolicy, Plain, SaConfig,
    SaTable, Trace, TracedPacket, Tracer,
};
use nix::sched::{CloneFlags, unshare};
use zeroize::Zeroizing;

use crate::lanes::Lanes;

/// Outer address of the gateway under test.
pub const LOCAL: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
/// Outer address of its peer, reached through [`ROUTER_MAC`].
pub const REMOTE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Outer address whose next hop has no neighbour entry.
pub const UNRESOLVED_REMOTE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 77);
/// A host of the local VNet 10.1.0.0/16 with a neighbour entry.
pub const HOST: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 10);
/// A host of the VNet 10.2.0.0/16 behind tunnel 1.
pub const PEER_HOST: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 20);
/// A host of the VNet 10.3.0.0/16 behind tunnel 2.
pub const OTHER_HOST: Ipv4Addr = Ipv4Addr::new(10, 3, 0, 30);
/// Outer IPv6 address of the gateway under test.
pub const LOCAL6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 1);
/// Outer IPv6 address of its peer, reached through [`ROUTER_MAC`].
pub const REMOTE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xb, 0, 0, 0, 0, 1);
/// Outer IPv6 address whose next hop has no neighbour entry.
pub const UNRESOLVED_REMOTE6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xa, 0, 0, 0, 0, 0x77);
/// A host of the local VNet fd00:1::/32 with a neighbour entry.
pub const HOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, 0x10);
/// A host of the VNet fd00:2::/32 behind tunnel 1.
pub const PEER_HOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 0x20);
/// A host of the VNet fd00:3::/32 behind tunnel 2.
pub const OTHER_HOST6: Ipv6Addr = Ipv6Addr::new(0xfd00, 3, 0, 0, 0, 0, 0, 0x30);
/// MAC address of the router towards the peers.
pub const ROUTER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xfe];
/// MAC address of [`HOST`] and [`HOST6`].
pub const HOST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x10];
/// MAC address of `vgw0`.
pub const VGW0_MAC: [u8; 6] = [2, 0, 0, 0, 1, 0];
/// MAC address of the ingress interface.
pub const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 8, 8];
/// Tunnel MTU of the gateway under test.
pub const TUNNEL_MTU: u32 = 1438;

/// Interface index that test-run reports: the loopback interface of a new namespace.
pub const INGRESS: u32 = 1;
/// Interface index of the peer of `vgw0`.
pub const VGW_PEER_IFINDEX: u32 = 1001;

/// Queues that can have SAs of their own.
pub const CPU_SAS: u32 = 4;
/// Slots of all lanes.
pub(crate) const SLOTS: u32 = 1024;
/// Receive queues of interface `lan`.
pub const LAN_QUEUES: u32 = 8;

/// Verdicts of XDP programs (`enum xdp_action`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// `XDP_DROP`.
    Drop,
    /// `XDP_PASS`.
    Pass,
    /// `XDP_REDIRECT`.
    Redirect,
    /// Any other, by number.
    Other(u32),
}

/// What became of a frame.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The verdict.
    pub verdict: Verdict,
    /// The frame as the programs left it.
    pub frame: Vec<u8>,
}

/// A loaded datapath with tunnels 1 (to 10.2.0.0/16) and 2 (to 10.3.0.0/16), without SAs.
pub struct GatewayUnderTest {
    /// Programs and maps.
    pub object: Object,
    /// SAs.
    pub sas: SaTable,
    /// Counters.
    pub counters: Counters,
    /// The shared budget as the agent sets it.
    pub budget: BudgetControl,
    tracer: Tracer,
    cpu_sas: CpuSas,
    routes: LpmTrie<MapData, [u8; 4], Plain<Route>>,
    tunnels: Array<MapData, Plain<Tunnel>>,
    pub(crate) ports: BpfHashMap<MapData, u32, Plain<Port>>,
    budgets: Array<MapData, Plain<Budget>>,
    configs: Array<MapData, Plain<GatewayConfig>>,
    shares: Array<MapData, Plain<Share>>,
    entries: Array<MapData, Plain<Sa>>,
    pub(crate) lanes: Lanes,
}

impl GatewayUnderTest {
    /// Moves the calling thread into a new network namespace with a WAN and a LAN interface, and loads the programs.
    ///
    /// # Errors
    /// Privileges or `ip(8)` are missing, or the kernel refuses a program.
    pub fn new() -> Result<Self> {
        Self::with_limits(Limits { tunnels: 8, cpu_sas: CPU_SAS, slots: SLOTS })
    }

    /// The same with room for other numbers of tunnels. Queues that can have SAs of their own are [`CPU_SAS`] or none.
    ///
    /// # Errors
    /// As for [`Self::new`].
    pub fn with_limits(limits: Limits) -> Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace (root is needed)")?;
        for command in [
            "link set lo up",
            "link add wan type veth peer name wan-peer",
            &format!("link add lan numrxqueues {LAN_QUEUES} type veth peer name lan-peer"),
            "link set wan up",
            "link set wan-peer up",
            "link set lan up",
            "link set lan-peer up",
            "addr add 192.0.2.1/24 dev wan",
            "addr add 10.1.0.1/16 dev lan",
            "neigh add 192.0.2.254 lladdr 02:00:00:00:00:fe dev wan nud permanent",
            "neigh add 10.1.0.10 lladdr 02:00:00:00:00:10 dev lan nud permanent",
            "route add 198.51.100.0/24 via 192.0.2.254",
            "route add unreachable 203.0.113.0/24",
            "addr add 2001:db8:a::1/64 dev wan nodad",
            "addr add fd00:1::1/32 dev lan nodad",
            "neigh add 2001:db8:a::fe lladdr 02:00:00:00:00:fe dev wan nud permanent",
            "neigh add fd00:1::10 lladdr 02:00:00:00:00:10 dev lan nud permanent",
            "route add 2001:db8:b::/64 via 2001:db8:a::fe",
            "route add unreachable 2001:db8:c::/64",
        ] {
            let output = Command::new("ip").args(command.split(' ')).output().context("cannot run ip")?;
            ensure!(output.status.success(), "ip {command}: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot switch on forwarding")?;
        std::fs::write("/proc/sys/net/ipv6/conf/all/forwarding", "1")
            .context("cannot switch on forwarding")?;

        let mut object = Object::load(limits)?;
        let sas = SaTable::new(&object.ebpf, limits)?;
        let cpu_sas = CpuSas::new(&object.ebpf, limits.cpu_sas)?;
        let counters = Counters::new(&object.ebpf)?;
        let budget = BudgetControl::new(&object.ebpf)?;
        let tracer = Tracer::new(&object.ebpf)?;
        let mut take = |name: &str| -> Result<Map> {
            let map = object.ebpf.take_map(name);
            map.with_context(|| format!("no map {name}"))
        };
        let mut configs: Array<_, Plain<GatewayConfig>> = take("CONFIG")?.try_into()?;
        let config = GatewayConfig {
            vgw_peer_ifindex: VGW_PEER_IFINDEX,
            wan_addr4: LOCAL.octets(),
            wan_addr6: LOCAL6.octets(),
            vgw0_mac: VGW0_MAC,
            vgw_peer_mac: [2, 0, 0, 0, 1, 1],
            cpu_sas: limits.cpu_sas,
            padding: 0,
            mss_limit: mss::FIT,
        };
        configs.set(0, Plain(config), 0)?;
        let mut routes: LpmTrie<_, [u8; 4], Plain<Route>> = take("ROUTES4")?.try_into()?;
        for (prefix, kind, tunnel) in [
            ([10, 1, 0, 0], RouteKind::LOCAL, 0),
            ([10, 2, 0, 0], RouteKind::REMOTE, 1),
            ([10, 3, 0, 0], RouteKind::REMOTE, 2),
        ] {
            routes.insert(&Key::new(16, prefix), Plain(Route { kind, tunnel }), 0)?;
        }
        let mut routes6: LpmTrie<_, [u8; 16], Plain<Route>> = take("ROUTES6")?.try_into()?;
        for (host, kind, tunnel) in [
            (HOST6, RouteKind::LOCAL, 0),
            (PEER_HOST6, RouteKind::REMOTE, 1),
            (OTHER_HOST6, RouteKind::REMOTE, 2),
        ] {
            routes6.insert(&Key::new(32, host.octets()), Plain(Route { kind, tunnel }), 0)?;
        }
        let tunnels = take("TUNNELS")?.try_into()?;
        let ports = take("PORTS")?.try_into()?;
        let budgets = take("BUDGET")?.try_into()?;
        let shares = take("SHARES")?.try_into()?;
        let entries = take("SAS")?.try_into()?;
        let lanes = Lanes::new(take)?;
        let mut gateway = Self {
            object,
            sas,
            counters,
            budget,
            tracer,
            cpu_sas,
            routes,
            tunnels,
            ports,
            budgets,
            configs,
            shares,
            entries,
            lanes,
        };
        gateway.set_roles(PortRole::LAN | PortRole::WAN)?;
        for tunnel in [1, 2] {
            gateway.tunnels.set(tunnel, Plain(Tunnel { outbound_sa: 0, mtu: TUNNEL_MTU }), 0)?;
        }
        Ok(gateway)
    }

    /// Gives the ingress interface the roles `roles`, a bit set of [`PortRole`].
    ///
    /// # Errors
    /// The kernel refuses the update.
    pub fn set_roles(&mut self, roles: u32) -> Result<()> {
        Ok(self.ports.insert(
            INGRESS,
            Plain(Port { roles, mac: GATEWAY_MAC, reserved: [0; 2], first_lane: 0, lanes: 0 }),
            0,
        )?)
    }

    /// Sets [`GatewayConfig::mss_limit`].
    ///
    /// # Errors
    /// The kernel refuses the update.
    pub fn set_mss_limit(&mut self, mss_limit: u32) -> Result<()> {
        let Plain(config) = self.configs.get(&0, 0)?;
        Ok(self.configs.set(0, Plain(GatewayConfig { mss_limit, ..config }), 0)?)
    }

    /// Sets the shared budget.
    ///
    /// # Errors
    /// The kernel refuses the update.
    pub fn set_budget(&mut self, budget: Budget) -> Result<()> {
        Ok(self.budgets.set(0, Plain(budget), 0)?)
    }

    /// Sets what a tunnel gets of the shared budget.
    ///
    /// # Errors
    /// There is no such tunnel, or the kernel refuses the update.
    pub fn set_share(&mut self, tunnel: u32, share: Share) -> Result<()> {
        Ok(self.shares.set(tunnel, Plain(share), 0)?)
    }

    /// Routes a prefix of `length` bits into `tunnel`.
    ///
    /// # Errors
    /// The kernel refuses the update.
    pub fn route(&mut self, prefix: Ipv4Addr, length: u32, tunnel: u32) -> Result<()> {
        let route = Route { kind: RouteKind::REMOTE, tunnel };
        Ok(self.routes.insert(&Key::new(length, prefix.octets()), Plain(route), 0)?)
    }

    /// Installs an SA that sends for `tunnel`, and uses it. Returns its slot.
    ///
    /// # Errors
    /// See [`SaTable::install`].
    pub fn send_with(&mut self, tunnel: u32, sa: &SaConfig) -> Result<u32> {
        let index = self.sas.install(Direction::Outbound, tunnel, sa)?;
        self.tunnels.set(tunnel, Plain(Tunnel { outbound_sa: index, mtu: TUNNEL_MTU }), 0)?;
        Ok(index)
    }

    /// Installs an SA that sends for `tunnel` what arrives at every queue whose number leaves the rest `resource` when divided
    /// by [`CPU_SAS`]. Returns its slot.
    ///
    /// # Errors
    /// See [`SaTable::install`] and [`CpuSas::set`].
    pub fn send_from_queue_with(&mut self, tunnel: u32, resource: u32, sa: &SaConfig) -> Result<u32> {
        let index = self.sas.install(Direction::Outbound, tunnel, sa)?;
        self.cpu_sas.set(tunnel, resource, index)?;
        Ok(index)
    }

    /// Takes an SA away from the queues that send with it.
    ///
    /// # Errors
    /// The kernel refuses an update.
    pub fn stop_sending_from_queues(&mut self, tunnel: u32, slot: u32) -> Result<()> {
        self.cpu_sas.remove(tunnel, slot)
    }

    /// Installs an SA that receives for `tunnel`. Returns its slot.
    ///
    /// # Errors
    /// See [`SaTable::install`].
    pub fn receive_with(&mut self, tunnel: u32, sa: &SaConfig) -> Result<u32> {
        self.sas.install(Direction::Inbound, tunnel, sa)
    }

    /// Changes the entry of an SA as the datapath sees it.
    ///
    /// # Errors
    /// The kernel refuses the update.
    pub fn edit_sa(&mut self, index: u32, edit: impl FnOnce(&mut Sa)) -> Result<()> {
        let Plain(mut sa) = self.entries.get(&index, 0)?;
        edit(&mut sa);
        Ok(self.entries.set(index, Plain(sa), 0)?)
    }

    /// The entry of an SA as the datapath has it now, with its counters.
    ///
    /// # Errors
    /// There is no such slot.
    pub fn read_sa(&self, index: u32) -> Result<Sa> {
        Ok(self.entries.get(&index, 0)?.0)
    }

    /// Gives another interface the roles `roles`.
    ///
    /// # Errors
    /// There is no such interface, or the kernel refuses the update.
    pub fn set_roles_of(&mut self, interface: &str, roles: u32) -> Result<()> {
        let index = nix::net::if_::if_nametoindex(interface)?;
        Ok(self.ports.insert(
            index,
            Plain(Port { roles, mac: [0; 6], reserved: [0; 2], first_lane: 0, lanes: 0 }),
            0,
        )?)
    }

    /// Runs the attached program on a frame that arrived at the ingress interface.
    ///
    /// # Errors
    /// The kernel refuses the run.
    pub fn run(&self, frame: &[u8]) -> Result<Outcome> {
        self.run_program("gateway", frame)
    }

    /// What the agent says that would become of a packet.
    ///
    /// # Errors
    /// The kernel refuses a look-up.
    pub fn trace(&self, packet: &TracedPacket, origin: Origin) -> Result<Trace> {
        self.tracer.trace(&self.object, packet, origin, &|tunnel| format!("tunnel{tunnel}"))
    }

    /// Runs `program` on a frame.
    ///
    /// # Errors
    /// The kernel refuses the run.
    pub fn run_program(&self, program: &str, frame: &[u8]) -> Result<Outcome> {
        self.run_with(program, frame, None)
    }

    /// Runs the attached program on a frame that arrived at a queue of interface `lan`, which leads to the VNet.
    ///
    /// # Errors
    /// There is no such queue, or the kernel refuses the run.
    pub fn run_from_queue(&mut self, queue: u32, frame: &[u8]) -> Result<Outcome> {
        let ingress = nix::net::if_::if_nametoindex("lan")?;
        let port = Port { roles: PortRole::LAN, mac: GATEWAY_MAC, reserved: [0; 2], first_lane: 0, lanes: 0 };
        self.ports.insert(ingress, Plain(port), 0)?;
        // `struct xdp_md` of linux/bpf.h: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
        let context: Vec<u8> =
            [0, frame.len() as u32, 0, ingress, queue, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
        self.run_with("gateway", frame, Some(&context))
    }

    fn run_with(&self, program: &str, frame: &[u8], context: Option<&[u8]>) -> Result<Outcome> {
        let mut out = vec![0; 4096];
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut out),
            ctx_in: context,
            ..TestRunOptions::new()
        };
        let result = self.program(program)?.test_run(options)?;
        out.truncate(result.data_size_out as usize);
        let verdict = match result.return_value {
            1 => Verdict::Drop,
            2 => Verdict::Pass,
            4 => Verdict::Redirect,
            other => Verdict::Other(other),
        };
        Ok(Outcome { verdict, frame: out })
    }

    /// Mean time of `repeat` runs of `program` on a frame, as the kernel measures it.
    ///
    /// # Errors
    /// The kernel refuses the run.
    pub fn time(&self, program: &str, frame: &[u8], repeat: u32) -> Result<Duration> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::new() };
        Ok(self.program(program)?.test_run(options)?.duration)
    }

    fn program(&self, name: &str) -> Result<&Xdp> {
        let program = self.object.ebpf.program(name).with_context(|| format!("no program {name}"))?;
        Ok(program.try_into()?)
    }

    /// Drops of one reason for a tunnel.
    ///
    /// # Errors
    /// The kernel refuses the look-up.
    pub fn dropped(&self, tunnel: u32, reason: gateway_common::DropReason) -> Result<u64> {
        Ok(self.counters.drops(tunnel)?.get(reason.name()).copied().unwrap_or(0))
    }
}

/// An SA with a key that depends on `spi`, between [`LOCAL`] and [`REMOTE`].
pub fn sa(spi: u32, aead: Aead) -> SaConfig {
    let key: Vec<u8> = (0..aead.key_len()).map(|position| (spi as usize * 7 + position * 11) as u8).collect();
    SaConfig {
        spi,
        aead,
        key: Zeroizing::new(key),
        salt: [spi as u8, 2, 3, 4],
        esn: true,
        implicit_iv: false,
        local: (LOCAL, 4500).into(),
        remote: (REMOTE, 4500).into(),
        udp_encapsulation: false,
        udp_port_entropy: false,
        soft_bytes: 0,
        hard_bytes: 0,
        resource: None,
        policy: PacketPolicy::default(),
    }
}
