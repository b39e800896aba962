//! The network around the gateway under test, as data: the kernel is set up from it, and the model looks up in it.

use std::net::Ipv4Addr;

/// Address that ESP for the gateway is sent to.
pub(crate) const OUTER: [u8; 4] = [192, 0, 2, 1];
/// The gateway's own address in its VNet.
pub(crate) const INNER: [u8; 4] = [10, 1, 0, 1];
/// MAC address of whoever sends frames to the gateway.
pub(crate) const SENDER_MAC: [u8; 6] = [2, 0, 0, 0, 9, 9];
/// Receive queues of interface `lan`.
pub(crate) const QUEUES: u32 = 4;
/// Receive queues of it that have outbound SAs of their own, per tunnel.
pub(crate) const CPU_SAS: u32 = 4;
/// MTU of the interfaces.
pub(crate) const LINK_MTU: usize = 1500;
/// Tunnels, "no tunnel" included.
pub(crate) const TUNNELS: usize = 10;

/// Interfaces of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Interface {
    /// Leads to the VNet.
    Lan,
    /// Leads to the peers.
    Wan,
    /// Both at once: a gateway with one arm.
    Arm,
    /// `vgw0`, whose peer is `VgwPeer`.
    Vgw0,
    /// Where packets appear that the kernel routed to `vgw0`.
    VgwPeer,
    /// Has no role.
    Other,
}

impl Interface {
    pub(crate) const ALL: [Self; 6] =
        [Self::Lan, Self::Wan, Self::Arm, Self::Vgw0, Self::VgwPeer, Self::Other];

    /// Name in the gateway's namespace.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lan => "lan",
            Self::Wan => "wan",
            Self::Arm => "arm",
            Self::Vgw0 => "vgw0",
            Self::VgwPeer => "vgw0-xdp",
            Self::Other => "other",
        }
    }

    /// Name of the other end of its cable.
    pub(crate) fn cable_end(self) -> &'static str {
        match self {
            Self::Lan => "lan-peer",
            Self::Wan => "wan-peer",
            Self::Arm => "arm-peer",
            Self::Vgw0 => "vgw0-xdp",
            Self::VgwPeer => "vgw0",
            Self::Other => "other-peer",
        }
    }

    /// MAC address.
    pub(crate) fn mac(self) -> [u8; 6] {
        [2, 0, 0, 0, 8, self as u8]
    }

    /// Whether packets from the VNet arrive here.
    pub(crate) fn faces_vnet(self) -> bool {
        matches!(self, Self::Lan | Self::Arm)
    }

    /// Whether ESP arrives here.
    pub(crate) fn faces_peers(self) -> bool {
        matches!(self, Self::Wan | Self::Arm)
    }
}

/// Whom the addresses of a prefix belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The gateway's own VNet.
    Local,
    /// The VNet behind a tunnel.
    Remote(u32),
}

/// A prefix: address and length.
pub(crate) type Prefix = ([u8; 4], u32);

/// Prefixes of the VNet and of the remote ones.
pub(crate) const PREFIXES: &[(Prefix, Owner)] = &[
    (([10, 1, 0, 0], 16), Owner::Local),
    (([192, 168, 7, 0], 25), Owner::Local),
    (([10, 2, 0, 0], 16), Owner::Remote(1)),
    (([10, 3, 0, 0], 16), Owner::Remote(2)),
    (([172, 16, 0, 0], 12), Owner::Remote(2)),
    (([10, 64, 0, 0], 10), Owner::Remote(3)),
    (([10, 9, 128, 0], 19), Owner::Remote(3)),
    // Inside a prefix of tunnel 3: the longer one counts.
    (([10, 100, 0, 0], 15), Owner::Remote(1)),
    (([10, 4, 0, 0], 16), Owner::Remote(4)),
    (([10, 5, 0, 0], 16), Owner::Remote(5)),
    (([10, 6, 0, 0], 16), Owner::Remote(6)),
    (([10, 7, 0, 0], 16), Owner::Remote(7)),
    (([10, 8, 0, 0], 16), Owner::Remote(8)),
    (([203, 0, 113, 200], 32), Owner::Remote(9)),
];

/// What a tunnel's outbound SA is made to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outbound {
    /// Nothing in particular; rekeyed now and then.
    Usual,
    /// There is none.
    Missing,
    /// 32-bit sequence numbers that run out.
    Exhausted,
    /// A hard lifetime that passes.
    Expiring,
}

/// A tunnel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tunnel {
    /// Number.
    pub(crate) number: u32,
    /// Outer address of the peer.
    pub(crate) remote: [u8; 4],
    /// Largest inner packet.
    pub(crate) mtu: usize,
    /// Its outbound SA.
    pub(crate) outbound: Outbound,
    /// Whether it has inbound SAs.
    pub(crate) receives: bool,
}

const fn tunnel(number: u32, remote: [u8; 4], outbound: Outbound) -> Tunnel {
    Tunnel { number, remote, mtu: 1438, outbound, receives: number <= 3 }
}

/// Every tunnel.
pub(crate) const TUNNEL_LIST: &[Tunnel] = &[
    tunnel(1, [198, 51, 100, 1], Outbound::Usual),
    tunnel(2, [198, 51, 100, 2], Outbound::Usual),
    tunnel(3, [198, 51, 100, 3], Outbound::Usual),
    tunnel(4, [198, 51, 100, 4], Outbound::Missing),
    // No route leads to this peer.
    tunnel(5, [203, 0, 113, 5], Outbound::Usual),
    // The next hop to this one has no neighbour entry.
    tunnel(6, [192, 0, 2, 77], Outbound::Usual),
    tunnel(7, [198, 51, 100, 7], Outbound::Exhausted),
    tunnel(8, [198, 51, 100, 8], Outbound::Expiring),
    // Sealed packets may be larger than the WAN takes.
    Tunnel { mtu: 1500, ..tunnel(9, [198, 51, 100, 9], Outbound::Usual) },
];

/// Where the kernel's forwarding table leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NextHop {
    /// Straight to a neighbour with this MAC address, if the packet is no longer than so many bytes.
    Neighbour(Interface, [u8; 6], usize),
    /// Through the stack: it is for this host, or the neighbour is not known.
    Stack,
    /// Nowhere.
    Unreachable,
}

const ROUTER: NextHop = NextHop::Neighbour(Interface::Wan, [2, 0, 0, 0, 7, 1], LINK_MTU);
const HOST: NextHop = NextHop::Neighbour(Interface::Lan, [2, 0, 0, 0, 7, 2], LINK_MTU);

/// The forwarding table, neighbour entries as host routes.
pub(crate) const FORWARDING: &[(Prefix, NextHop)] = &[
    (([10, 1, 0, 0], 16), NextHop::Stack),
    (([192, 168, 7, 0], 25), HOST),
    ((INNER, 32), NextHop::Stack),
    (([10, 1, 0, 10], 32), HOST),
    (([10, 1, 0, 11], 32), NextHop::Neighbour(Interface::Lan, [2, 0, 0, 0, 7, 3], LINK_MTU)),
    (([10, 1, 33, 7], 32), NextHop::Neighbour(Interface::Lan, [2, 0, 0, 0, 7, 4], LINK_MTU)),
    (([10, 1, 77, 0], 24), NextHop::Unreachable),
    (([10, 1, 78, 0], 24), NextHop::Unreachable),
    (([10, 1, 200, 0], 24), ROUTER),
    (([10, 1, 202, 0], 24), NextHop::Neighbour(Interface::Lan, [2, 0, 0, 0, 7, 2], 700)),
    (([10, 1, 204, 0], 24), NextHop::Neighbour(Interface::Arm, [2, 0, 0, 0, 7, 5], LINK_MTU)),
    (([192, 0, 2, 0], 24), NextHop::Stack),
    (([192, 0, 2, 254], 32), ROUTER),
    (([198, 51, 100, 0], 24), ROUTER),
    (([203, 0, 113, 0], 24), NextHop::Unreachable),
];

/// What makes the kernel forward like that.
pub(crate) fn commands() -> Vec<String> {
    let mut commands = links();
    commands.extend(routes().iter().map(|line| format!("ip {line}")));
    commands
}

fn links() -> Vec<String> {
    let mut lines: Vec<String> = [
        "link set lo up",
        "link add wan type veth peer name wan-peer",
        &format!("link add lan numrxqueues {QUEUES} type veth peer name lan-peer"),
        "link add arm type veth peer name arm-peer",
        "link add vgw0 type veth peer name vgw0-xdp",
        "link add other type veth peer name other-peer",
    ]
    .map(str::to_owned)
    .to_vec();
    for interface in Interface::ALL {
        lines.push(format!("link set {} address {}", interface.name(), mac_text(interface.mac())));
        lines.push(format!("link set {} up", interface.name()));
        lines.push(format!("link set {} up", interface.cable_end()));
    }
    let mut commands: Vec<_> = lines.iter().map(|line| format!("ip {line}")).collect();
    // Frames that XDP redirects are received only by what uses NAPI.
    let ends = Interface::ALL.iter().map(|interface| format!("ethtool -K {} gro on", interface.cable_end()));
    commands.extend(ends);
    commands
}

fn routes() -> &'static [&'static str] {
    &[
        "addr add 192.0.2.1/24 dev wan",
        "addr add 10.1.0.1/16 dev lan",
        "neigh add 192.0.2.254 lladdr 02:00:00:00:07:01 dev wan nud permanent",
        "neigh add 10.1.0.10 lladdr 02:00:00:00:07:02 dev lan nud permanent",
        "neigh add 10.1.0.11 lladdr 02:00:00:00:07:03 dev lan nud permanent",
        "neigh add 10.1.33.7 lladdr 02:00:00:00:07:04 dev lan nud permanent",
        "neigh add 10.1.204.254 lladdr 02:00:00:00:07:05 dev arm nud permanent",
        "route add 192.168.7.0/25 via 10.1.0.10",
        "route add unreachable 10.1.77.0/24",
        "route add blackhole 10.1.78.0/24",
        "route add 10.1.200.0/24 via 192.0.2.254",
        "route add 10.1.202.0/24 via 10.1.0.10 mtu lock 700",
        "route add 10.1.204.0/24 via 10.1.204.254 dev arm onlink",
        "route add 198.51.100.0/24 via 192.0.2.254",
        "route add unreachable 203.0.113.0/24",
    ]
}

fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The entry of the longest prefix that covers `address`, found by looking at each.
pub(crate) fn longest_match<T: Copy>(table: &[(Prefix, T)], address: [u8; 4]) -> Option<T> {
    let covers = |(prefix, length): Prefix| {
        let differing = u32::from(Ipv4Addr::from(prefix)) ^ u32::from(Ipv4Addr::from(address));
        u64::from(differing) < 1 << (32 - length)
    };
    let matching = table.iter().filter(|(prefix, _)| covers(*prefix));
    matching.max_by_key(|((_, length), _)| *length).map(|(_, value)| *value)
}
