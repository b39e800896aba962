//! Tests that this machine cannot run.

use crate::Probe;
use std::io::Write as _;

/// Leads the line that a skipped test prints. `cargo xtask test` counts these lines as skipped tests, not as passed ones.
pub const SKIP_MARKER: &str = "SKIPPED: ";

/// Whether `test` must be skipped because this machine lacks a privilege or a kernel feature. Says so loudly.
pub fn skip_unless_capable(test: &str) -> bool {
    let missing = Probe::cached().missing();
    if missing.is_empty() {
        return false;
    }
    // Not `println!`: the test runner would swallow that, because the test passes. The leading line feed ends the
    // "test … " that the runner may have begun.
    let line = format!("\n{SKIP_MARKER}{test}: {}\n", missing.join(" "));
    std::io::stdout().lock().write_all(line.as_bytes()).expect("standard output is open");
    true
}
