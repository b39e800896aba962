//! Questions about single packets.

use anyhow::{Context as _, Result};

use super::super::trace::{Origin, Trace, TracedPacket};
use super::super::tunnel::TunnelId;
use super::Datapath;

/// Where a packet that is asked about comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceFrom {
    /// A host of the VNet: the first LAN interface.
    Lan,
    /// The WAN interface, in the clear.
    Wan,
    /// This machine, or whatever else its kernel routes.
    Host,
    /// A tunnel.
    Tunnel(TunnelId),
}

impl Datapath {
    /// What would become of a packet; see [`super::super::trace::Tracer::trace`].
    ///
    /// # Errors
    /// See there; or an interface has gone.
    pub fn trace(
        &self,
        packet: &TracedPacket,
        from: TraceFrom,
        name_of: &dyn Fn(u32) -> String,
    ) -> Result<Trace> {
        let index = |name: &str| {
            nix::net::if_::if_nametoindex(name).with_context(|| format!("interface {name} has gone"))
        };
        let origin = match from {
            TraceFrom::Lan => Origin::Interface(index(&self.config.lan[0])?),
            TraceFrom::Wan => Origin::Interface(index(&self.config.wan)?),
            TraceFrom::Host => Origin::Interface(self.vgw0.xdp.index),
            TraceFrom::Tunnel(id) => {
                Origin::Tunnel { tunnel: id.0, ingress_ifindex: index(&self.config.wan)? }
            }
        };
        self.tracer.trace(&self.object, packet, origin, name_of)
    }
}
