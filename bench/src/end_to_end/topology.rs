//! Two hosts and two gateways in a row, connected by virtual Ethernet that behaves like wires.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use crate::bpf::{Link, Map, programs};
use anyhow::{Context as _, Result};
use testbed::{NetNs, Scope, ping, remove_scope, wait_until};

/// The two ends; A is where the load comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    A,
    B,
}

/// How long a system may take until a packet passes.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// MTU of every link.
pub(crate) const LINK_MTU: u32 = 1500;

/// ```text
/// hostA eth0 ──── lan0 gwA wan0 ──── wan0 gwB lan0 ──── eth0 hostB
/// 10.1.1.10      10.1.1.1  192.0.2.1  192.0.2.2  10.2.1.1      10.2.1.10
/// ```
///
/// Every port computes its checksums and segments itself (TSO, GSO and checksum offload are off) and receives through NAPI
/// (GRO is on), so a frame is on each link what it would be on a wire. Hardware addresses are fixed and all neighbours are
/// entered for good, so that no ARP is in the way, even when nobody is left at the other end. Nothing forwards yet.
#[derive(Debug)]
pub(crate) struct Topology {
    scope: Scope,
    hosts: [NetNs; 2],
    gateways: [NetNs; 2],
}

impl Topology {
    /// A gateway's port towards its host.
    pub(crate) const LAN: &'static str = "lan0";
    /// A gateway's port towards the other gateway.
    pub(crate) const WAN: &'static str = "wan0";
    /// A host's port.
    pub(crate) const HOST_PORT: &'static str = "eth0";

    /// Makes the namespaces and links. Needs root.
    ///
    /// # Errors
    /// A command failed.
    pub(crate) fn create() -> Result<Self> {
        let scope = Scope::unique();
        let make = |role: &str| NetNs::create(&scope.namespace(role));
        fs::create_dir_all(scope.directory()).context("cannot make a directory (root is needed)")?;
        let hosts = [make("hosta")?, make("hostb")?];
        let gateways = [make("gwa")?, make("gwb")?];
        let topology = Self { scope, hosts, gateways };
        for end in [End::A, End::B] {
            let (host, gateway) = (topology.host(end), topology.gateway(end));
            cable((host, end, Self::HOST_PORT), (gateway, end, Self::LAN))?;
        }
        let [near, far] = [End::A, End::B].map(|end| (topology.gateway(end), end, Self::WAN));
        cable(near, far)?;
        for end in [End::A, End::B] {
            topology.address_end(end)?;
        }
        Ok(topology)
    }

    /// The host at `end`; its port is [`Self::HOST_PORT`].
    pub(crate) fn host(&self, end: End) -> &NetNs {
        &self.hosts[end.index()]
    }

    /// The gateway at `end`; its ports are [`Self::LAN`] and [`Self::WAN`].
    pub(crate) fn gateway(&self, end: End) -> &NetNs {
        &self.gateways[end.index()]
    }

    /// The name of everything in this topology.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Directory for files of this run; it is removed with the topology.
    pub(crate) fn directory(&self) -> PathBuf {
        self.scope().directory()
    }

    /// Where a system may pin BPF objects; removed with the topology.
    pub(crate) fn pin_root(&self) -> PathBuf {
        self.scope().pin_root()
    }

    /// Gives both hosts `mtu` on their routes to each other, so that what they send fits.
    ///
    /// # Errors
    /// A command failed.
    pub(crate) fn set_inner_mtu(&self, mtu: u32) -> Result<()> {
        for end in [End::A, End::B] {
            let route = self.host(end).ip(&format!("-oneline route get {}", end.other().host_address()))?;
            // `10.2.1.10 via 10.1.1.1 dev eth0 src …`: the way is kept as it is.
            let way = route.split(" src ").next().context("`ip route get` shows no source")?;
            self.host(end).ip(&format!("route replace {way} mtu {mtu}"))?;
        }
        Ok(())
    }

    /// Waits until host A reaches host B.
    ///
    /// # Errors
    /// It does not in time.
    pub(crate) fn wait_ready(&self) -> Result<()> {
        let target = End::B.host_address();
        wait_until(READY_TIMEOUT, "host A reaches host B", || {
            Ok(ping(self.host(End::A), &format!("-c 1 -W 1 {target}"))?.received == 1)
        })
    }

    /// Has gateway B count whatever arrives at its `wan0` and throw it away. An XDP program that was left behind is removed.
    ///
    /// # Errors
    /// A command failed, or the port refuses the program.
    pub(crate) fn discard_at_far_gateway(&self) -> Result<(Map, Link)> {
        let far = self.gateway(End::B);
        far.ip(&format!("link set {} xdp off", Self::WAN))?;
        let counter = Map::counter()?;
        let program = programs::drop_and_count(&counter)?;
        let link = far.enter(|| program.attach(Self::WAN))??;
        Ok((counter, link))
    }

    fn address_end(&self, end: End) -> Result<()> {
        let (host, gateway, far) = (self.host(end), self.gateway(end), end.other());
        host.ip(&format!("address add {}/24 dev {}", end.host_address(), Self::HOST_PORT))?;
        gateway.ip(&format!("address add {}/24 dev {}", end.lan_address(), Self::LAN))?;
        gateway.ip(&format!("address add {}/24 dev {}", end.wan_address(), Self::WAN))?;
        let neighbour = |namespace: &NetNs, address: Ipv4Addr, hardware: String, port: &str| {
            namespace.ip(&format!("neighbour replace {address} lladdr {hardware} dev {port} nud permanent"))
        };
        neighbour(host, end.lan_address(), end.hardware_address(Self::LAN), Self::HOST_PORT)?;
        neighbour(gateway, end.host_address(), end.hardware_address(Self::HOST_PORT), Self::LAN)?;
        neighbour(gateway, far.wan_address(), far.hardware_address(Self::WAN), Self::WAN)?;
        host.ip(&format!("route add default via {}", end.lan_address()))?;
        Ok(())
    }
}

impl Drop for Topology {
    fn drop(&mut self) {
        if let Err(error) = remove_scope(&self.scope) {
            eprintln!("warning: {} is left behind: {error:#}", self.scope.name());
        }
    }
}

impl End {
    /// The end across.
    pub(crate) fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    /// Address of the host.
    pub(crate) fn host_address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number(), 1, 10)
    }

    /// Address of the gateway towards its host.
    pub(crate) fn lan_address(self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number(), 1, 1)
    }

    /// Address of the gateway towards the other gateway.
    pub(crate) fn wan_address(self) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, self.number())
    }

    /// The network behind the gateway, for instance `10.1.0.0/16`.
    pub(crate) fn network(self) -> String {
        format!("10.{}.0.0/16", self.number())
    }

    /// Hardware address of a port at this end: of the host's [`Topology::HOST_PORT`], or of the gateway's other two.
    pub(crate) fn hardware_address(self, port: &str) -> String {
        let place = match port {
            Topology::HOST_PORT => 1,
            Topology::LAN => 2,
            Topology::WAN => 3,
            _ => panic!("no end has a port {port}"),
        };
        format!("02:00:00:00:{:02x}:{place:02x}", self.number())
    }

    fn number(self) -> u8 {
        match self {
            Self::A => 1,
            Self::B => 2,
        }
    }

    fn index(self) -> usize {
        usize::from(self.number()) - 1
    }
}

/// Connects a port at one end to a port at the other or the same end; neither gets an IP address.
fn cable(near: (&NetNs, End, &str), far: (&NetNs, End, &str)) -> Result<()> {
    let ((here, near_end, near_port), (there, far_end, far_port)) = (near, far);
    here.ip(&format!(
        "link add name {near_port} mtu {LINK_MTU} address {} type veth peer name {far_port} mtu {LINK_MTU} address {} netns {}",
        near_end.hardware_address(near_port),
        far_end.hardware_address(far_port),
        there.name()
    ))?;
    for (namespace, port) in [(here, near_port), (there, far_port)] {
        namespace.ip(&format!("link set {port} up"))?;
        // Of ports that are up: only then does the driver note that the other end may send XDP frames.
        namespace.face_xdp(port)?;
    }
    Ok(())
}
