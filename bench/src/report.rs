//! What one run measured, as JSON keeps it.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::end_to_end::EndToEnd;
use crate::machine::Machine;
use crate::micro::Micro;

/// Everything that one run measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// When the run began, in UTC (RFC 3339).
    pub(crate) date: String,
    pub(crate) micro: Option<Micro>,
    pub(crate) end_to_end: Option<EndToEnd>,
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
