//! Both hosts on one link: what the generator can do.

use anyhow::Result;

use crate::end_to_end::system::{GatewayProcess, Kind, NotInstalled, Running, System};
use crate::end_to_end::topology::{End, LINK_MTU, Topology};

/// No gateway at all.
pub(super) struct Direct;

/// Name of both ports of the link between the hosts.
const PORT: &str = "direct0";

impl System for Direct {
    fn name(&self) -> &'static str {
        "direct"
    }

    fn kind(&self) -> Kind {
        Kind::Reference
    }

    fn description(&self) -> String {
        "the generator alone: one link between the hosts, no gateway".to_owned()
    }

    fn available(&self) -> Result<(), NotInstalled> {
        Ok(())
    }

    fn start(&self, topology: &Topology) -> Result<Box<dyn Running>> {
        let far = topology.host(End::B).name();
        topology.host(End::A).ip(&format!("link add name {PORT} type veth peer name {PORT} netns {far}"))?;
        for end in [End::A, End::B] {
            let host = topology.host(end);
            host.ip(&format!("link set {PORT} up"))?;
            host.face_xdp(PORT)?;
            host.ip(&format!("route add {} dev {PORT}", end.other().host_address()))?;
        }
        Ok(Box::new(Link))
    }
}

struct Link;

impl Running for Link {
    fn processes(&self) -> Vec<GatewayProcess> {
        Vec::new()
    }

    fn inner_mtu(&self) -> u32 {
        LINK_MTU
    }

    fn stop_far_gateway(&mut self, _: &Topology) -> Result<bool> {
        Ok(false)
    }

    fn log_tail(&self) -> String {
        String::new()
    }
}
