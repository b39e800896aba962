//! Attaching the programs to interfaces, and starting the workers that serve them.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use aya::maps::{Array, HashMap as BpfHashMap, MapData, MapError};
use aya::programs::links::FdLink;
use gateway_common::{GatewayConfig, Lane, Port, PortRole};

use super::super::engine::{EngineConfig, EngineEvent, RunningEngine};
use super::super::links::Link;
use super::super::netdev::Interface;
use super::super::object::{Plain, duplicate};
use super::super::served::Served;
use super::super::vgw0::TunnelInterface;
use super::super::workers::{CpuList, Plan, ReadLane, Workers, assign};
use super::super::xdp_features;
use super::super::xdp_mode::XdpMode;
use super::Datapath;
use crate::model::{EngineChoice, XdpModeChoice};
use crate::worker::WorkerConfig;

impl Datapath {
    /// Attaches the programs to all interfaces in the mode that was asked for, or natively if all can, and pins the attachments, so
    /// that packets flow on when the agent dies.
    pub(super) fn attach_all(&mut self) -> Result<()> {
        let choice = self.config.xdp_mode;
        self.mode_reason = if choice == XdpModeChoice::Generic {
            "it was asked for".to_owned()
        } else {
            match self.attach_all_in(XdpMode::Native).and_then(|()| self.examine_drivers()) {
                Ok(reason) => {
                    self.mode_reason = reason;
                    return Ok(());
                }
                Err(error) if choice == XdpModeChoice::Native => {
                    return Err(error.context("native XDP, which was asked for, is not possible"));
                }
                // A frame redirected from native mode is lost at an interface in generic mode, so it is all or none.
                Err(error) => format!("native mode is not possible on all interfaces: {error:#}"),
            }
        };
        self.detach_all()?;
        self.set_mode(XdpMode::Generic)?;
        self.attach_all_in(XdpMode::Generic)
    }

    /// Asks the drivers, which have taken the programs, whether redirected frames arrive, too. A frame that no driver sends is lost
    /// without a trace.
    fn examine_drivers(&self) -> Result<String> {
        for link in self.links.iter().filter(|link| link.is_attached) {
            match xdp_features::of(link.served.interface.index) {
                Ok(features) => {
                    if let Some(missing) = features.missing() {
                        bail!("interface {}: {missing}", link.name());
                    }
                }
                // Before Linux 6.3.
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
                    return Ok("the drivers take the programs; whether they take redirected frames, this kernel does not tell"
                        .to_owned());
                }
                Err(error) => {
                    return Err(error)
                        .with_context(|| format!("cannot ask for the XDP features of {}", link.name()));
                }
            }
        }
        Ok("the drivers take the programs, and frames that are redirected".to_owned())
    }

    /// Detaches the programs from all interfaces.
    pub(super) fn detach_all(&self) -> Result<()> {
        let there = self.links.iter().filter(|link| link.is_attached);
        let indices = there.map(|link| link.served.interface.index);
        indices.chain([self.vgw0.stack.index]).try_for_each(|index| self.pins.remove_link(index))
    }

    /// Has all interfaces run in `mode` from now on, once they are attached so.
    pub(super) fn set_mode(&mut self, mode: XdpMode) -> Result<()> {
        self.mode = mode;
        self.gateway.padding = if mode == XdpMode::Generic { GatewayConfig::GENERIC_PADDING } else { 0 };
        self.write_config()
    }

    /// Tells the XDP programs about the gateway.
    pub(super) fn write_config(&mut self) -> Result<()> {
        let mut configs: Array<_, Plain<GatewayConfig>> =
            duplicate(&self.object.ebpf, "CONFIG")?.try_into()?;
        Ok(configs.set(0, Plain(self.gateway), 0)?)
    }

    /// Attaches the programs to every interface that is there. On failure nothing stays attached.
    pub(super) fn attach_all_in(&mut self, mode: XdpMode) -> Result<()> {
        let mut targets = vec![("returned", self.vgw0.stack.clone())];
        let there = self.links.iter().filter(|link| link.is_attached);
        targets.extend(there.map(|link| ("gateway", link.served.interface.clone())));
        let mut links = Vec::new();
        for (program, interface) in targets {
            links.push((self.attach(program, &interface, mode)?, interface));
        }
        links.into_iter().try_for_each(|(link, interface)| self.pin(link, &interface))
    }

    /// Attaches a program to an interface for as long as the result exists.
    pub(super) fn attach(&mut self, program: &str, interface: &Interface, mode: XdpMode) -> Result<FdLink> {
        let xdp = self.object.program(program)?;
        let id = xdp
            .attach_to_if_index(interface.index, mode.attach_mode())
            .with_context(|| format!("cannot attach XDP to {}", interface.name))?;
        xdp.take_link(id)?.try_into().context("this kernel has no BPF links for XDP (5.9 has)")
    }

    /// Keeps an attachment beyond the life of this process.
    pub(super) fn pin(&self, link: FdLink, interface: &Interface) -> Result<()> {
        let pinned = link.pin(self.pins.link(interface.index));
        pinned.map(drop).with_context(|| format!("cannot pin the attachment to {}", interface.name))
    }

    /// Tells the XDP programs what each interface is for, and of its lanes if there are workers to be.
    pub(super) fn set_ports(&self, with_lanes: bool) -> Result<()> {
        let mut ports = self.ports()?;
        for link in self.links.iter().filter(|link| link.is_attached) {
            let port = link.served.port(with_lanes && link.has_workers);
            ports.insert(link.served.interface.index, Plain(port), 0)?;
        }
        Ok(())
    }

    /// Makes an interface one of others again; if it is that already it is no error.
    pub(super) fn remove_port(&self, index: u32) -> Result<()> {
        match self.ports()?.remove(&index) {
            Ok(()) | Err(MapError::KeyNotFound) => Ok(()),
            Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => {
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Starts engine `xsk`, or stays with `kernel` where the operator leaves the choice.
    pub(super) async fn start_workers(&mut self) -> Result<()> {
        let choice = self.config.engine.choice;
        let event = match self.run_workers().await {
            Ok(None) => return Ok(()),
            Ok(Some((count, workers))) => {
                self.engine = RunningEngine::xsk(choice, workers);
                EngineEvent::WorkersRun { count }
            }
            Err(error) if choice == EngineChoice::Auto => self.fall_back(&error)?,
            Err(error) => return Err(error.context("engine xsk does not come up")),
        };
        self.tell(event);
        Ok(())
    }

    /// Ends the workers and starts them again, on the interfaces that are there now. If they do not come up, packets take the
    /// kernel engine, and workers are owed.
    pub(super) async fn restart_workers(&mut self) -> Result<()> {
        if self.plan.is_none() {
            return Ok(());
        }
        self.engine.stop().await;
        self.owed.workers = true;
        self.set_ports(true)?;
        let event = match self.run_workers().await {
            Ok(None) => return Ok(()),
            Ok(Some((count, workers))) => {
                self.engine = RunningEngine::xsk(self.config.engine.choice, workers);
                self.owed.workers = false;
                EngineEvent::WorkersRun { count }
            }
            Err(error) => {
                let is_known = self.engine.stats().reason.is_some_and(|known| known == format!("{error:#}"));
                let event = self.fall_back(&error)?;
                if is_known {
                    return Ok(());
                }
                event
            }
        };
        self.tell(event);
        Ok(())
    }

    fn fall_back(&mut self, error: &anyhow::Error) -> Result<EngineEvent> {
        self.set_ports(false)?;
        let reason = format!("{error:#}");
        self.engine = RunningEngine::kernel(self.config.engine.choice, Some(reason.clone()));
        Ok(EngineEvent::FellBack { reason })
    }

    fn tell(&self, event: EngineEvent) {
        // Who does not keep up with the events loses them, here as elsewhere.
        let _ = self.engine_sender.try_send(event);
    }

    /// Runs as many workers as were planned; `None` where none were.
    async fn run_workers(&self) -> Result<Option<(u32, Workers)>> {
        let Some(plan) = &self.plan else { return Ok(None) };
        let EngineConfig { exchange, busy_poll, tx_budget, ring_size, .. } = self.config.engine;
        let template = WorkerConfig {
            number: 0,
            cpu: None,
            pin_directory: self.pins.directory().to_owned(),
            interfaces: Vec::new(),
            vgw0_mac: self.vgw0.stack.mac,
            vgw0_peer_mac: self.vgw0.xdp.mac,
            ring_size,
            zero_copy: self.mode == XdpMode::Native,
            exchange: exchange && self.mode == XdpMode::Native,
            busy_poll,
            tx_budget,
        };
        let lanes: Array<_, Plain<Lane>> = duplicate(&self.object.ebpf, "LANES")?.try_into()?;
        let read_lane: ReadLane = Arc::new(move |index| lanes.get(&index, 0).ok().map(|Plain(lane)| lane));
        let served = self.links.iter().filter(|link| link.is_attached && link.has_workers);
        let served: Vec<_> = served.map(|link| &link.served).collect();
        for Served { interface, .. } in &served {
            let queues = interface.queues.receive.min(interface.queues.transmit);
            ensure!(
                queues >= plan.workers(),
                "interface {} has {queues} queue(s) only, fewer than there are workers, {}",
                interface.name,
                plan.workers()
            );
        }
        let shared: Vec<_> = served.into_iter().map(Served::shared).collect();
        let events = self.engine_sender.clone();
        let workers = Workers::start(plan, &template, &shared, read_lane, events).await?;
        Ok(Some((plan.workers(), workers)))
    }

    fn ports(&self) -> Result<BpfHashMap<MapData, u32, Plain<Port>>> {
        Ok(duplicate(&self.object.ebpf, "PORTS")?.try_into()?)
    }
}

/// How many workers there are to be; `None` where none are wanted.
pub(super) fn plan_workers(
    engine: &EngineConfig,
    ports: &BTreeMap<u32, (Interface, u32)>,
) -> Result<Option<Plan>> {
    if engine.choice == EngineChoice::Kernel {
        return Ok(None);
    }
    let allowed = CpuList::allowed().context("cannot tell the CPUs of this process")?;
    let interfaces: Vec<_> =
        ports.values().map(|(interface, _)| (interface.name.as_str(), interface.queues)).collect();
    Ok(Some(Plan::new(engine, &allowed, &interfaces)?))
}

/// Slots that the lanes of all interfaces need, those of `vgw0` included, which has a queue for each worker.
pub(super) fn slots(engine: &EngineConfig, ports: &BTreeMap<u32, (Interface, u32)>, plan: &Plan) -> u32 {
    if !engine.exchange {
        return 0;
    }
    let queues = ports.values().map(|(interface, _)| interface.queues.receive);
    let queues: Vec<_> = queues.chain([plan.workers()]).collect();
    let lanes: u32 = assign(&queues).iter().map(|range| range.count).sum();
    lanes.saturating_mul(engine.ring_size)
}

/// Every interface that packets arrive at, with lanes for all its receive queues.
pub(super) fn serve(ports: &BTreeMap<u32, (Interface, u32)>, vgw0: &TunnelInterface) -> Vec<Link> {
    let tunnel = (vgw0.xdp.clone(), PortRole::TUNNEL);
    let all: Vec<_> = ports.values().chain([&tunnel]).collect();
    let queues: Vec<_> = all.iter().map(|(interface, _)| interface.queues.receive).collect();
    let lanes = assign(&queues);
    let served = all.into_iter().zip(lanes);
    served
        .map(|((interface, role), lanes)| Served { interface: interface.clone(), role: *role, lanes })
        .map(Link::new)
        .collect()
}
