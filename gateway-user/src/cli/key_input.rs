//! Reading a shared key without showing it: never from the arguments, which other users can see.

use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::path::Path;

use anyhow::{Context, bail};
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::model::SharedKey;

/// More than the longest key and its line end; reading stops there.
const READ_LIMIT: u64 = 1024;

/// Reads the key from `file`, or else from standard input: up to its end when piped, asked for without echo on a terminal.
pub(super) fn read_key(file: Option<&Path>) -> anyhow::Result<SharedKey> {
    let text = match file {
        Some(path) => File::open(path)
            .and_then(read_all)
            .with_context(|| format!("cannot read the key file {}", path.display()))?,
        None if std::io::stdin().is_terminal() => ask()?,
        None => read_all(std::io::stdin()).context("cannot read the key from standard input")?,
    };
    Ok(SharedKey::new(without_line_end(&text))?)
}

fn read_all(source: impl Read) -> std::io::Result<Zeroizing<String>> {
    // Reserved in one piece: a growing string would leave copies of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(2 * READ_LIMIT as usize));
    source.take(READ_LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

/// The text without one final line end, which editors and `echo` append.
fn without_line_end(text: &str) -> &str {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.strip_suffix('\r').unwrap_or(text)
}

fn ask() -> anyhow::Result<Zeroizing<String>> {
    let key = ask_once("Shared key: ")?;
    let again = ask_once("Shared key again: ")?;
    if *key != *again {
        bail!("the two entries differ; nothing was changed");
    }
    Ok(key)
}

fn ask_once(prompt: &str) -> anyhow::Result<Zeroizing<String>> {
    let mut stderr = std::io::stderr();
    write!(stderr, "{prompt}").and_then(|()| stderr.flush()).context("cannot write the prompt")?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(READ_LIMIT as usize));
    let finished = {
        let _quiet = QuietTerminal::enter()?;
        read_line(std::io::stdin(), &mut bytes).context("cannot read the key")?
    };
    // The line end that was typed was not echoed either; a terminal that is gone needs none.
    let _ = writeln!(stderr);
    if !finished {
        bail!("cancelled; nothing was changed");
    }
    let text = std::str::from_utf8(&bytes).context("the key is not text")?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// Reads keystrokes up to a line end; false if the user gave up (Ctrl-C, Ctrl-D, end of input).
fn read_line(mut source: impl Read, line: &mut Vec<u8>) -> std::io::Result<bool> {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const BACKSPACE: u8 = 8;
    const CTRL_U: u8 = 21;
    const DELETE: u8 = 127;
    let mut byte = [0];
    loop {
        if source.read(&mut byte)? == 0 {
            return Ok(false);
        }
        match byte[0] {
            b'\r' | b'\n' => return Ok(true),
            CTRL_C | CTRL_D => return Ok(false),
            BACKSPACE | DELETE => drop(line.pop()),
            CTRL_U => line.clear(),
            other if line.len() < READ_LIMIT as usize => line.push(other),
            _ => {}
        }
    }
}

/// The terminal without echo and without signals from keys, so that it cannot be left in that state; restored on drop.
struct QuietTerminal {
    before: Termios,
}

impl QuietTerminal {
    fn enter() -> anyhow::Result<Self> {
        let before = tcgetattr(std::io::stdin()).context("cannot read the terminal's settings")?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO | LocalFlags::ICANON | LocalFlags::ISIG);
        tcsetattr(std::io::stdin(), SetArg::TCSAFLUSH, &quiet)
            .context("cannot switch the terminal's echo off")?;
        Ok(Self { before })
    }
}

impl Drop for QuietTerminal {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(std::io::stdin(), SetArg::TCSAFLUSH, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_cut_and_nothing_else() {
        for (text, key) in [("abc", "abc"), ("abc\n", "abc"), ("abc\r\n", "abc"), (" abc \n", " abc ")] {
            assert_eq!(without_line_end(text), key);
        }
        assert_eq!(without_line_end("abc\n\n"), "abc\n");
    }

    #[test]
    fn key_files_are_read_and_checked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, "correct horse\n").unwrap();
        assert_eq!(read_key(Some(&path)).unwrap().expose(), "correct horse");
        std::fs::write(&path, "two\nlines\n").unwrap();
        let error = read_key(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("printable") && !error.contains("two"), "{error}");
        let error = read_key(Some(&dir.path().join("none"))).unwrap_err().to_string();
        assert!(error.contains("cannot read the key file"), "{error}");
    }

    #[test]
    fn typing_can_be_corrected_and_cancelled() {
        let mut line = Vec::new();
        assert!(read_line(&b"wrong\x15ab\x7fc\rrest"[..], &mut line).unwrap());
        assert_eq!(line, b"ac");
        for gave_up in [&b"abc\x03"[..], b"\x04", b"abc"] {
            assert!(!read_line(gave_up, &mut Vec::new()).unwrap());
        }
    }
}
