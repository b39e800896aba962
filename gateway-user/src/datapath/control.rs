//! The running datapath of one gateway.

mod capture;
mod trace;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aya::maps::{Array, HashMap as BpfHashMap, MapData};
use aya::programs::XdpMode;
use aya::programs::links::FdLink;
use gateway_common::{GatewayConfig, Lane, Port, PortRole, Tunnel};
use ipnet::IpNet;
use tokio::sync::mpsc;

use super::budget::{BandwidthLimit, BudgetControl, TunnelShare};
use super::capture::Captures;
use super::cpu_sas::CpuSas;
use super::engine::{EngineConfig, EngineEvent, EngineStats, RunningEngine};
use super::events::{DatapathEvents, forward_log};
use super::ipv6;
use super::mtu::{TUNNEL_INTERFACE_MTU, outer_header, tunnel_mtu};
use super::netdev::{Interface, Netlink};
use super::object::{Limits, Object, Plain, duplicate};
use super::pins::Pins;
use super::policy::PacketPolicy;
use super::prefixes::{Exit, PrefixChange, Prefixes};
use super::reassembled::Reassembly;
use super::sa_table::{Direction, SaConfig, SaCounters, SaTable};
use super::served::Served;
use super::stats::{Counters, DatapathStats, TunnelStats};
use super::trace::Tracer;
use super::tunnel::{TunnelChange, TunnelId};
use super::vgw0::TunnelInterface;
use super::wan_addresses::WanAddresses;
use super::workers::{CpuList, Plan, ReadLane, Workers, assign};
use crate::model::{EngineChoice, MssClamp};
use crate::worker::WorkerConfig;
use crate::worker::clock::now_ns;

pub use self::trace::TraceFrom;

/// Changes of the engine that wait for the agent; one more is lost.
const ENGINE_EVENTS: usize = 64;

/// How to run the datapath.
#[derive(Clone, Debug)]
pub struct DatapathConfig {
    /// Name of the VNet, one path component.
    pub vnet: String,
    /// Interface towards the peers.
    pub wan: String,
    /// Interfaces towards the VNet; may include `wan`.
    pub lan: Vec<String>,
    /// Addresses of this gateway that peers send ESP to.
    pub wan_addrs: WanAddresses,
    /// Address space of the VNet.
    pub local_prefixes: Vec<IpNet>,
    /// Bandwidth that all tunnels share.
    pub limit: BandwidthLimit,
    /// Tunnels that may exist at once.
    pub max_tunnels: u32,
    /// Receive queues that may have SAs of their own in each tunnel (RFC 9611); 0 for none.
    pub cpu_sas: u32,
    /// Folder of the BPF file system under which maps and links are pinned.
    pub pin_root: PathBuf,
    /// What seals and opens packets.
    pub engine: EngineConfig,
    /// What becomes of the maximum segment sizes that TCP connections announce.
    pub mss_clamp: MssClamp,
}

/// The datapath: loaded programs, attached interfaces, tunnel interface and routes.
pub struct Datapath {
    config: DatapathConfig,
    netlink: Netlink,
    pins: Pins,
    vgw0: TunnelInterface,
    object: Object,
    tunnels: Array<MapData, Plain<Tunnel>>,
    sas: Arc<Mutex<SaTable>>,
    cpu_sas: CpuSas,
    counters: Counters,
    budget: BudgetControl,
    tracer: Tracer,
    captures: Captures,
    prefixes: Prefixes,
    /// What was begun and is not told yet, in its order.
    begun: VecDeque<Vec<Begun>>,
    /// Tunnels that exist.
    known: BTreeSet<TunnelId>,
    /// Tunnels that exist or existed: their counters may be other than zero.
    used: BTreeSet<TunnelId>,
    mtu: u32,
    xdp_mode: &'static str,
    engine: RunningEngine,
    /// Brings in what arrived in fragments, as soon as the programs are attached.
    reassembly: Option<Reassembly>,
    engine_events: Option<mpsc::Receiver<EngineEvent>>,
}

impl Datapath {
    /// Loads the programs, makes the tunnel interface and attaches everything. No tunnel exists yet.
    ///
    /// # Errors
    /// An interface is missing, the kernel refuses a program, another gateway owns the tunnel interface, or the engine asked
    /// for does not come up; whatever was set up before is removed again.
    pub async fn start(config: DatapathConfig) -> Result<Self> {
        ensure!(!config.lan.is_empty(), "a gateway needs at least one LAN interface");
        let netlink = Netlink::open()?;
        let wan = netlink.interface(&config.wan).await?;
        let mut ports = BTreeMap::from([(wan.index, (wan.clone(), PortRole::WAN))]);
        for name in &config.lan {
            let lan = netlink.interface(name).await?;
            ports.entry(lan.index).or_insert((lan, 0)).1 |= PortRole::LAN;
        }
        let sources = vnet_addresses(&netlink, &ports, &config.local_prefixes).await?;
        if sources.is_empty() {
            tracing::warn!(
                "no LAN interface has an address inside the VNet: the gateway itself cannot use its tunnels"
            );
        }
        let with_inner_ipv6 = config.local_prefixes.iter().any(|prefix| prefix.addr().is_ipv6());
        let with_ipv6 = with_inner_ipv6 || config.wan_addrs.v6.is_some();
        let mtu = tunnel_mtu(wan.mtu, outer_header(config.wan_addrs));
        if with_ipv6 {
            ipv6::switch_on_forwarding(&config.wan)?;
        }
        if with_inner_ipv6 && mtu < ipv6::LEAST_MTU {
            tracing::warn!(
                "the tunnels carry {mtu} bytes, less than the {} that IPv6 relies on: larger IPv6 packets may be lost",
                ipv6::LEAST_MTU
            );
        }
        let plan = plan_workers(&config.engine, &ports)?;
        let slots = plan.as_ref().map_or(0, |plan| slots(&config.engine, &ports, plan));
        let limits = Limits { tunnels: config.max_tunnels, cpu_sas: config.cpu_sas, slots };
        let object = Object::load(limits)?;
        let tunnels = duplicate(&object.ebpf, "TUNNELS")?.try_into()?;
        let sas = Arc::new(Mutex::new(SaTable::new(&object.ebpf, limits)?));
        sweep_regularly(Arc::downgrade(&sas));
        let cpu_sas = CpuSas::new(&object.ebpf, config.cpu_sas)?;
        let counters = Counters::new(&object.ebpf)?;
        let budget = BudgetControl::new(&object.ebpf)?;
        let tracer = Tracer::new(&object.ebpf)?;
        let captures = Captures::new(&object.ebpf)?;
        // From here on every failure must undo what was done to the system.
        let pins = Pins::create(&config.pin_root, &config.vnet)?;
        let queues = plan.as_ref().map_or(1, Plan::workers);
        let created = TunnelInterface::create(
            &netlink,
            &config.vnet,
            TUNNEL_INTERFACE_MTU,
            config.wan_addrs,
            queues,
            with_ipv6,
        )
        .await;
        let vgw0 = match created {
            Ok(vgw0) => vgw0,
            Err(error) => {
                // The first failure is the one to report.
                let _ = pins.remove();
                return Err(error);
            }
        };
        let served = serve(&ports, &vgw0);
        let exit = Exit { name: vgw0.stack.name.clone(), index: vgw0.stack.index, mtu, sources, with_ipv6 };
        let prefixes = match Prefixes::start(&object.ebpf, exit) {
            Ok(prefixes) => prefixes,
            Err(error) => {
                // The first failure is the one to report.
                let _ = vgw0.remove(&netlink).await;
                let _ = pins.remove();
                return Err(error);
            }
        };
        let mut datapath = Self {
            mtu,
            engine: RunningEngine::kernel(config.engine.choice, None),
            engine_events: None,
            reassembly: None,
            config,
            netlink,
            pins,
            vgw0,
            object,
            tunnels,
            sas,
            cpu_sas,
            counters,
            budget,
            tracer,
            captures,
            prefixes,
            begun: VecDeque::new(),
            known: BTreeSet::new(),
            used: BTreeSet::new(),
            xdp_mode: "native",
        };
        if let Err(error) = datapath.set_up(&served, plan.as_ref()).await {
            // The first failure is the one to report.
            let _ = datapath.stop().await;
            return Err(error);
        }
        Ok(datapath)
    }

    /// Begins changes of tunnels; [`Self::changed`] tells the outcomes. No two may concern the same tunnel or prefix.
    pub fn change_tunnels(&mut self, changes: Vec<TunnelChange>) {
        let mut begun = Vec::with_capacity(changes.len());
        let mut prefixes = Vec::with_capacity(changes.len());
        for change in changes {
            let id = change.id();
            let (outcome, wanted) = match change {
                TunnelChange::Set(_, wanted) => (self.begin_tunnel(id), Some(wanted)),
                TunnelChange::Remove(_) => (self.end_tunnel(id), None),
            };
            // A tunnel that cannot exist gets no prefixes; one that is to go gives up its prefixes in any case.
            if outcome.is_ok() || wanted.is_none() {
                prefixes.push(PrefixChange { id, prefixes: wanted });
                begun.push(Begun { outcome, with_prefixes: true });
            } else {
                begun.push(Begun { outcome, with_prefixes: false });
            }
        }
        self.begun.push_back(begun);
        self.prefixes.begin(prefixes);
    }

    /// Waits for the outcomes of the changes that were begun first and not told yet, in their order. An error concerns its tunnel
    /// alone; everything else was done, and the change may be asked for again. Nothing is lost when the call is given up.
    ///
    /// The reasons are that the number of a tunnel is out of range, or that the kernel refuses a map update or a route.
    pub async fn changed(&mut self) -> Vec<Result<()>> {
        let mut of_prefixes = self.prefixes.next().await.into_iter();
        let begun = self.begun.pop_front().unwrap_or_default();
        let join = |Begun { outcome, with_prefixes }| {
            let of_prefixes = with_prefixes.then(|| of_prefixes.next()).flatten();
            outcome.and(of_prefixes.unwrap_or(Ok(())))
        };
        begun.into_iter().map(join).collect()
    }

    /// Changes the bandwidth that all tunnels share. Packets flow on, and what they have used stays used.
    ///
    /// # Errors
    /// The rate is 0, or the kernel refused an update.
    pub fn set_limit(&mut self, limit: BandwidthLimit) -> Result<()> {
        self.budget.set_limit(limit)
    }

    /// Changes what a tunnel gets of the bandwidth. One that does not exist has no share.
    ///
    /// # Errors
    /// The kernel refused an update.
    pub fn set_share(&mut self, id: TunnelId, share: TunnelShare) -> Result<()> {
        if self.known.contains(&id) { self.budget.set_share(id.0, share) } else { Ok(()) }
    }

    /// Removes what earlier agents left in the kernel's routing for prefixes that no tunnel has now. To be called when the
    /// tunnels of the configuration have been set.
    ///
    /// # Errors
    /// The kernel refused a change.
    pub async fn settle(&self) -> Result<()> {
        let closed = self.netlink.closed().await?;
        self.prefixes.open_unwanted(closed).await
    }

    /// Installs an SA that receives.
    ///
    /// # Errors
    /// See [`SaTable::install`].
    pub fn install_inbound(&mut self, id: TunnelId, sa: &SaConfig) -> Result<()> {
        self.sas().install(Direction::Inbound, id.0, sa).map(|_| ())
    }

    /// Installs an SA that sends, and moves the tunnel's traffic to it.
    ///
    /// # Errors
    /// See [`SaTable::install`].
    pub fn install_outbound(&mut self, id: TunnelId, sa: &SaConfig) -> Result<()> {
        let index = self.sas().install(Direction::Outbound, id.0, sa)?;
        match sa.resource {
            Some(resource) => self.cpu_sas.set(id.0, resource, index),
            None => Ok(self.tunnels.set(id.0, Plain(Tunnel { outbound_sa: index, mtu: self.mtu }), 0)?),
        }
    }

    /// Removes an SA that receives; one that is gone already is no error.
    ///
    /// # Errors
    /// The kernel refuses a map update.
    pub fn remove_inbound(&mut self, id: TunnelId, spi: u32) -> Result<()> {
        self.sas().remove(Direction::Inbound, id.0, spi).map(|_| ())
    }

    /// Removes an SA that sends. Traffic stops if it was the one in use. One that is gone already is no error.
    ///
    /// # Errors
    /// The kernel refuses a map update.
    pub fn remove_outbound(&mut self, id: TunnelId, spi: u32) -> Result<()> {
        let slot = self.sas().find(Direction::Outbound, id.0, spi);
        let Some(index) = slot else { return Ok(()) };
        if self.tunnels.get(&id.0, 0)?.0.outbound_sa == index {
            self.tunnels.set(id.0, Plain(Tunnel { outbound_sa: 0, mtu: self.mtu }), 0)?;
        }
        self.cpu_sas.remove(id.0, index)?;
        self.sas().remove(Direction::Outbound, id.0, spi).map(|_| ())
    }

    /// Has the SAs that a tunnel has now treat packets by `policy`; those to come bring their own.
    pub fn set_policy(&mut self, id: TunnelId, policy: PacketPolicy) {
        self.sas().set_policy(id.0, policy);
    }

    /// Reads all counters.
    ///
    /// # Errors
    /// The kernel refuses a look-up.
    pub fn stats(&self) -> Result<DatapathStats> {
        let read_ns = now_ns();
        let mut tunnels = BTreeMap::new();
        for id in &self.known {
            tunnels.insert(*id, self.tunnel_stats(*id)?);
        }
        Ok(DatapathStats {
            read_ns,
            tunnels,
            drops: self.counters.drops(0)?,
            budget: self.counters.budget(self.budget.limit())?,
            xdp_mode: self.xdp_mode.to_owned(),
            engine: self.engine.stats(),
        })
    }

    /// The counters of one tunnel, which costs a fraction of what all do; zeros if there is no such tunnel.
    ///
    /// # Errors
    /// The kernel refused a look-up.
    pub fn tunnel_stats(&self, id: TunnelId) -> Result<TunnelStats> {
        if !self.known.contains(&id) {
            return Ok(TunnelStats::default());
        }
        let (counters, drops) = (self.counters.traffic(id.0)?, self.counters.drops(id.0)?);
        Ok(TunnelStats { counters, drops, mtu: self.mtu })
    }

    /// What one SA of a tunnel has carried; zeros if there is no such SA.
    ///
    /// # Errors
    /// The kernel refused the look-up.
    pub fn sa_counters(&self, id: TunnelId, direction: Direction, spi: u32) -> Result<SaCounters> {
        self.sas().counters(direction, id.0, spi)
    }

    /// The stream of events; may be taken once.
    ///
    /// # Errors
    /// It was taken before.
    pub fn events(&mut self) -> Result<DatapathEvents> {
        DatapathEvents::new(&mut self.object.ebpf)
    }

    /// Changes of the engine from its start on, for as long as there are workers; may be taken once.
    pub fn engine_events(&mut self) -> Option<mpsc::Receiver<EngineEvent>> {
        self.engine_events.take()
    }

    /// The engine and its workers.
    pub fn engine_stats(&self) -> EngineStats {
        self.engine.stats()
    }

    /// Ends the workers, detaches the programs and removes pins and the tunnel interface. The remote prefixes stay unreachable, so that
    /// packets for them do not leave in the clear while no gateway runs.
    ///
    /// # Errors
    /// Something could not be removed; the rest was.
    pub async fn stop(mut self) -> Result<()> {
        self.reassembly = None;
        self.engine.stop().await;
        self.prefixes.stop().await;
        let unpinned = self.pins.remove();
        let wiped = self.sas().wipe_all();
        // The kernel removes the routes with the interface.
        let removed = self.vgw0.remove(&self.netlink).await;
        unpinned.and(removed).and(wiped)
    }

    /// The table is never left half-changed by a panic, so a poisoned lock is as good as any.
    fn sas(&self) -> MutexGuard<'_, SaTable> {
        self.sas.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn set_up(&mut self, served: &[Served], plan: Option<&Plan>) -> Result<()> {
        forward_log(&mut self.object.ebpf)?;
        let mut config = GatewayConfig {
            vgw_peer_ifindex: self.vgw0.xdp.index,
            wan_addr4: self.config.wan_addrs.v4.unwrap_or(Ipv4Addr::UNSPECIFIED).octets(),
            wan_addr6: self.config.wan_addrs.v6.unwrap_or(Ipv6Addr::UNSPECIFIED).octets(),
            vgw0_mac: self.vgw0.stack.mac,
            vgw_peer_mac: self.vgw0.xdp.mac,
            cpu_sas: self.config.cpu_sas,
            padding: 0,
            mss_limit: self.config.mss_clamp.limit(),
        };
        let mut configs: Array<_, Plain<GatewayConfig>> =
            duplicate(&self.object.ebpf, "CONFIG")?.try_into()?;
        configs.set(0, Plain(config), 0)?;
        self.budget.set_limit(self.config.limit)?;
        self.prefixes.add_local(self.config.local_prefixes.clone()).await?;
        self.set_ports(served, plan.is_some())?;
        self.object.pin_maps(self.pins.directory())?;
        let mut targets = vec![("returned", self.vgw0.stack.clone())];
        targets.extend(served.iter().map(|served| ("gateway", served.interface.clone())));
        if let Err(error) = self.attach(&targets, XdpMode::Driver) {
            // A frame redirected from native mode is lost at an interface in generic mode, so it is all or none.
            tracing::warn!("native XDP is not possible, all interfaces run in generic mode: {error:#}");
            config.padding = GatewayConfig::GENERIC_PADDING;
            configs.set(0, Plain(config), 0)?;
            self.attach(&targets, XdpMode::Skb)?;
            self.xdp_mode = "generic";
        }
        self.reassembly = Some(Reassembly::start(&self.config.wan, self.config.wan_addrs, &self.vgw0)?);
        match plan {
            Some(plan) => self.start_workers(served, plan).await,
            None => Ok(()),
        }
    }

    /// Tells the XDP programs what each interface is for, and of its lanes if there are workers to be.
    fn set_ports(&self, served: &[Served], with_lanes: bool) -> Result<()> {
        let mut ports: BpfHashMap<_, u32, Plain<Port>> = duplicate(&self.object.ebpf, "PORTS")?.try_into()?;
        for served in served {
            ports.insert(served.interface.index, Plain(served.port(with_lanes)), 0)?;
        }
        Ok(())
    }

    /// Starts engine `xsk`, or stays with `kernel` where the operator leaves the choice.
    async fn start_workers(&mut self, served: &[Served], plan: &Plan) -> Result<()> {
        let EngineConfig { choice, exchange, busy_poll, tx_budget, ring_size, .. } = self.config.engine;
        let template = WorkerConfig {
            number: 0,
            cpu: None,
            pin_directory: self.pins.directory().to_owned(),
            interfaces: Vec::new(),
            vgw0_mac: self.vgw0.stack.mac,
            vgw0_peer_mac: self.vgw0.xdp.mac,
            ring_size,
            zero_copy: self.xdp_mode == "native",
            exchange: exchange && self.xdp_mode == "native",
            busy_poll,
            tx_budget,
        };
        let lanes: Array<_, Plain<Lane>> = duplicate(&self.object.ebpf, "LANES")?.try_into()?;
        let read_lane: ReadLane = Arc::new(move |index| lanes.get(&index, 0).ok().map(|Plain(lane)| lane));
        let shared: Vec<_> = served.iter().map(Served::shared).collect();
        let (events, receiver) = mpsc::channel(ENGINE_EVENTS);
        self.engine_events = Some(receiver);
        let event = match Workers::start(plan, &template, &shared, read_lane, events.clone()).await {
            Ok(workers) => {
                self.engine = RunningEngine::xsk(choice, workers);
                EngineEvent::WorkersRun { count: plan.workers() }
            }
            Err(error) if choice == EngineChoice::Auto => {
                self.set_ports(served, false)?;
                let reason = format!("{error:#}");
                self.engine = RunningEngine::kernel(choice, Some(reason.clone()));
                EngineEvent::FellBack { reason }
            }
            Err(error) => return Err(error.context("engine xsk does not come up")),
        };
        // There is room: it is the first or follows a few.
        let _ = events.try_send(event);
        Ok(())
    }

    /// Attaches programs to interfaces and pins the attachments, so that packets flow on when the agent dies. On failure
    /// nothing stays attached.
    fn attach(&mut self, targets: &[(&str, Interface)], mode: XdpMode) -> Result<()> {
        let mut links = Vec::new();
        for (program, interface) in targets {
            let xdp = self.object.program(program)?;
            let id = xdp
                .attach_to_if_index(interface.index, mode)
                .with_context(|| format!("cannot attach XDP to {}", interface.name))?;
            let link: FdLink =
                xdp.take_link(id)?.try_into().context("this kernel has no BPF links for XDP (5.9 has)")?;
            links.push((link, interface));
        }
        for (link, interface) in links {
            let path = self.pins.directory().join(format!("link-{}", interface.index));
            link.pin(&path).with_context(|| format!("cannot pin the attachment to {}", interface.name))?;
        }
        Ok(())
    }

    /// Makes a tunnel exist without an outbound SA, unless it does already.
    fn begin_tunnel(&mut self, id: TunnelId) -> Result<()> {
        ensure!(
            id.0 >= 1 && id.0 <= self.config.max_tunnels,
            "tunnel {} is out of range: at most {}",
            id.0,
            self.config.max_tunnels
        );
        if self.known.contains(&id) {
            return Ok(());
        }
        // Another tunnel may have had the number before.
        if self.used.contains(&id) {
            self.counters.reset(id.0)?;
        }
        self.budget.set_share(id.0, TunnelShare::default())?;
        self.tunnels.set(id.0, Plain(Tunnel { outbound_sa: 0, mtu: self.mtu }), 0)?;
        self.known.insert(id);
        self.used.insert(id);
        Ok(())
    }

    /// Makes a tunnel exist no more, with its SAs. What the kernel refuses leaves the rest removed.
    fn end_tunnel(&mut self, id: TunnelId) -> Result<()> {
        self.known.remove(&id);
        let mut outcome = self.tunnels.set(id.0, Plain(Tunnel::default()), 0).map_err(Into::into);
        outcome = outcome.and(self.budget.remove(id.0));
        outcome = outcome.and(self.cpu_sas.clear(id.0)).and(self.captures.forget(id.0));
        for (direction, spi) in self.sas().of_tunnel(id.0) {
            outcome = outcome.and(self.sas().remove(direction, id.0, spi).map(|_| ()));
        }
        outcome
    }
}

/// What was done of a change of a tunnel when it was begun.
struct Begun {
    outcome: Result<()>,
    /// Whether the change of the tunnel's prefixes was begun.
    with_prefixes: bool,
}

/// How many workers there are to be; `None` where none are wanted.
fn plan_workers(engine: &EngineConfig, ports: &BTreeMap<u32, (Interface, u32)>) -> Result<Option<Plan>> {
    if engine.choice == EngineChoice::Kernel {
        return Ok(None);
    }
    let allowed = CpuList::allowed().context("cannot tell the CPUs of this process")?;
    let interfaces: Vec<_> =
        ports.values().map(|(interface, _)| (interface.name.as_str(), interface.queues)).collect();
    Ok(Some(Plan::new(engine, &allowed, &interfaces)?))
}

/// Slots that the lanes of all interfaces need, those of `vgw0` included, which has a queue for each worker.
fn slots(engine: &EngineConfig, ports: &BTreeMap<u32, (Interface, u32)>, plan: &Plan) -> u32 {
    if !engine.exchange {
        return 0;
    }
    let queues = ports.values().map(|(interface, _)| interface.queues.receive);
    let queues: Vec<_> = queues.chain([plan.workers()]).collect();
    let lanes: u32 = assign(&queues).iter().map(|range| range.count).sum();
    lanes.saturating_mul(engine.ring_size)
}

/// Every interface that packets arrive at, with lanes for all its receive queues.
fn serve(ports: &BTreeMap<u32, (Interface, u32)>, vgw0: &TunnelInterface) -> Vec<Served> {
    let tunnel = (vgw0.xdp.clone(), PortRole::TUNNEL);
    let all: Vec<_> = ports.values().chain([&tunnel]).collect();
    let queues: Vec<_> = all.iter().map(|(interface, _)| interface.queues.receive).collect();
    let lanes = assign(&queues);
    let served = all.into_iter().zip(lanes);
    served
        .map(|((interface, role), lanes)| Served { interface: interface.clone(), role: *role, lanes })
        .collect()
}

/// Wipes the keys of removed SAs in time, for as long as the table exists.
fn sweep_regularly(table: Weak<Mutex<SaTable>>) {
    tokio::spawn(async move {
        while let Some(table) = table.upgrade() {
            table.lock().unwrap_or_else(PoisonError::into_inner).sweep();
            drop(table);
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
}

/// The first address of each family of a LAN interface that lies in the VNet: the sources of what the gateway itself sends
/// into tunnels.
async fn vnet_addresses(
    netlink: &Netlink,
    ports: &BTreeMap<u32, (Interface, u32)>,
    local_prefixes: &[IpNet],
) -> Result<Vec<IpAddr>> {
    let mut found: Vec<IpAddr> = Vec::new();
    for (interface, role) in ports.values() {
        if role & PortRole::LAN != 0 {
            for address in netlink.addresses(interface).await? {
                let is_first = !found.iter().any(|other| other.is_ipv4() == address.is_ipv4());
                if is_first && local_prefixes.iter().any(|prefix| prefix.contains(&address)) {
                    found.push(address);
                }
            }
        }
    }
    Ok(found)
}
