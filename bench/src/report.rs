//! The results as a table and as JSON.

use std::path::Path;
use std::{fmt, fs};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::machine::Machine;
use crate::micro::Micro;

/// Everything that one run measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) micro: Micro,
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
        writeln!(formatter, "{processor}, {processors} processors, Linux {kernel}\n")?;
        write!(formatter, "{}", self.micro)
    }
}
