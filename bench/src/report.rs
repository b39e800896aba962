//! The results as a table and as JSON.

use std::path::Path;
use std::{fmt, fs};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::machine::Machine;
use crate::packet_cost::PacketCost;

/// Everything that one run measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) packets_per_figure: usize,
    /// Time of a program that does nothing, contained in every other figure.
    pub(crate) empty_program_ns: u64,
    pub(crate) costs: Vec<PacketCost>,
}

/// Writes results as JSON, if a file was named.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn write_json(path: Option<&Path>, results: &impl Serialize) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let text = serde_json::to_string_pretty(results)? + "\n";
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { processor, processors, kernel } = &self.machine;
        writeln!(
            formatter,
            "{processor}, {processors} processors, Linux {kernel}; ns per packet, median of {}\n",
            self.packets_per_figure
        )?;
        writeln!(
            formatter,
            "An empty program takes {} ns, which every figure contains.\n",
            self.empty_program_ns
        )?;
        writeln!(
            formatter,
            "| algorithm | inner bytes | encapsulate | decapsulate | ring seals | encapsulate / ring |"
        )?;
        writeln!(formatter, "|---|---:|---:|---:|---:|---:|")?;
        for cost in &self.costs {
            let tenths = cost.encapsulate_ns * 10 / cost.ring_seal_ns.max(1);
            writeln!(
                formatter,
                "| {} | {} | {} | {} | {} | {}.{} |",
                cost.aead,
                cost.bytes,
                cost.encapsulate_ns,
                cost.decapsulate_ns,
                cost.ring_seal_ns,
                tenths / 10,
                tenths % 10
            )?;
        }
        Ok(())
    }
}
