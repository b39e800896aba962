//! How exactly the shared budget is kept, and how fairly it is shared: 2, 10 and 100 tunnels from host to host through two gateways'
//! datapaths, with UDP and TCP, alike and skewed.
//!
//! The datapaths are the real ones, on links that behave like wires; their tunnels and SAs are made by hand, because no peer has a
//! hundred tunnels to one gateway. Gateway A limits what it sends; what arrives at host B counts.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "rates and counts are positive and far below 2^53"
)]

mod delay;
mod gateway;
mod load;
mod report;
mod tcp;
mod udp;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, ensure};
use clap::Args;
use gateway_user::agent::Bandwidth;
use testbed::NetNs;

use self::delay::Way;
use self::gateway::Gateway;
use self::load::{Demand, Protocol};
use self::report::{Report, Run};
use crate::end_to_end::{End, Topology};
use crate::machine;
use crate::report::write_json;

/// Numbers of tunnels unless told otherwise.
const TUNNELS: [u16; 3] = [2, 10, 100];
/// The limit unless told otherwise.
const LIMIT: &str = "50mbit";
/// Seconds that count unless told otherwise.
const SECONDS: u32 = 10;
/// Seconds before: what was saved up is used up then, and TCP has found its rate.
const WARM_UP_SECONDS: u32 = 3;
/// One way, in ms, unless told otherwise.
const DELAY_MS: u64 = 5;
/// Most tunnels: each has a network of 256 addresses.
const MOST_TUNNELS: u16 = 150;

/// Arguments of `bench budget`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Numbers of tunnels to measure.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = TUNNELS,
          value_parser = clap::value_parser!(u16).range(2..=i64::from(MOST_TUNNELS)))]
    tunnels: Vec<u16>,
    /// The limit.
    #[arg(long, value_name = "RATE", default_value = LIMIT)]
    limit: Bandwidth,
    /// Time that packets take one way between host B and who receives them, in ms: a policer has no queue, so a round trip that is
    /// shorter than a packet's time at the limit leaves TCP nothing to slow down to.
    #[arg(long, value_name = "MS", default_value_t = DELAY_MS, value_parser = clap::value_parser!(u64).range(0..=500))]
    delay: u64,
    /// Seconds that each load counts.
    #[arg(long, value_name = "N", default_value_t = SECONDS, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    /// Write the results here as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Measures and prints.
///
/// # Errors
/// Privileges are missing, a datapath does not come up, or nothing passes.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let limit = arguments.limit.bits_per_second();
    let mut runs = Vec::new();
    for tunnels in &arguments.tunnels {
        let topology = Topology::create()?;
        let far = NetNs::create(&topology.scope().namespace("far"))?;
        let way = Way::open(topology.host(End::B), &far, Duration::from_millis(arguments.delay))?;
        address(&topology, &far, *tunnels)?;
        let gateways = [
            Gateway::start(&topology, End::A, *tunnels, Some(limit))?,
            Gateway::start(&topology, End::B, *tunnels, None)?,
        ];
        for protocol in [Protocol::Udp, Protocol::Tcp] {
            for demand in [Demand::Equal, Demand::Skewed] {
                let measure = match protocol {
                    Protocol::Udp => udp::measure,
                    Protocol::Tcp => tcp::measure,
                };
                let arrivals = measure(
                    topology.host(End::A),
                    &far,
                    &demand.of(protocol, *tunnels, limit),
                    arguments.seconds,
                )?;
                ensure!(arrivals.total() > 0, "nothing arrived");
                let run = Run::new(*tunnels, protocol, demand, limit, &arrivals);
                eprintln!("{run}");
                runs.push(run);
            }
        }
        for gateway in gateways {
            gateway.stop()?;
        }
        drop(way);
    }
    let report = Report {
        machine: machine::describe(),
        limit_bits: limit,
        delay_ms: arguments.delay,
        seconds: arguments.seconds,
        runs,
    };
    println!("{report}");
    write_json(arguments.json.as_deref(), &report)
}

/// Gives host A and whoever is far behind host B an address for each tunnel, and everybody between the ways to them.
fn address(topology: &Topology, far: &NetNs, tunnels: u16) -> Result<()> {
    let hosts = [End::A, End::B].map(|end| topology.host(end));
    for (end, (holder, device)) in [(End::A, (hosts[0], Topology::HOST_PORT)), (End::B, (far, delay::DEVICE))]
    {
        for tunnel in 0..tunnels {
            holder.ip(&format!("address add {}/32 dev {device}", host_address(end, tunnel)))?;
            let way = format!("route add {} via {}", network(end, tunnel), end.host_address());
            topology.gateway(end).ip(&way)?;
            if end == End::B {
                hosts[1].ip(&format!("route add {} dev {}", network(end, tunnel), delay::DEVICE))?;
            }
        }
        topology.gateway(end).sysctl("net/ipv4/ip_forward", "1")?;
    }
    let mtu = gateway::TUNNEL_MTU;
    for (end, host) in [End::A, End::B].into_iter().zip(hosts) {
        host.ip(&format!("route replace default via {} mtu {mtu}", end.lan_address()))?;
    }
    hosts[1].sysctl("net/ipv4/ip_forward", "1")?;
    far.ip(&format!("route add default dev {} mtu {mtu}", delay::DEVICE)).map(drop)
}

/// Address of a host in its network of a tunnel.
fn host_address(end: End, tunnel: u16) -> Ipv4Addr {
    let [a, b, ..] = end.host_address().octets();
    Ipv4Addr::new(a, b, 100 + tunnel as u8, 1)
}

/// The network at `end` that a tunnel is for.
fn network(end: End, tunnel: u16) -> String {
    let [a, b, c, _] = host_address(end, tunnel).octets();
    format!("{a}.{b}.{c}.0/24")
}
