//! Handshakes per second and memory per tunnel of the gateway's agent as responder, beside strongSwan's charon.
//!
//! Every initiator has an address and a network of its own and makes one IKE SA with one Child SA: PSK, X25519, AES-256-GCM
//! with PRF-HMAC-SHA2-256, AES-256-GCM for ESP.

mod charon;
mod initiator;
mod keys;
mod load;
mod message;
mod network;
mod report;
mod responder;
mod vgw;

use std::path::PathBuf;

use anyhow::{Result, ensure};
use clap::Args;

use load::{Load, LoadResult};
use network::{FIRST_INITIATOR, FIRST_NETWORK, MOST_INITIATORS, Network, RESPONDER};
use report::{Report, Run};
use responder::Responder;

use crate::{machine, report::write_json};

/// Same key for every connection, because charon has one connection for all initiators.
const PSK: &str = "benchmark-key-of-no-other-value";

/// Numbers of tunnels unless told otherwise.
const TUNNELS: [u32; 2] = [1000, 10_000];
/// Numbers of tunnels for a look.
const TUNNELS_QUICK: [u32; 1] = [50];
/// Handshakes under way at a time unless told otherwise.
const WINDOW: usize = 32;

/// Arguments of `bench handshakes`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Numbers of tunnels to measure.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = TUNNELS,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(MOST_INITIATORS)))]
    tunnels: Vec<u32>,
    /// Handshakes under way at a time.
    #[arg(long, value_name = "N", default_value_t = WINDOW)]
    window: usize,
    /// How often each responder is measured, in turn.
    #[arg(long, value_name = "N", default_value_t = 1)]
    rounds: u32,
    /// Measure the agent alone.
    #[arg(long)]
    without_charon: bool,
    /// Write the results here as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Arguments {
    /// The defaults; with `is_quick`, few tunnels.
    pub(crate) fn new(is_quick: bool, json: Option<PathBuf>) -> Self {
        let tunnels = if is_quick { &TUNNELS_QUICK[..] } else { &TUNNELS };
        Self { tunnels: tunnels.to_vec(), window: WINDOW, rounds: 1, without_charon: false, json }
    }
}

/// Measures and prints.
///
/// # Errors
/// Privileges, `vgw` or strongSwan are missing, or a handshake failed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    ensure!(arguments.window > 0, "at least one handshake must be under way");
    let mut runs = Vec::new();
    let mut note = |run: Run| {
        // A run may take minutes: what was measured is shown at once.
        eprintln!("{run}");
        runs.push(run);
    };
    for tunnels in &arguments.tunnels {
        for _ in 0..arguments.rounds {
            let agent = |network: &Network| vgw::start(network, *tunnels, PSK);
            note(measure("vgw", *tunnels, arguments.window, agent)?);
            if !arguments.without_charon {
                let charon = |network: &Network| charon::start(network, PSK);
                note(measure("charon", *tunnels, arguments.window, charon)?);
            }
        }
    }
    let charon = (!arguments.without_charon).then(charon::version).transpose()?;
    let report = Report { machine: machine::describe(), charon, window: arguments.window, runs };
    println!("{report}");
    write_json(arguments.json.as_deref(), &report)
}

/// Measures one responder, in namespaces of its own.
fn measure(
    name: &'static str,
    tunnels: u32,
    window: usize,
    start: impl FnOnce(&Network) -> Result<Responder>,
) -> Result<Run> {
    let network = Network::create()?;
    let responder = start(&network)?;
    let before = responder.usage()?;
    let load = Load {
        remote: RESPONDER,
        first_address: FIRST_INITIATOR,
        first_network: FIRST_NETWORK,
        count: tunnels,
        window,
        psk: PSK.as_bytes(),
    };
    let result: LoadResult = network.generator.enter(|| load::run(&load))??;
    let after = responder.usage()?;
    let established = responder.established()?;
    ensure!(established == tunnels as usize, "{name} has {established} of {tunnels} tunnels");
    Ok(Run {
        responder: name,
        tunnels,
        load: result,
        responder_cpu_seconds: after.cpu_seconds - before.cpu_seconds,
        resident_kib_before: before.resident_kib,
        resident_kib_after: after.resident_kib,
        bpf_map_kib: after.bpf_map_kib,
    })
}
