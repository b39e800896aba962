//! The connections that were taken down by command.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// The file's only version so far.
const VERSION: u32 = 1;

/// The file names its version, so that a later form can be told from this one.
#[derive(Deserialize)]
struct HeldFile {
    version: u32,
    held: BTreeSet<String>,
}

#[derive(Serialize)]
struct HeldFileRef<'a> {
    version: u32,
    held: &'a BTreeSet<String>,
}

/// The file's content for these sites.
pub(super) fn to_json(held: &BTreeSet<String>) -> Vec<u8> {
    serde_json::to_vec(&HeldFileRef { version: VERSION, held }).expect("strings always serialize into memory")
}

/// Reads the file's content; the error says what is wrong with it.
pub(super) fn from_json(content: &[u8]) -> Result<BTreeSet<String>, String> {
    let file: HeldFile = serde_json::from_slice(content).map_err(|error| error.to_string())?;
    if file.version != VERSION {
        return Err(format!("version {} is unknown, expected {VERSION}", file.version));
    }
    Ok(file.held)
}
