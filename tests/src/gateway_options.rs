//! Options of one agent.

/// Options of `vgw agent` beyond those that the laboratory's topology decides. `None` leaves the agent's default.
#[derive(Clone, Debug, Default)]
pub struct GatewayOptions {
    /// Shared bandwidth limit, for instance `50mbit`.
    pub bandwidth: Option<String>,
    /// Lifetime of a Child SA in seconds.
    pub child_lifetime: Option<u32>,
    /// Idle time before a dead-peer probe, in seconds.
    pub dpd: Option<u32>,
    /// The one IKE proposal to offer and accept, for instance `aes256gcm16-prfsha384-ecp384`.
    pub ike_proposal: Option<String>,
    /// The one ESP proposal to offer and accept, for instance `chacha20poly1305`.
    pub esp_proposal: Option<String>,
    /// What the agent logs, for instance `debug`.
    pub log: Option<String>,
    /// Whether ESP travels in UDP although there is no address translation.
    pub force_udp_encapsulation: bool,
}

impl GatewayOptions {
    pub(crate) fn arguments(&self) -> Vec<String> {
        let seconds = |value: Option<u32>| value.map(|seconds| seconds.to_string());
        let valued = [
            ("--bandwidth", self.bandwidth.clone()),
            ("--child-lifetime", seconds(self.child_lifetime)),
            ("--dpd", seconds(self.dpd)),
            ("--ike-proposal", self.ike_proposal.clone()),
            ("--esp-proposal", self.esp_proposal.clone()),
        ];
        let mut arguments = Vec::new();
        for (option, value) in valued {
            arguments.extend(value.into_iter().flat_map(|value| [option.to_owned(), value]));
        }
        if self.force_udp_encapsulation {
            arguments.push("--force-udp-encapsulation".to_owned());
        }
        arguments
    }
}
