//! What a gateway with many tunnels and prefixes costs: per packet, per change of a prefix, and in memory.

mod agent;
mod packets;
mod report;
mod sites;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;

pub(crate) use report::{Scale, curve};

use crate::plot;
use crate::publish::{DOCUMENT, DOCUMENTS, FOLDER, replace};
use crate::report::write_json;
use crate::{machine, run};

/// Prefixes of each tunnel.
const PREFIXES_EACH: u32 = 10;
/// Numbers of tunnels unless told otherwise.
const TUNNELS: [u32; 5] = [1, 10, 100, 1000, 10_000];
/// Most tunnels of one gateway.
const MOST_TUNNELS: i64 = 16_384;
/// Packets for each figure unless told otherwise.
const PACKETS: u32 = 4000;

/// Name of the section of the document, and of the files beside it.
const SECTION: &str = "scale";
const FIGURES: &str = "scale.json";
const PICTURE: &str = "scale.svg";

/// Arguments of `bench scale`.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Numbers of tunnels for the cost per packet, each with ten prefixes.
    #[arg(long, value_name = "N", value_delimiter = ',', default_values_t = TUNNELS,
          value_parser = clap::value_parser!(u32).range(1..=MOST_TUNNELS))]
    tunnels: Vec<u32>,
    /// Packets for each figure.
    #[arg(long, value_name = "N", default_value_t = PACKETS, value_parser = clap::value_parser!(u32).range(10..=1_000_000))]
    packets: u32,
    /// Connections of the configuration that the agent applies and changes, each with ten prefixes.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(10..=MOST_TUNNELS))]
    connections: u32,
    /// How often the configuration is applied and changed.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Write the results here as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Put the results into `docs/BENCHMARKS.md` and `docs/bench`.
    #[arg(long)]
    publish: bool,
}

/// Measures and prints.
///
/// # Errors
/// Privileges or `vgw` are missing, or the datapath or the agent refused something.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let mut scale = Scale { machine: machine::describe(), date: run::now()?, ..Scale::default() };
    for tunnels in &arguments.tunnels {
        eprintln!("{tunnels} tunnels …");
        scale.packets.extend(packets::measure(*tunnels, arguments.packets as usize)?);
    }
    let mut sizes: Vec<u32> = [10, 1000].into_iter().filter(|size| *size < arguments.connections).collect();
    sizes.push(arguments.connections);
    for connections in sizes {
        eprintln!("an agent with {connections} connections …");
        scale.memory.push(agent::memory(connections)?);
    }
    for _ in 0..arguments.rounds {
        eprintln!("changes of prefixes …");
        scale.changes.push(agent::changes(arguments.connections)?);
    }
    println!("{scale}");
    write_json(arguments.json.as_deref(), &scale)?;
    if arguments.publish { publish(&scale) } else { Ok(()) }
}

/// Puts the figures into the documents.
fn publish(scale: &Scale) -> Result<()> {
    let documents = Path::new(DOCUMENTS);
    let document = documents.join(DOCUMENT);
    let text =
        fs::read_to_string(&document).with_context(|| format!("cannot read {}", document.display()))?;
    let text = replace(&text, SECTION, &scale.to_string())?;
    let folder = documents.join(FOLDER);
    write_json(Some(&folder.join(FIGURES)), scale)?;
    fs::write(folder.join(PICTURE), plot::scale(scale))?;
    Ok(fs::write(&document, text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `cargo xtask bench scale --publish` makes them anew.
    #[test]
    fn the_published_table_and_picture_are_those_of_the_published_figures() {
        let documents = Path::new(DOCUMENTS);
        let read = |name: &str| fs::read_to_string(documents.join(FOLDER).join(name)).unwrap();
        let scale: Scale = serde_json::from_str(&read(FIGURES)).unwrap();
        let text = fs::read_to_string(documents.join(DOCUMENT)).unwrap();
        assert!(
            replace(&text, SECTION, &scale.to_string()).unwrap() == text,
            "the table is of other figures"
        );
        assert!(read(PICTURE) == plot::scale(&scale), "the picture is of other figures");
    }
}
