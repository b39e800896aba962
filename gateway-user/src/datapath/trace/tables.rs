//! The maps that decide, and the question to the kernel's forwarding table.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use anyhow::{Context as _, Result, bail};
use aya::Ebpf;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap as BpfHashMap, MapData, MapError};
use aya::programs::{TestRun as _, TestRunOptions, Xdp};
use gateway_common::{
    Aead, Budget, Capture, Ethernet, GatewayConfig, Ip, Ipv4, Ipv6, Lane, Port, RoundMeter, Route, RouteKind,
    Sa, SaFlags, Share, ShareMeter, Tunnel, WayAnswer, ip,
};
use zeroize::Zeroize as _;

use super::packet::TracedPacket;
use super::report::{TracedHop, TracedSa, TracedVerdict};
use crate::datapath::object::{Object, Plain, duplicate};

/// Results of `bpf_fib_lookup` (linux/bpf.h).
mod fib {
    pub(super) const SUCCESS: u32 = 0;
    pub(super) const BLACKHOLE: u32 = 1;
    pub(super) const UNREACHABLE: u32 = 2;
    pub(super) const PROHIBIT: u32 = 3;
    pub(super) const NOT_FORWARDED: u32 = 4;
    pub(super) const FORWARDING_OFF: u32 = 5;
    pub(super) const NO_NEIGHBOUR: u32 = 7;
    pub(super) const TOO_LONG: u32 = 8;
}

/// Handles to the maps that the XDP programs decide by.
pub struct Tracer {
    config: Array<MapData, Plain<GatewayConfig>>,
    ports: BpfHashMap<MapData, u32, Plain<Port>>,
    routes4: LpmTrie<MapData, [u8; 4], Plain<Route>>,
    routes6: LpmTrie<MapData, [u8; 16], Plain<Route>>,
    tunnels: Array<MapData, Plain<Tunnel>>,
    cpu_sas: Array<MapData, u32>,
    sas: Array<MapData, Plain<Sa>>,
    budget: Array<MapData, Plain<Budget>>,
    shares: Array<MapData, Plain<Share>>,
    round_meters: Array<MapData, Plain<RoundMeter>>,
    share_meters: Array<MapData, Plain<ShareMeter>>,
    lanes: Array<MapData, Plain<Lane>>,
    captures: Array<MapData, Plain<Capture>>,
}

/// Where the kernel's forwarding table sends a packet.
pub(super) enum NextHop {
    Direct { ifindex: u32, hop: TracedHop },
    Stack { why: &'static str, hop: TracedHop },
    Unreachable,
}

/// What decides about an outbound SA. No key.
pub(super) struct SaState {
    spi: u32,
    aead: u32,
    pub(super) flags: u32,
    pub(super) sequence: u64,
    bytes: u64,
    hard_bytes: u64,
    pub(super) outer_dscp: u32,
    pub(super) local: IpAddr,
    pub(super) remote: IpAddr,
}

impl Tracer {
    /// Opens the maps of `ebpf`.
    ///
    /// # Errors
    /// A map is missing.
    pub fn new(ebpf: &Ebpf) -> Result<Self> {
        Ok(Self {
            config: duplicate(ebpf, "CONFIG")?.try_into()?,
            ports: duplicate(ebpf, "PORTS")?.try_into()?,
            routes4: duplicate(ebpf, "ROUTES4")?.try_into()?,
            routes6: duplicate(ebpf, "ROUTES6")?.try_into()?,
            tunnels: duplicate(ebpf, "TUNNELS")?.try_into()?,
            cpu_sas: duplicate(ebpf, "CPU_SAS")?.try_into()?,
            sas: duplicate(ebpf, "SAS")?.try_into()?,
            budget: duplicate(ebpf, "BUDGET")?.try_into()?,
            shares: duplicate(ebpf, "SHARES")?.try_into()?,
            round_meters: duplicate(ebpf, "ROUND_METERS")?.try_into()?,
            share_meters: duplicate(ebpf, "SHARE_METERS")?.try_into()?,
            lanes: duplicate(ebpf, "LANES")?.try_into()?,
            captures: duplicate(ebpf, "CAPTURES")?.try_into()?,
        })
    }

    /// `Family::lookup`.
    pub(super) fn route(&self, address: IpAddr) -> Result<Route> {
        let found = match address {
            IpAddr::V4(address) => self.routes4.get(&Key::new(32, address.octets()), 0),
            IpAddr::V6(address) => self.routes6.get(&Key::new(128, address.octets()), 0),
        };
        match found {
            Ok(Plain(route)) => Ok(route),
            Err(MapError::KeyNotFound) => Ok(Route { kind: RouteKind::NONE, tunnel: 0 }),
            Err(error) => Err(error).context("cannot read the maps of prefixes"),
        }
    }

    pub(super) fn port(&self, ifindex: u32) -> Result<Option<Port>> {
        match self.ports.get(&ifindex, 0) {
            Ok(Plain(port)) => Ok(Some(port)),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(error).context("cannot read map PORTS"),
        }
    }

    /// Whether ESP for this gateway is sent to `address`.
    pub(super) fn is_wan_address(&self, address: IpAddr) -> Result<bool> {
        let config = self.config()?;
        Ok(match address {
            IpAddr::V4(address) => address.octets() == config.wan_addr4,
            IpAddr::V6(address) => address.octets() == config.wan_addr6,
        })
    }

    pub(super) fn tunnel(&self, tunnel: u32) -> Result<Tunnel> {
        Ok(self.tunnels.get(&tunnel, 0).context("cannot read map TUNNELS")?.0)
    }

    /// `encap::outbound_sa` for receive queue 0; 0 for none.
    pub(super) fn outbound_sa(&self, tunnel: u32, of_tunnel: u32) -> Result<u32> {
        let per_tunnel = self.config()?.cpu_sas;
        if per_tunnel == 0 {
            return Ok(of_tunnel);
        }
        let own = self.cpu_sas.get(&(tunnel * per_tunnel), 0).context("cannot read map CPU_SAS")?;
        Ok(if own == 0 { of_tunnel } else { own })
    }

    /// The outbound SA in a slot; `None` if there is none any more.
    pub(super) fn sa(&self, index: u32) -> Result<Option<SaState>> {
        let Plain(mut sa) = self.sas.get(&index, 0).context("cannot read map SAS")?;
        sa.key.zeroize();
        sa.salt.zeroize();
        let outer = |address: [u8; 16]| -> IpAddr {
            if sa.flags & SaFlags::OUTER_IPV6 == 0 {
                Ipv4Addr::from(ip::unmapped(address)).into()
            } else {
                Ipv6Addr::from(address).into()
            }
        };
        let state = SaState {
            spi: u32::from_be_bytes(sa.spi),
            aead: sa.aead,
            flags: sa.flags,
            sequence: sa.sequence,
            bytes: sa.bytes,
            hard_bytes: sa.hard_bytes,
            outer_dscp: sa.outer_dscp,
            local: outer(sa.local_addr),
            remote: outer(sa.remote_addr),
        };
        Ok((state.spi != 0).then_some(state))
    }

    pub(super) fn budget(&self) -> Result<Budget> {
        Ok(self.budget.get(&0, 0).context("cannot read map BUDGET")?.0)
    }

    pub(super) fn share(&self, tunnel: u32) -> Result<Share> {
        Ok(self.shares.get(&tunnel, 0).context("cannot read map SHARES")?.0)
    }

    pub(super) fn round_meter(&self, meter: u32) -> Result<RoundMeter> {
        Ok(self.round_meters.get(&meter, 0).context("cannot read map ROUND_METERS")?.0)
    }

    pub(super) fn share_meter(&self, index: u32) -> Result<ShareMeter> {
        Ok(self.share_meters.get(&index, 0).context("cannot read map SHARE_METERS")?.0)
    }

    pub(super) fn lane(&self, index: u32) -> Result<Lane> {
        Ok(self.lanes.get(&index, 0).context("cannot read map LANES")?.0)
    }

    pub(super) fn is_watched(&self, tunnel: u32) -> Result<bool> {
        Ok(self.captures.get(&tunnel, 0).context("cannot read map CAPTURES")?.0.what != 0)
    }

    /// `route::next_hop`, by program `way`. `class` is the packet's traffic class.
    pub(super) fn next_hop(
        object: &Object,
        packet: &TracedPacket,
        class: u8,
        ingress: u32,
    ) -> Result<NextHop> {
        let answer = ask(object, packet, class, ingress)?;
        let found = answer.result == fib::SUCCESS;
        let leads_somewhere = found || answer.result == fib::NO_NEIGHBOUR;
        let hop = |result| TracedHop {
            result,
            interface: leads_somewhere.then(|| interface_name(answer.ifindex)),
            address: leads_somewhere.then(|| neighbour(&answer)),
            mac: found.then(|| mac_text(&answer.ethernet[..6])),
        };
        let stack = |why| NextHop::Stack { why, hop: hop(why) };
        Ok(match answer.result {
            fib::SUCCESS => NextHop::Direct { ifindex: answer.ifindex, hop: hop("straight out") },
            fib::BLACKHOLE | fib::UNREACHABLE | fib::PROHIBIT => NextHop::Unreachable,
            fib::NOT_FORWARDED => stack("the address is this host's own, or has no route"),
            fib::FORWARDING_OFF => stack("forwarding is off on the interface that it arrived at"),
            fib::NO_NEIGHBOUR => stack("the neighbour's hardware address is not known yet"),
            fib::TOO_LONG => stack("it is longer than the route's MTU"),
            _ => stack("the route needs the kernel"),
        })
    }

    /// Index of the far end of `vgw0`.
    fn vgw0_peer(&self) -> Result<u32> {
        Ok(self.config()?.vgw_peer_ifindex)
    }

    fn config(&self) -> Result<GatewayConfig> {
        Ok(self.config.get(&0, 0).context("cannot read map CONFIG")?.0)
    }
}

impl TracedVerdict {
    /// Interface that a packet which is not dropped or left alone is redirected to.
    pub(super) fn ifindex(self, tables: &Tracer) -> Result<u32> {
        match self {
            Self::Forward(ifindex) => Ok(ifindex),
            _ => tables.vgw0_peer(),
        }
    }
}

impl NextHop {
    pub(super) fn traced(&self) -> TracedHop {
        match self {
            Self::Direct { hop, .. } | Self::Stack { hop, .. } => hop.clone(),
            Self::Unreachable => TracedHop {
                result: "unreachable by an explicit route",
                interface: None,
                address: None,
                mac: None,
            },
        }
    }
}

impl SaState {
    pub(super) fn is_expired(&self) -> bool {
        self.hard_bytes != 0 && self.bytes >= self.hard_bytes
    }

    pub(super) fn is_exhausted(&self) -> bool {
        self.flags & SaFlags::ESN == 0 && self.sequence >= u64::from(u32::MAX)
    }

    pub(super) fn traced(&self) -> TracedSa {
        let name = match self.aead {
            number if number == Aead::Aes128Gcm as u32 => "aes128gcm16",
            number if number == Aead::Aes256Gcm as u32 => "aes256gcm16",
            _ => "chacha20poly1305",
        };
        let iiv = if self.flags & SaFlags::IMPLICIT_IV == 0 { "" } else { "iiv" };
        let esn = if self.flags & SaFlags::ESN == 0 { "" } else { "-esn" };
        TracedSa {
            spi: self.spi,
            algorithm: format!("{name}{iiv}{esn}"),
            next_sequence: self.sequence + 1,
            bytes: self.bytes,
            bytes_left: (self.hard_bytes != 0).then(|| self.hard_bytes.saturating_sub(self.bytes)),
            local: self.local,
            remote: self.remote,
        }
    }
}

impl fmt::Display for SaState {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sa = self.traced();
        write!(formatter, "SPI {:08x}, {}, {} bytes carried", sa.spi, sa.algorithm, sa.bytes)?;
        if let Some(left) = sa.bytes_left {
            write!(formatter, ", {left} left")?;
        }
        if self.flags & SaFlags::UDP_ENCAP != 0 {
            formatter.write_str(", in UDP")?;
        }
        Ok(())
    }
}

/// Runs program `way` on the header of `packet`, as if it had arrived at `ingress`.
fn ask(object: &Object, packet: &TracedPacket, class: u8, ingress: u32) -> Result<WayAnswer> {
    let TracedPacket { size, protocol, .. } = *packet;
    let frame = match (packet.source, packet.destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            question(<Ipv4 as Ip>::outer(class, size, protocol, source.octets(), destination.octets()))
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            question(<Ipv6 as Ip>::outer(class, size, protocol, source.octets(), destination.octets()))
        }
        (source, destination) => bail!("{source} and {destination} are of different families"),
    };
    // `struct xdp_md` of linux/bpf.h: data, data_end, data_meta, ingress_ifindex, rx_queue_index, egress_ifindex.
    let context: Vec<u8> =
        [0, frame.len() as u32, 0, ingress, 0, 0].into_iter().flat_map(u32::to_ne_bytes).collect();
    let mut out = vec![0; frame.len()];
    let options = TestRunOptions {
        data_in: Some(&frame),
        data_out: Some(&mut out),
        ctx_in: Some(&context),
        ..TestRunOptions::new()
    };
    let program: &Xdp = object.ebpf.program("way").context("the object has no program way")?.try_into()?;
    program.test_run(options).context("the kernel refused to run program way")?;
    // SAFETY: the length is right, every bit pattern is an answer, and the read does not assume alignment.
    Ok(unsafe { out.as_ptr().add(WayAnswer::OFFSET).cast::<WayAnswer>().read_unaligned() })
}

/// A frame with `header` and room for the answer.
fn question<I: Ip>(header: I) -> Vec<u8> {
    let mut frame = vec![0; WayAnswer::FRAME_LEN];
    let ethernet = Ethernet::new([0; 6], [0; 6], I::ETHERTYPE);
    // SAFETY: neither header has padding, and both fit in front of the answer.
    unsafe {
        frame.as_mut_ptr().cast::<Ethernet>().write_unaligned(ethernet);
        frame.as_mut_ptr().add(size_of::<Ethernet>()).cast::<I>().write_unaligned(header);
    }
    frame
}

fn neighbour(answer: &WayAnswer) -> IpAddr {
    let [first, ..] = answer.next_hop;
    if answer.is_v6 == 0 {
        return Ipv4Addr::from(first.to_ne_bytes()).into();
    }
    let halves = answer.next_hop.map(u32::to_ne_bytes).map(u32::from_be_bytes).map(u128::from);
    Ipv6Addr::from(halves.into_iter().fold(0, |address, word| address << 32 | word)).into()
}

/// The name of an interface, or its number when it has gone.
pub(crate) fn interface_name(index: u32) -> String {
    nix::net::if_::if_indextoname(index)
        .ok()
        .and_then(|name| name.into_string().ok())
        .unwrap_or_else(|| format!("interface {index}"))
}

fn mac_text(mac: &[u8]) -> String {
    mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
}
