//! Rates, loss, delay and processor time from host to host, of this project's gateways and of what they are compared with.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts and times are positive and far below 2^53"
)]

mod generator;
mod measure;
mod ratios;
mod report;
mod results;
mod search;
mod settings;
mod statistics;
mod system;
mod systems;
mod topology;
mod usage;

use anyhow::{Result, bail};
use testbed::sweep_stale;

pub(crate) use generator::PacketSize;
use results::Results;
pub(crate) use results::{Delay, EndToEnd, SizeResults, SystemResults};
pub(crate) use settings::Settings;
pub(crate) use system::{GatewayProcess, Kind, NotInstalled, Running, System};
pub(crate) use topology::{End, Topology};

/// Systems chosen by name, in the order of the names; all of them when none is named.
///
/// # Errors
/// There is no system of a name.
pub(crate) fn choose(names: &[String]) -> Result<Vec<Box<dyn System>>> {
    let all = systems::all();
    let known = all.iter().map(|system| system.name()).collect::<Vec<_>>();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no system {unknown}; there are {}", known.join(", "));
    }
    let place = |system: &dyn System| names.iter().position(|name| name == system.name());
    let mut chosen: Vec<_> =
        all.into_iter().filter(|system| names.is_empty() || place(&**system).is_some()).collect();
    chosen.sort_by_key(|system| place(&**system));
    Ok(chosen)
}

/// Measures `systems` in turn, round by round; the order rotates, so that none always runs on a machine that another one has
/// just heated. A system that fails does not keep the others from being measured.
///
/// # Errors
/// The settings are wrong, or what an earlier run left behind cannot be removed.
pub(crate) fn run(systems: &[Box<dyn System>], settings: &Settings) -> Result<EndToEnd> {
    settings.packet_sizes()?;
    sweep_stale()?;
    let mut results: Vec<SystemResults> = systems.iter().map(|system| prepare(&**system)).collect();
    let installed = results.iter().filter(|system| system.not_installed.is_none()).count();
    let minutes = settings.estimate(installed).as_secs_f64() / 60.0;
    eprintln!("end to end: {installed} systems, about {minutes:.0} minutes");
    for round in 0..settings.rounds {
        for place in 0..systems.len() {
            let index = (place + round) % systems.len();
            let entry = &mut results[index];
            if entry.not_installed.is_some() {
                continue;
            }
            eprintln!("round {} of {}: {}", round + 1, settings.rounds, entry.name);
            let failures = entry.results.failures.len();
            measure::round(&*systems[index], settings, round == 0, &mut entry.results);
            for failure in &entry.results.failures[failures..] {
                eprintln!("  {}: {failure}", entry.name);
            }
        }
    }
    Ok(EndToEnd { settings: settings.clone(), systems: results })
}

fn prepare(system: &dyn System) -> SystemResults {
    SystemResults {
        name: system.name().to_owned(),
        description: system.description(),
        kind: system.kind(),
        not_installed: system.available().err().map(|missing| missing.0),
        results: Results::default(),
    }
}
