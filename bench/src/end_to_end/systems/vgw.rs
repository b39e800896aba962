//! Two agents of this project with a shared key.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;
use testbed::{LocalSite, NetCfg, VNet, poll_until, vgw_binary};

use crate::agent::{Agent, Launch};
use crate::end_to_end::results::HandOver;
use crate::end_to_end::system::{GatewayProcess, Kind, NotInstalled, Running, System};
use crate::end_to_end::topology::{End, Topology};

/// Shared key of both ends.
const PSK: &str = "benchmark-key-of-no-other-value";
/// How long the tunnel may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Largest inner packet of a tunnel over links of 1500 bytes.
const TUNNEL_MTU: u32 = 1438;

/// A pair of gateways with one engine.
pub(super) struct Vgw {
    name: &'static str,
    engine: &'static str,
    description: &'static str,
    /// Processor of the worker at each end.
    worker_cpus: [&'static str; 2],
}

impl Vgw {
    /// AEAD in worker processes over AF_XDP.
    pub(super) fn xsk() -> Self {
        Self {
            name: "vgw-xsk",
            engine: "xsk",
            description: "engine xsk, AES-256-GCM, worker of gateway A on processor 0, of B on 1",
            worker_cpus: ["0", "1"],
        }
    }

    /// AEAD inside the XDP programs.
    pub(super) fn kernel() -> Self {
        Self {
            name: "vgw-kernel",
            engine: "kernel",
            description: "engine kernel, ChaCha20-Poly1305",
            worker_cpus: ["0", "1"],
        }
    }
}

impl System for Vgw {
    fn name(&self) -> &'static str {
        self.name
    }

    fn kind(&self) -> Kind {
        Kind::Own
    }

    fn description(&self) -> String {
        self.description.to_owned()
    }

    fn available(&self) -> Result<(), NotInstalled> {
        vgw_binary().map(|_| ()).map_err(|error| NotInstalled(format!("{error:#}")))
    }

    fn start(&self, topology: &Topology) -> Result<Box<dyn Running>> {
        let agents = [End::A, End::B].map(|end| self.start_agent(topology, end));
        let [near, far] = agents;
        let pair = Pair { agents: [near?, far?] };
        for agent in &pair.agents {
            poll_until(CONNECT_TIMEOUT, "the tunnel comes up", || {
                Ok((agent.client().connected()? == 1).then_some(()))
            })
            .with_context(|| pair.log_tail())?;
        }
        Ok(Box::new(pair))
    }
}

impl Vgw {
    fn start_agent(&self, topology: &Topology, end: End) -> Result<Agent> {
        let cpus = self.worker_cpus[usize::from(end == End::B)];
        let options = ["--engine", self.engine, "--worker-cpus", cpus, "--dpd", "3600"];
        Agent::start(&Launch {
            namespace: topology.gateway(end),
            vnet: vnet(end),
            wan: Topology::WAN,
            lan: Topology::LAN,
            directory: &topology.directory().join(vnet(end)),
            pin_root: &topology.pin_root(),
            netcfg: &configuration(end),
            psk: PSK,
            mode: None,
            options: &options.map(str::to_owned),
        })
    }
}

struct Pair {
    agents: [Agent; 2],
}

impl Running for Pair {
    fn processes(&self) -> Vec<GatewayProcess> {
        let names = ["a: vgw agent", "b: vgw agent"];
        let process =
            |(name, agent): (&str, &Agent)| GatewayProcess { name: name.to_owned(), id: agent.id() };
        names.into_iter().zip(&self.agents).map(process).collect()
    }

    fn inner_mtu(&self) -> u32 {
        TUNNEL_MTU
    }

    fn stop_far_gateway(&mut self, topology: &Topology) -> Result<bool> {
        self.agents[1].kill()?;
        // The programs stay attached for as long as they are pinned.
        let pins = topology.pin_root().join(vnet(End::B));
        std::fs::remove_dir_all(&pins).with_context(|| format!("cannot remove {}", pins.display()))?;
        Ok(true)
    }

    fn hand_over(&self) -> Result<Option<HandOver>> {
        let mut sum = HandOver::default();
        for agent in &self.agents {
            let status = agent.client().status()?;
            if status["engine"]["running"] != "xsk" {
                return Ok(None);
            }
            sum.add(&hand_over(&status));
        }
        Ok(Some(sum))
    }

    fn log_tail(&self) -> String {
        self.agents.iter().map(Agent::log).collect::<Vec<_>>().join("\n")
    }
}

/// Sums over all lanes in an agent's status.
fn hand_over(status: &Value) -> HandOver {
    let array = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let lanes: Vec<Value> =
        array(&status["engine"]["workers"]).iter().flat_map(|worker| array(&worker["lanes"])).collect();
    let sum = |name| lanes.iter().filter_map(|lane| lane[name].as_u64()).sum();
    let [handed_over, exchanged, full, stalled] = ["handed_over", "exchanged", "full", "stalled"].map(sum);
    HandOver { handed_over, exchanged, full, stalled }
}

fn vnet(end: End) -> &'static str {
    match end {
        End::A => "BenchA",
        End::B => "BenchB",
    }
}

/// The gateway's own network, and the other one as the site that it connects to.
fn configuration(end: End) -> NetCfg {
    let far = end.other();
    let site = LocalSite {
        name: vnet(far).to_owned(),
        prefixes: vec![far.network()],
        gateway_address: far.wan_address().to_string(),
    };
    let gateway_subnet = match end {
        End::A => "10.1.255.0/27",
        End::B => "10.2.255.0/27",
    };
    let vnet = VNet {
        name: vnet(end).to_owned(),
        prefixes: vec![end.network()],
        subnets: vec![("GatewaySubnet".to_owned(), gateway_subnet.to_owned())],
        connections: vec![vnet(far).to_owned()],
    };
    NetCfg { local_sites: vec![site], vnets: vec![vnet] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hand_overs_of_all_lanes_of_all_workers_are_added() {
        let lane = |handed_over: u64| serde_json::json!({ "handed_over": handed_over, "exchanged": 3, "full": 2, "stalled": 1 });
        let workers =
            [[lane(100), lane(10)], [lane(1), lane(0)]].map(|lanes| serde_json::json!({ "lanes": lanes }));
        let status = serde_json::json!({ "engine": { "running": "xsk", "workers": workers } });
        assert_eq!(hand_over(&status), HandOver { handed_over: 111, exchanged: 12, full: 8, stalled: 4 });
    }
}
