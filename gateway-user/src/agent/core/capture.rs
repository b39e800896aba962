//! Captures for the API.

use gateway_common::Capture;

use super::super::dataplane::Dataplane;
use super::{Core, connection_name, own_network};
use crate::api::capture::CaptureRequest;
use crate::api::command::Refusal;
use crate::capture::{CaptureFeed, Context};
use crate::datapath::CaptureSpec;

/// Bytes that a filter needs: Ethernet with tags, outer and inner IP headers with options, ports.
const FOR_FILTER: u32 = 256;

impl<D: Dataplane> Core<D> {
    pub(super) fn capture(&self, request: CaptureRequest) -> Result<CaptureFeed, Refusal> {
        let CaptureRequest { site, inner, outer, dropped, filter, snap_len } = request;
        let invalid = |message: String| Err(Refusal::Invalid { message, details: Vec::new() });
        if !inner && !outer && !dropped {
            return invalid("none of inner, outer and dropped packets is asked for".to_owned());
        }
        let (shortest, whole) = (CaptureRequest::SHORTEST, CaptureRequest::WHOLE);
        if !(shortest..=whole).contains(&snap_len) {
            return invalid(format!("snap_len {snap_len} is not from {shortest} to {whole}"));
        }
        let tunnel =
            site.as_deref().map(|site| self.connection(site).map(|connection| connection.id)).transpose()?;
        let what = [(inner, Capture::INNER), (outer, Capture::OUTER), (dropped, Capture::DROPPED)]
            .into_iter()
            .filter_map(|(wanted, bit)| wanted.then_some(bit))
            .sum();
        let spec = CaptureSpec { tunnel, what, snap_len: snap_len.max(FOR_FILTER) };
        let vnet = &self.settings.vnet;
        let own = own_network(vnet, &self.configuration);
        let context = Context {
            wan_addresses: self.settings.wan_addresses,
            local_prefixes: own.map(|own| own.address_space.clone()).unwrap_or_default(),
            names: self.sites.iter().map(|(id, site)| (*id, connection_name(vnet, site))).collect(),
        };
        let stream = self.dataplane.capture(spec);
        let stream = stream.map_err(|error| Refusal::Conflict(format!("cannot capture: {error:#}")))?;
        let which = site.unwrap_or_else(|| "all connections".to_owned());
        tracing::info!(site = which, inner, outer, dropped, "packets are captured for a client of the API");
        Ok(CaptureFeed::new(vnet.clone(), stream, context, filter, snap_len))
    }
}
