//! Frame of an end-to-end test.

use crate::{Lab, LabBuilder, skip_unless_capable, sweep_stale};
use anyhow::Result;
use std::path::Path;

/// Lines shown of each log when a test fails.
const LOG_TAIL: usize = 80;

/// Runs `body` in a fresh laboratory with `sites` sites. On a machine that cannot, the test `name` is reported as
/// skipped. When `body` fails or panics, the logs of all agents are printed.
pub fn scenario(name: &str, sites: u8, body: impl FnOnce(&Lab) -> Result<()>) {
    scenario_in(name, |lab| lab.sites(sites), body);
}

/// Runs `body` in a fresh laboratory that `plan` decides; see [`scenario`].
pub fn scenario_in(
    name: &str,
    plan: impl FnOnce(LabBuilder) -> LabBuilder,
    body: impl FnOnce(&Lab) -> Result<()>,
) {
    if skip_unless_capable(name) {
        return;
    }
    let prepared = sweep_stale().and_then(|_| plan(Lab::builder()).build());
    let lab = prepared.unwrap_or_else(|error| panic!("no laboratory for {name}: {error:#}"));
    let logs = LogsOnPanic(&lab);
    if let Err(error) = body(&lab) {
        panic!("{name}: {error:#}");
    }
    drop(logs);
}

struct LogsOnPanic<'a>(&'a Lab);

impl Drop for LogsOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in logs(&self.0.directory()) {
                eprintln!("{log}");
            }
        }
    }
}

/// Tails of the `.log` files in `directory`, each under its name.
fn logs(directory: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    let tail = |path: &Path| {
        let text =
            std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    };
    paths.iter().map(|path| format!("--- {}\n{}\n---", path.display(), tail(path))).collect()
}
