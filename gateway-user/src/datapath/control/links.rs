//! Following the gateway's interfaces and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Result, anyhow};
use aya::maps::Array;
use gateway_common::{Control, PortRole, Tunnel};
use ipnet::IpNet;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::super::ipv6;
use super::super::link_kind::require_ethernet;
use super::super::link_watch::LinkNews;
use super::super::links::{Difference, Link, LinkEvent, LinkStats, Presence};
use super::super::mtu::{outer_header, tunnel_mtu};
use super::super::netdev::{Interface, Netlink};
use super::super::object::{Plain, duplicate};
use super::super::reassembled::Reassembly;
use super::super::wan_addresses::WanAddresses;
use super::super::xdp_mode::XdpMode;
use super::Datapath;
use crate::model::XdpModeChoice;

/// The outcome of routes that are made again, when it is known.
pub(super) type Renewal = oneshot::Receiver<Result<()>>;

/// What a look at the interfaces has to bring about when all were looked at.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Consequences {
    /// Workers serve other interfaces, or longer frames.
    pub(super) workers: bool,
    /// Routes into the tunnels are others.
    routes: bool,
    /// Ways of packets that were noted are void.
    ways: bool,
}

impl Datapath {
    /// Looks at the interfaces, and has the datapath follow what has become of them: one that is missing is left out, one that is
    /// there again gets the programs, whatever its index. What the kernel refuses is told, and tried again at the next look.
    pub async fn follow_links(&mut self, news: &LinkNews) -> Vec<LinkEvent> {
        let mut events = Vec::new();
        let mut then = Consequences::default();
        for position in 0..self.links.len() {
            if self.links[position].has_role(PortRole::TUNNEL) {
                continue;
            }
            let name = self.links[position].name().to_owned();
            match self.netlink.find(&name).await {
                Ok(found) => self.follow(position, found, &mut then, &mut events),
                // It says nothing about the interface.
                Err(error) => tracing::warn!("{error:#}"),
            }
        }
        self.note_renewal();
        if let Err(error) = self.follow_sources(news, &mut then).await {
            tracing::warn!("{error:#}");
        }
        let outcome = self.draw(then).await;
        if let Err(error) = outcome {
            tracing::warn!("a change of the interfaces is followed in part: {error:#}");
            self.owed.routes = true;
        }
        events
    }

    /// Takes other addresses for the gateway's own from now on. SAs that exist keep theirs.
    ///
    /// # Errors
    /// The kernel refused a change; the call may be repeated.
    pub async fn set_wan_addresses(&mut self, addresses: WanAddresses) -> Result<()> {
        let before = self.config.wan_addrs;
        if before.v4 != addresses.v4 {
            if let Some(address) = addresses.v4 {
                self.netlink.add_host_address(&self.vgw0.stack, address.into()).await?;
            }
            if let Some(address) = before.v4 {
                self.netlink.remove_address(&self.vgw0.stack, address.into()).await?;
            }
        }
        self.gateway.wan_addr4 = addresses.v4.unwrap_or(Ipv4Addr::UNSPECIFIED).octets();
        self.gateway.wan_addr6 = addresses.v6.unwrap_or(Ipv6Addr::UNSPECIFIED).octets();
        self.write_config()?;
        self.config.wan_addrs = addresses;
        self.reassembly = None;
        self.forget_ways()
    }

    /// The gateway's interfaces.
    pub fn link_stats(&self) -> Vec<LinkStats> {
        self.links.iter().filter(|link| !link.has_role(PortRole::TUNNEL)).map(Link::stats).collect()
    }

    fn follow(
        &mut self,
        position: usize,
        found: Option<Interface>,
        then: &mut Consequences,
        events: &mut Vec<LinkEvent>,
    ) {
        let Difference { presence, mac, mtu, is_ready } = self.links[position].compare(found.as_ref());
        let interface = self.links[position].name().to_owned();
        if matches!(presence, Presence::Gone | Presence::Replaced) {
            then.workers |= self.links[position].has_workers;
            then.ways = true;
            if let Err(error) = self.leave(position) {
                tracing::warn!("what was attached to {interface} cannot be removed: {error:#}");
            }
            events.push(LinkEvent::Gone { interface: interface.clone() });
        }
        let Some(found) = found else { return };
        let index = found.index;
        if matches!(presence, Presence::New | Presence::Replaced) {
            then.ways = true;
            match self.take(position, found.clone(), events) {
                Ok(()) => events.push(LinkEvent::Returned { interface: interface.clone(), index }),
                Err(error) => return self.note_problem(position, &error, events),
            }
        } else if mac || mtu {
            then.ways = true;
            self.links[position].renew(found.clone());
            if mac {
                events.push(LinkEvent::MacChanged { interface: interface.clone(), mac: found.mac });
            }
        }
        let link = &mut self.links[position];
        if is_ready {
            link.has_workers = true;
            then.workers = true;
        }
        if mtu {
            then.workers |= link.has_workers;
            let is_wan = link.has_role(PortRole::WAN);
            if is_wan {
                then.routes = true;
                if let Err(error) = self.change_mtu(found.mtu) {
                    tracing::warn!("the tunnels cannot follow the MTU of {interface}: {error:#}");
                }
            }
            let tunnel_mtu = is_wan.then_some(self.mtu);
            events.push(LinkEvent::MtuChanged { interface, mtu: found.mtu, tunnel_mtu });
        }
    }

    /// Gives an interface up that is gone, or has another name now.
    fn leave(&mut self, position: usize) -> Result<()> {
        let link = &mut self.links[position];
        (link.is_attached, link.has_workers) = (false, false);
        link.problem = Some("there is no interface of this name".to_owned());
        let index = link.served.interface.index;
        self.remove_port(index).and(self.pins.remove_link(index))
    }

    /// Attaches the programs to an interface that is there again. When it can do generic XDP only, all interfaces go over to that.
    fn take(&mut self, position: usize, found: Interface, events: &mut Vec<LinkEvent>) -> Result<()> {
        require_ethernet(&found)?;
        self.pins.remove_link(found.index)?;
        let native = match self.attach("gateway", &found, self.mode) {
            Ok(attached) => {
                self.pin(attached, &found)?;
                Ok(())
            }
            // The others stay as they are where this one can do neither.
            Err(error) if self.mode == XdpMode::Native && self.config.xdp_mode == XdpModeChoice::Auto => {
                drop(self.attach("gateway", &found, XdpMode::Generic)?);
                Err(error)
            }
            Err(error) => return Err(error),
        };
        let is_wan = self.links[position].has_role(PortRole::WAN);
        let link = &mut self.links[position];
        link.renew(found);
        (link.is_attached, link.problem) = (true, None);
        if let Err(error) = native {
            let reason = format!("{error:#}");
            self.go_generic(&reason)?;
            events.push(LinkEvent::WentGeneric { reason });
        }
        if is_wan {
            // Its sockets are bound to the interface that was.
            self.reassembly = None;
        }
        if is_wan && self.hears_routers {
            ipv6::hear_routers(&self.config.wan)?;
        }
        Ok(())
    }

    fn go_generic(&mut self, reason: &str) -> Result<()> {
        self.detach_all()?;
        self.owed.workers = self.plan.is_some();
        reason.clone_into(&mut self.mode_reason);
        self.set_mode(XdpMode::Generic)?;
        self.attach_all_in(XdpMode::Generic)
    }

    fn note_problem(&mut self, position: usize, error: &anyhow::Error, events: &mut Vec<LinkEvent>) {
        let reason = format!("{error:#}");
        let link = &mut self.links[position];
        if link.problem.as_ref() != Some(&reason) {
            events.push(LinkEvent::Failed { interface: link.name().to_owned(), reason: reason.clone() });
        }
        link.problem = Some(reason);
    }

    /// The tunnels carry what fits a WAN with this MTU from now on.
    fn change_mtu(&mut self, wan_mtu: u32) -> Result<()> {
        self.mtu = tunnel_mtu(wan_mtu, outer_header(self.config.wan_addrs));
        for id in &self.known {
            let Plain(tunnel) = self.tunnels.get(&id.0, 0)?;
            self.tunnels.set(id.0, Plain(Tunnel { mtu: self.mtu, ..tunnel }), 0)?;
        }
        Ok(())
    }

    /// The addresses that the gateway's own packets into tunnels come from. The kernel removes routes with an address that goes,
    /// so they are made again even if it came back at once.
    async fn follow_sources(&mut self, news: &LinkNews, then: &mut Consequences) -> Result<()> {
        let lans = self.links.iter().filter(|link| link.is_attached && link.has_role(PortRole::LAN));
        let lans = lans.map(|link| &link.served.interface);
        let sources = vnet_addresses(&self.netlink, lans, &self.config.local_prefixes).await?;
        let was_removed = self.sources.iter().any(|source| news.may_have_removed(*source));
        if sources != self.sources || was_removed {
            self.sources = sources;
            then.routes = true;
        }
        Ok(())
    }

    async fn draw(&mut self, then: Consequences) -> Result<()> {
        let mut outcome = Ok(());
        if then.routes || self.owed.routes {
            self.owed.routes = false;
            self.renewal = Some(self.prefixes.begin_renewal(self.mtu, self.sources.clone()));
        }
        if self.reassembly.is_none() {
            outcome = outcome.and(self.start_reassembly());
        }
        if then.ways {
            outcome = outcome.and(self.set_ports(self.engine.has_workers()));
            outcome = outcome.and(self.forget_ways());
        }
        if then.workers || self.owed.workers {
            outcome = outcome.and(self.restart_workers().await);
        }
        outcome
    }

    /// Brings in from now on what arrives in fragments. Where the kernel refuses that, the next look tries again.
    pub(super) fn start_reassembly(&mut self) -> Result<()> {
        self.reassembly = Some(Reassembly::start(&self.config.wan, self.config.wan_addrs, &self.vgw0)?);
        Ok(())
    }

    /// Routes that the kernel refused are to be made again.
    fn note_renewal(&mut self) {
        let Some(renewal) = &mut self.renewal else { return };
        let outcome = match renewal.try_recv() {
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Closed) => Err(anyhow!("the thread that changes prefixes has ended")),
            Ok(outcome) => outcome,
        };
        self.renewal = None;
        if let Err(error) = outcome {
            tracing::warn!("a route into a tunnel is not as it has to be: {error:#}");
            self.owed.routes = true;
        }
    }

    /// Makes void what was noted about the ways of packets.
    fn forget_ways(&self) -> Result<()> {
        let mut controls: Array<_, Plain<Control>> = duplicate(&self.object.ebpf, "CONTROL")?.try_into()?;
        let Plain(control) = controls.get(&0, 0)?;
        Ok(controls.set(0, Plain(Control { epoch: control.epoch.wrapping_add(1), ..control }), 0)?)
    }
}

/// The first address of each family of a LAN interface that lies in the VNet: the sources of what the gateway itself sends
/// into tunnels.
pub(super) async fn vnet_addresses<'a>(
    netlink: &Netlink,
    lans: impl Iterator<Item = &'a Interface>,
    local_prefixes: &[IpNet],
) -> Result<Vec<IpAddr>> {
    let mut found: Vec<IpAddr> = Vec::new();
    for interface in lans {
        for address in netlink.addresses(interface).await? {
            let is_first = !found.iter().any(|other| other.is_ipv4() == address.is_ipv4());
            if is_first && local_prefixes.iter().any(|prefix| prefix.contains(&address)) {
                found.push(address);
            }
        }
    }
    Ok(found)
}
