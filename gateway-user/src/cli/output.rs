//! Standard output.

use std::io::{ErrorKind, Write};

use anyhow::Context;
use serde::Serialize;

use crate::api::types::KeyDocument;

/// Prints a key and the end of its line, without a copy of the key.
pub(super) fn print_key(document: &KeyDocument) -> anyhow::Result<()> {
    print(document.key.0.expose())?;
    print("\n")
}

/// Prints an answer for programs.
pub(super) fn print_json(answer: &impl Serialize) -> anyhow::Result<()> {
    let json = serde_json::to_string_pretty(answer).context("cannot write the answer as JSON")?;
    print(&format!("{json}\n"))
}

/// Prints to standard output. A reader that has seen enough (`vgw events | head`) is no failure.
pub(super) fn print(text: &str) -> anyhow::Result<()> {
    print_while_read(text).map(|_| ())
}

/// The same for what goes on; false if nobody reads it any more.
pub(super) fn print_while_read(text: &str) -> anyhow::Result<bool> {
    let mut stdout = std::io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("cannot write the output"),
    }
}
