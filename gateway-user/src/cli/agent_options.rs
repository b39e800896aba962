//! What `vgw agent` needs before it runs: its options and its log.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use super::args::{AgentArgs, Global, HandOver};
use crate::agent::{CertificateFiles, Options, Peering};
use crate::datapath::EngineConfig;
use crate::model::GatewayBandwidth;

/// The agent's options from the command line's.
pub(super) fn options(global: &Global, args: AgentArgs) -> Options {
    Options {
        vnet: args.vnet,
        netcfg: args.netcfg,
        wan: args.wan,
        wan_addresses: args.wan_address,
        lan: args.lan,
        bandwidth: GatewayBandwidth { rate: args.bandwidth, direction: args.bandwidth_direction },
        run_dir: global.run_dir.clone(),
        state_dir: args.state_dir,
        pin_root: args.pin_root,
        max_connections: args.max_connections,
        certificates: CertificateFiles {
            own: args.certificate.zip(args.private_key),
            authorities: args.ca,
            revocation_lists: args.crl,
        },
        key_log: args.key_log,
        engine: EngineConfig {
            choice: args.engine,
            workers: args.workers,
            worker_cpus: args.worker_cpus,
            exchange: args.hand_over == HandOver::Auto,
            busy_poll: args.busy_poll,
            tx_budget: args.tx_budget,
            ring_size: args.ring_size,
        },
        mss_clamp: args.mss_clamp,
        peering: Peering {
            cookie_threshold: args.cookie_threshold,
            fragment_size: args.fragment_size,
            ike_lifetime: args.ike_lifetime,
            child_lifetime: args.child_lifetime,
            dpd_interval: args.dpd,
            ike_proposals: args.ike_proposal,
            esp_proposals: args.esp_proposal,
            force_udp_encapsulation: args.force_udp_encapsulation,
            udp_port_entropy: args.udp_port_entropy,
            child_sas: args.child_sas,
        },
    }
}

/// Logs to standard error, one line per event; `VGW_LOG` says what, in the syntax of `tracing_subscriber`'s `EnvFilter`.
pub(super) fn init_log() -> anyhow::Result<()> {
    const VARIABLE: &str = "VGW_LOG";
    let filter = match std::env::var(VARIABLE) {
        Ok(text) => {
            EnvFilter::try_new(&text).with_context(|| format!("{VARIABLE}={text:?} is no log filter"))?
        }
        // The agent logs the state changes of connections itself, by name.
        Err(_) => EnvFilter::new("info,ike::endpoint::peer=warn"),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}
