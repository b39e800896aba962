//! Hosts, gateways and the internet between them.

use crate::sweep::remove_tree;
use crate::{Agent, GatewayOptions, LocalSite, Nat, NetCfg, NetNs, Scope, VNet, ping, wait_until};
use anyhow::{Context as _, Result};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

/// Pre-shared key of every connection that [`Lab::establish`] makes.
const KEY: &str = "A1b2C3D4";

/// How long a tunnel may take to come up on a busy machine.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// First three octets of the wide-area networks, site by site (RFC 5737).
const WAN_NETWORKS: [[u8; 3]; 3] = [[192, 0, 2], [198, 51, 100], [203, 0, 113]];

/// A laboratory of up to three sites. Site N is VNet N, `10.N.0.0/16`, with one host and one gateway:
///
/// ```text
/// host1 eth0 ── lan0 gw1 wan0 ── gw1 ┐
/// host2 eth0 ── lan0 gw2 wan0 ── gw2 ├ inet
/// host3 eth0 ── lan0 gw3 wan0 ── gw3 ┘
/// ```
///
/// A site may lie behind address translation ([`LabBuilder::behind_nat`]): then a [`Nat`] stands between its gateway and
/// `inet`, and the gateway's own address is a private one.
///
/// Frames that XDP redirects are invisible to a capture on the gateway's own port, so the wire is watched in `inet`,
/// whose port towards gateway N is named `gwN`.
#[derive(Debug)]
pub struct Lab {
    scope: Scope,
    /// Routes between the wide-area networks and knows nothing of the VNets.
    pub inet: NetNs,
    sites: Vec<Site>,
    keep: bool,
}

/// One VNet of a [`Lab`].
#[derive(Debug)]
pub struct Site {
    number: u8,
    /// A host in the VNet; its port is `eth0`.
    pub host: NetNs,
    /// The gateway; its ports are [`Site::LAN`] and [`Site::WAN`].
    pub gateway: NetNs,
    nat: Option<Nat>,
}

/// Prepares a [`Lab`].
#[derive(Debug)]
pub struct LabBuilder {
    scope: Scope,
    sites: u8,
    behind_nat: Vec<u8>,
    queues: u32,
    dual_stack: bool,
}

impl LabBuilder {
    /// Number of sites, 1 to 3; 2 unless told otherwise.
    #[must_use]
    pub fn sites(mut self, sites: u8) -> Self {
        assert!((1..=WAN_NETWORKS.len()).contains(&usize::from(sites)), "a laboratory has 1 to 3 sites");
        self.sites = sites;
        self
    }

    /// Puts address translation between the gateway of site `number` and the internet.
    #[must_use]
    pub fn behind_nat(mut self, number: u8) -> Self {
        self.behind_nat.push(number);
        self
    }

    /// Number of receive and transmit queues of every port; 1 unless told otherwise.
    #[must_use]
    pub fn queues(mut self, queues: u32) -> Self {
        self.queues = queues;
        self
    }

    /// Gives hosts and gateways IPv6 addresses beside those of IPv4: site N is `fd00:N::/48` too, its gateway `2001:db8:N::2`.
    /// Address translation has no part in it.
    #[must_use]
    pub fn dual_stack(mut self) -> Self {
        self.dual_stack = true;
        self
    }

    /// Uses `scope` in place of one that is unique to this process.
    #[must_use]
    pub fn scope(mut self, scope: Scope) -> Self {
        self.scope = scope;
        self
    }

    /// Makes the namespaces, links, addresses and routes; starts no agent.
    pub fn build(self) -> Result<Lab> {
        let directory = self.scope.directory();
        std::fs::create_dir(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let inet = NetNs::create(&self.scope.namespace("inet"))?;
        inet.sysctl("net/ipv4/ip_forward", "1")?;
        let mut lab = Lab { scope: self.scope, inet, sites: Vec::new(), keep: false };
        for number in 1..=self.sites {
            let behind_nat = self.behind_nat.contains(&number);
            let site = Site::build(&lab.scope, number, &lab.inet, behind_nat, self.queues)?;
            if self.dual_stack {
                site.add_ipv6(&lab.inet)?;
            }
            lab.sites.push(site);
        }
        Ok(lab)
    }
}

impl Lab {
    /// Starts with two sites and a scope of its own.
    pub fn builder() -> LabBuilder {
        LabBuilder { scope: Scope::unique(), sites: 2, behind_nat: Vec::new(), queues: 1, dual_stack: false }
    }

    /// The name of everything in this laboratory.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Directory for whatever the laboratory writes.
    pub fn directory(&self) -> PathBuf {
        self.scope.directory()
    }

    /// Address of `inet` in the wide-area network of site `number`.
    pub fn inet_address(&self, number: u8) -> Ipv4Addr {
        self.site(number).wan(1)
    }

    /// Site `number`, counted from 1.
    pub fn site(&self, number: u8) -> &Site {
        &self.sites[usize::from(number) - 1]
    }

    /// Every site.
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// Configuration in which VNet 1 is connected to every other VNet. One file serves all gateways.
    pub fn netcfg(&self) -> NetCfg {
        let names = || self.sites.iter().map(Site::vnet);
        let vnet = |site: &Site| VNet {
            name: site.vnet(),
            prefixes: vec![site.prefix()],
            subnets: vec![
                ("Hosts".to_owned(), format!("10.{}.1.0/24", site.number)),
                ("GatewaySubnet".to_owned(), format!("10.{}.255.0/27", site.number)),
            ],
            connections: if site.number == 1 { names().skip(1).collect() } else { names().take(1).collect() },
        };
        let local_site = |site: &Site| LocalSite {
            name: site.vnet(),
            prefixes: vec![site.prefix()],
            gateway_address: site.wan_address().to_string(),
        };
        NetCfg {
            local_sites: self.sites.iter().map(local_site).collect(),
            vnets: self.sites.iter().map(vnet).collect(),
        }
    }

    /// Writes `netcfg` for the gateway of site `number` and returns the file's path.
    pub fn write_netcfg(&self, number: u8, netcfg: &NetCfg) -> Result<PathBuf> {
        let path = self.directory().join(format!("netcfg{number}.xml"));
        std::fs::write(&path, netcfg.to_xml())?;
        Ok(path)
    }

    /// Starts the agent of site `number` with the configuration of [`Lab::netcfg`].
    pub fn start_agent(&self, number: u8, options: &GatewayOptions) -> Result<Agent> {
        self.start_agent_with(number, &self.netcfg(), options)
    }

    /// Starts the agent of site `number` with a configuration of the caller's.
    pub fn start_agent_with(&self, number: u8, netcfg: &NetCfg, options: &GatewayOptions) -> Result<Agent> {
        let netcfg = self.write_netcfg(number, netcfg)?;
        Agent::start(&self.scope, self.site(number), &netcfg, options)
    }

    /// Starts an agent at site `number` that must refuse to run, and returns what it said; see [`Agent::start_refused`].
    pub fn start_refused(&self, number: u8, netcfg: &NetCfg, options: &GatewayOptions) -> Result<String> {
        let netcfg = self.write_netcfg(number, netcfg)?;
        Agent::start_refused(&self.scope, self.site(number), &netcfg, options)
    }

    /// Starts an agent at every site, all with the same options, sets the keys, and waits until every connection of
    /// site 1 is up. The agents come back in the order of the sites.
    pub fn establish(&self, options: &GatewayOptions) -> Result<Vec<Agent>> {
        self.establish_with(&self.netcfg(), options)
    }

    /// The same with a configuration of the caller's for all gateways.
    pub fn establish_with(&self, netcfg: &NetCfg, options: &GatewayOptions) -> Result<Vec<Agent>> {
        let agents: Result<Vec<Agent>> =
            self.sites.iter().map(|site| self.start_agent_with(site.number, netcfg, options)).collect();
        let agents = agents?;
        self.set_keys(&agents, KEY)?;
        self.wait_connected(&agents)?;
        Ok(agents)
    }

    /// Sets `key` at both ends of every connection.
    pub fn set_keys(&self, agents: &[Agent], key: &str) -> Result<()> {
        for (site, agent) in self.sites.iter().zip(agents).skip(1) {
            agents[0].vgw().set_key(&self.site(1).vnet(), &site.vnet(), key)?;
            agent.vgw().set_key(&site.vnet(), &self.site(1).vnet(), key)?;
        }
        Ok(())
    }

    /// Waits until every connection is up at both of its ends.
    pub fn wait_connected(&self, agents: &[Agent]) -> Result<()> {
        for (site, agent) in self.sites.iter().zip(agents).skip(1) {
            agents[0].wait_connected(&site.vnet(), CONNECT_TIMEOUT)?;
            agent.wait_connected(&self.site(1).vnet(), CONNECT_TIMEOUT)?;
        }
        Ok(())
    }

    /// Waits until the host of site `from` reaches the host of site `to`.
    pub fn wait_reachable(&self, from: u8, to: u8) -> Result<()> {
        let target = self.site(to).host_address();
        wait_until(CONNECT_TIMEOUT, &format!("host{from} reaches host{to}"), || {
            Ok(ping(&self.site(from).host, &format!("-c 1 -W 1 {target}"))?.received == 1)
        })
    }

    /// Routes the VNets in the clear, without any gateway: what the laboratory does before tunnels come into it.
    pub fn route_plainly(&self) -> Result<()> {
        for site in &self.sites {
            self.inet.ip(&format!("route add {} via {}", site.prefix(), site.wan_address()))?;
            site.gateway.sysctl("net/ipv4/ip_forward", "1")?;
        }
        Ok(())
    }

    /// Leaves everything in place when the laboratory is dropped; [`crate::remove_scope`] removes it.
    pub fn keep(&mut self) {
        self.keep = true;
        self.inet.keep();
        for site in &mut self.sites {
            site.host.keep();
            site.gateway.keep();
            if let Some(nat) = &mut site.nat {
                nat.keep();
            }
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        for path in [self.directory(), self.scope.pin_root()] {
            if let Err(error) = remove_tree(&path) {
                eprintln!("warning: {error:#}");
            }
        }
    }
}

impl Site {
    /// The gateway's port towards its VNet.
    pub const LAN: &'static str = "lan0";
    /// The gateway's port towards the internet.
    pub const WAN: &'static str = "wan0";
    /// The host's port.
    pub const HOST_PORT: &'static str = "eth0";

    /// Number of the site, counted from 1.
    pub fn number(&self) -> u8 {
        self.number
    }

    /// Name of the VNet, for instance `VNet1`.
    pub fn vnet(&self) -> String {
        format!("VNet{}", self.number)
    }

    /// Address space of the VNet, for instance `10.1.0.0/16`.
    pub fn prefix(&self) -> String {
        format!("10.{}.0.0/16", self.number)
    }

    /// Address of the host.
    pub fn host_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 1, 10)
    }

    /// Address of the gateway inside the VNet, the host's default route.
    pub fn lan_address(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 1, 1)
    }

    /// Public address of the gateway, or of the address translation in front of it.
    pub fn wan_address(&self) -> Ipv4Addr {
        self.wan(2)
    }

    /// Address of the gateway's own port towards the internet: the public one, or a private one behind address translation.
    pub fn gateway_address(&self) -> Ipv4Addr {
        if self.nat.is_some() { self.private(2) } else { self.wan_address() }
    }

    /// The address translation in front of the gateway.
    pub fn nat(&self) -> Option<&Nat> {
        self.nat.as_ref()
    }

    /// Name of the port of `inet` towards this gateway.
    pub fn inet_port(&self) -> String {
        format!("gw{}", self.number)
    }

    fn build(scope: &Scope, number: u8, inet: &NetNs, behind_nat: bool, queues: u32) -> Result<Self> {
        let host = NetNs::create(&scope.namespace(&format!("host{number}")))?;
        let gateway = NetNs::create(&scope.namespace(&format!("gw{number}")))?;
        let mut site = Self { number, host, gateway, nat: None };
        let port = site.inet_port();
        let lan = (Self::LAN, site.lan_address());
        site.gateway.cable(lan, &site.host, (Self::HOST_PORT, site.host_address()), queues)?;
        site.host.face_xdp(Self::HOST_PORT)?;
        let (inside, outside) = ((Self::WAN, site.wan_address()), (&*port, site.wan(1)));
        if behind_nat {
            let nat = Nat::create(&scope.namespace(&format!("nat{number}")), site.wan(1))?;
            site.gateway.cable(
                (Self::WAN, site.private(2)),
                nat.namespace(),
                (Nat::INSIDE, site.private(1)),
                queues,
            )?;
            nat.namespace().face_xdp(Nat::INSIDE)?;
            nat.namespace().cable((Nat::OUTSIDE, inside.1), inet, outside, queues)?;
            nat.start()?;
            site.gateway.ip(&format!("route add default via {}", site.private(1)))?;
            site.nat = Some(nat);
        } else {
            site.gateway.cable(inside, inet, outside, queues)?;
            inet.face_xdp(&port)?;
            site.gateway.ip(&format!("route add default via {}", site.wan(1)))?;
        }
        site.host.ip(&format!("route add default via {}", site.lan_address()))?;
        Ok(site)
    }

    fn private(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, self.number, last)
    }

    fn wan(&self, last: u8) -> Ipv4Addr {
        let [a, b, c] = WAN_NETWORKS[usize::from(self.number) - 1];
        Ipv4Addr::new(a, b, c, last)
    }
}
