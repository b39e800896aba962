//! Kernel settings under `/proc/sys`, of the network namespace that the process is in.

use std::fs;

use anyhow::{Context as _, Result};

/// The value of `net/…`.
///
/// # Errors
/// The setting does not exist.
pub(super) fn get(name: &str) -> Result<String> {
    let path = format!("/proc/sys/{name}");
    let value = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    Ok(value.trim().to_owned())
}

/// Sets `net/…` to `value` unless it has that value already. True if it was changed.
///
/// # Errors
/// The setting does not exist or may not be written.
pub(super) fn set(name: &str, value: &str) -> Result<bool> {
    let path = format!("/proc/sys/{name}");
    if get(name)? == value {
        return Ok(false);
    }
    fs::write(&path, value).with_context(|| format!("cannot set {path} to {value}"))?;
    Ok(true)
}
