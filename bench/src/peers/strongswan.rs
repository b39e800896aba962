//! strongSwan with ESP in user space.

use std::time::Duration;

use anyhow::Result;
use nix::sys::signal::Signal;
use testbed::strongswan::{Charon, Daemon, Peering, strongswan_missing};

use super::tools::{require_tun, version};
use crate::end_to_end::{End, GatewayProcess, Kind, NotInstalled, Running, System, Topology};

/// MTU of the TUN device that kernel-libipsec makes; it cannot be raised.
const TUNNEL_MTU: u32 = 1400;
/// Fastest of the AEADs that it has for ESP.
const ESP: &str = "aes128gcm16";
const CONNECTION: &str = "site";
/// How long the tunnel may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A pair of gateways with the plugin kernel-libipsec.
pub(super) struct Libipsec;

impl System for Libipsec {
    fn name(&self) -> &'static str {
        "strongswan"
    }

    fn kind(&self) -> Kind {
        Kind::Peer
    }

    fn description(&self) -> String {
        let version = version("swanctl", "--version");
        format!(
            "strongSwan {version} with kernel-libipsec (ESP in user space over a TUN device), AES-128-GCM, on any processor"
        )
    }

    fn available(&self) -> Result<(), NotInstalled> {
        require_tun()?;
        let missing = strongswan_missing();
        if missing.is_empty() { Ok(()) } else { Err(NotInstalled(missing.join(" "))) }
    }

    fn start(&self, topology: &Topology) -> Result<Box<dyn Running>> {
        let [near, far] = [End::A, End::B].map(|end| daemon(topology, end));
        let pair = Pair { daemons: [near?, far?] };
        pair.daemons[0].initiate(CONNECTION)?;
        pair.daemons[1].wait_settled(CONNECTION, TIMEOUT)?;
        Ok(Box::new(pair))
    }
}

fn daemon(topology: &Topology, end: End) -> Result<Charon> {
    let far = end.other();
    let (own_network, far_network) = (end.network(), far.network());
    let own = (end.wan_address(), own_network.as_str());
    let mut peering = Peering::new(CONNECTION, own, (far.wan_address(), &far_network), "benchmark-key");
    ESP.clone_into(&mut peering.esp_proposal);
    let name = format!("charon-{end:?}");
    Charon::start(topology.scope(), topology.gateway(end), &name, &Daemon::default(), &[peering])
}

struct Pair {
    daemons: [Charon; 2],
}

impl Running for Pair {
    fn processes(&self) -> Vec<GatewayProcess> {
        let names = ["a: charon", "b: charon"].map(str::to_owned);
        let process = |(name, daemon): (String, &Charon)| GatewayProcess { name, id: daemon.id() };
        names.into_iter().zip(&self.daemons).map(process).collect()
    }

    fn inner_mtu(&self) -> u32 {
        TUNNEL_MTU
    }

    fn stop_far_gateway(&mut self, _: &Topology) -> Result<bool> {
        self.daemons[1].stop(Signal::SIGKILL)?;
        Ok(true)
    }

    fn log_tail(&self) -> String {
        let tail = |daemon: &Charon| {
            let log = daemon.log();
            let lines: Vec<&str> = log.lines().collect();
            lines[lines.len().saturating_sub(10)..].join("\n")
        };
        self.daemons.iter().map(tail).collect::<Vec<_>>().join("\n")
    }
}
