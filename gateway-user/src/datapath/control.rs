//! The running datapath of one gateway.

mod attach;
mod capture;
mod links;
mod trace;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use anyhow::{Result, ensure};
use aya::maps::{Array, MapData};
use gateway_common::{GatewayConfig, PortRole, Tunnel};
use ipnet::IpNet;
use tokio::sync::mpsc;

use self::attach::{plan_workers, serve, slots};
use self::links::{Consequences, Renewal, vnet_addresses};
use super::budget::{BandwidthLimit, BudgetControl, TunnelShare};
use super::capture::Captures;
use super::cpu_sas::CpuSas;
use super::engine::{EngineConfig, EngineEvent, EngineStats, RunningEngine};
use super::events::{DatapathEvents, forward_log};
use super::ipv6;
use super::link_kind::require_ethernet;
use super::links::Link;
use super::mtu::{TUNNEL_INTERFACE_MTU, outer_header, tunnel_mtu};
use super::netdev::{Interface, Netlink};
use super::object::{Limits, Object, Plain, duplicate};
use super::pins::Pins;
use super::policy::PacketPolicy;
use super::prefixes::{Exit, PrefixChange, Prefixes};
use super::reassembled::Reassembly;
use super::sa_table::{Direction, SaConfig, SaCounters, SaTable};
use super::stats::{Counters, DatapathStats, TunnelStats};
use super::trace::Tracer;
use super::tunnel::{TunnelChange, TunnelId};
use super::vgw0::TunnelInterface;
use super::wan_addresses::WanAddresses;
use super::workers::Plan;
use super::xdp_mode::XdpMode;
use crate::model::{MssClamp, XdpModeChoice};
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
    /// Where the XDP programs run.
    pub xdp_mode: XdpModeChoice,
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
    /// What the gateway itself sends into tunnels comes from here: at most one address of each family.
    sources: Vec<IpAddr>,
    /// What the XDP programs are told of the gateway.
    gateway: GatewayConfig,
    /// The interfaces that packets arrive at, the far end of `vgw0` among them.
    links: Vec<Link>,
    mode: XdpMode,
    /// Why it is that mode.
    mode_reason: String,
    /// Whether the WAN's interface was made to listen to router advertisements.
    hears_routers: bool,
    /// What a change of interfaces should have brought about, and did not yet.
    owed: Consequences,
    /// Routes that are being made again.
    renewal: Option<Renewal>,
    /// Workers that there are to be, if any.
    plan: Option<Plan>,
    engine: RunningEngine,
    engine_sender: mpsc::Sender<EngineEvent>,
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
        let ports = find_ports(&netlink, &wan, &config.lan).await?;
        let sources = find_sources(&netlink, &ports, &config.local_prefixes).await?;
        let with_inner_ipv6 = config.local_prefixes.iter().any(|prefix| prefix.addr().is_ipv6());
        let with_ipv6 = with_inner_ipv6 || config.wan_addrs.v6.is_some();
        let mtu = tunnel_mtu(wan.mtu, outer_header(config.wan_addrs));
        if with_ipv6 {
            ipv6::switch_on_forwarding(&config.wan)?;
        }
        let hears_routers = with_ipv6 && ipv6::is_hearing_routers(&config.wan);
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
        let (name, index) = (vgw0.stack.name.clone(), vgw0.stack.index);
        let exit = Exit { name, index, mtu, sources: sources.clone(), with_ipv6 };
        let prefixes = match Prefixes::start(&object.ebpf, exit) {
            Ok(prefixes) => prefixes,
            Err(error) => {
                // The first failure is the one to report.
                let _ = vgw0.remove(&netlink).await;
                let _ = pins.remove();
                return Err(error);
            }
        };
        let (engine_sender, engine_events) = mpsc::channel(ENGINE_EVENTS);
        let mut datapath = Self {
            mtu,
            sources,
            engine: RunningEngine::kernel(config.engine.choice, None),
            engine_sender,
            engine_events: Some(engine_events),
            gateway: GatewayConfig::default(),
            links: serve(&ports, &vgw0),
            mode: XdpMode::Native,
            mode_reason: String::new(),
            hears_routers,
            owed: Consequences::default(),
            renewal: None,
            plan,
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
        };
        if let Err(error) = datapath.set_up().await {
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
            xdp_mode: self.mode.name().to_owned(),
            xdp_reason: self.mode_reason.clone(),
            links: self.link_stats(),
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

    /// How XDP runs on the interfaces, for a human, and whether that is other than usual.
    pub fn xdp_mode(&self) -> (String, bool) {
        let text = format!("XDP runs in {} mode: {}", self.mode.name(), self.mode_reason);
        (text, self.mode == XdpMode::Generic)
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

    async fn set_up(&mut self) -> Result<()> {
        forward_log(&mut self.object.ebpf)?;
        self.gateway = GatewayConfig {
            vgw_peer_ifindex: self.vgw0.xdp.index,
            wan_addr4: self.config.wan_addrs.v4.unwrap_or(Ipv4Addr::UNSPECIFIED).octets(),
            wan_addr6: self.config.wan_addrs.v6.unwrap_or(Ipv6Addr::UNSPECIFIED).octets(),
            vgw0_mac: self.vgw0.stack.mac,
            vgw_peer_mac: self.vgw0.xdp.mac,
            cpu_sas: self.config.cpu_sas,
            padding: 0,
            mss_limit: self.config.mss_clamp.limit(),
        };
        self.write_config()?;
        self.budget.set_limit(self.config.limit)?;
        self.prefixes.add_local(self.config.local_prefixes.clone()).await?;
        self.set_ports(self.plan.is_some())?;
        self.object.pin_maps(self.pins.directory())?;
        self.attach_all()?;
        self.start_reassembly()?;
        self.start_workers().await
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

/// The interfaces of the gateway by index, each with its roles.
async fn find_ports(
    netlink: &Netlink,
    wan: &Interface,
    lans: &[String],
) -> Result<BTreeMap<u32, (Interface, u32)>> {
    require_ethernet(wan)?;
    let mut ports = BTreeMap::from([(wan.index, (wan.clone(), PortRole::WAN))]);
    for name in lans {
        let lan = netlink.interface(name).await?;
        require_ethernet(&lan)?;
        ports.entry(lan.index).or_insert((lan, 0)).1 |= PortRole::LAN;
    }
    Ok(ports)
}

/// What the gateway itself sends into tunnels comes from these addresses. Without any it goes on all the same.
async fn find_sources(
    netlink: &Netlink,
    ports: &BTreeMap<u32, (Interface, u32)>,
    local_prefixes: &[IpNet],
) -> Result<Vec<IpAddr>> {
    let lans = ports.values().filter(|(_, role)| role & PortRole::LAN != 0);
    let sources = vnet_addresses(netlink, lans.map(|(interface, _)| interface), local_prefixes).await?;
    if sources.is_empty() {
        tracing::warn!(
            "no LAN interface has an address inside the VNet: the gateway itself cannot use its tunnels"
        );
    }
    Ok(sources)
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
