//! Cost per packet of the XDP datapath, measured in the kernel by `BPF_PROG_TEST_RUN`.

mod baseline;
mod machine;
mod packet_cost;
mod report;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Parser;

/// Measure what one packet costs.
#[derive(Parser)]
#[command(name = "bench")]
struct Arguments {
    /// Fewer packets: a look, not a figure to quote.
    #[arg(long)]
    quick: bool,
    /// Write the results here as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let packets = if arguments.quick { 500 } else { 20_000 };
    let report = report::Report {
        machine: machine::describe(),
        packets_per_figure: packets,
        empty_program_ns: packet_cost::empty_program_ns(packets)?,
        costs: packet_cost::measure(packets)?,
    };
    println!("{report}");
    if let Some(path) = arguments.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
