//! The kernel forwards, in the clear.

use anyhow::Result;

use crate::end_to_end::system::{GatewayProcess, Kind, NotInstalled, Running, System};
use crate::end_to_end::topology::{End, LINK_MTU, Topology};

/// Plain forwarding: what two gateways on this machine could do if sealing cost nothing and the path were the kernel's.
pub(super) struct Plain;

impl System for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn kind(&self) -> Kind {
        Kind::Reference
    }

    fn description(&self) -> String {
        "the kernel forwards without encryption".to_owned()
    }

    fn available(&self) -> Result<(), NotInstalled> {
        Ok(())
    }

    fn start(&self, topology: &Topology) -> Result<Box<dyn Running>> {
        for end in [End::A, End::B] {
            let gateway = topology.gateway(end);
            gateway.sysctl("net/ipv4/ip_forward", "1")?;
            gateway.ip(&format!("route add {} via {}", end.other().network(), end.other().wan_address()))?;
        }
        Ok(Box::new(Kernel))
    }
}

struct Kernel;

impl Running for Kernel {
    fn processes(&self) -> Vec<GatewayProcess> {
        Vec::new()
    }

    fn inner_mtu(&self) -> u32 {
        LINK_MTU
    }

    fn stop_far_gateway(&mut self, topology: &Topology) -> Result<bool> {
        topology.gateway(End::B).sysctl("net/ipv4/ip_forward", "0")?;
        Ok(true)
    }

    fn log_tail(&self) -> String {
        String::new()
    }
}
