//! What a worker says on its standard error, on its way to the agent's log.

use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::time::Instant;

/// Longest part of a line that is kept, in bytes.
const LINE: usize = 512;
/// Lines per [`WINDOW`].
const LINES: u32 = 20;
const WINDOW: Duration = Duration::from_secs(10);

/// Logs what arrives, line by line, until the other end closes; returns the last line. What a worker says is bounded, since a
/// worker reads what strangers send.
pub(super) async fn relay(worker: u32, source: impl AsyncRead + Unpin) -> Option<String> {
    let mut source = BufReader::new(source);
    let mut allowance = Allowance { since: Instant::now(), lines: 0 };
    let mut last = None;
    while let Some(line) = next_line(&mut source).await {
        match allowance.admit(Instant::now()) {
            Admission::Full => tracing::warn!(worker, "{line}"),
            Admission::Last => tracing::warn!(worker, "{line} (what follows now is not logged)"),
            Admission::None => {}
        }
        last = Some(line);
    }
    last
}

/// How many lines were logged lately.
struct Allowance {
    since: Instant,
    lines: u32,
}

#[derive(Debug, PartialEq, Eq)]
enum Admission {
    Full,
    Last,
    None,
}

impl Allowance {
    fn admit(&mut self, now: Instant) -> Admission {
        if now.duration_since(self.since) >= WINDOW {
            (self.since, self.lines) = (now, 0);
        }
        self.lines = self.lines.saturating_add(1);
        match self.lines {
            ..LINES => Admission::Full,
            LINES => Admission::Last,
            _ => Admission::None,
        }
    }
}

/// The next line that is not empty, shortened and without control characters.
async fn next_line(source: &mut (impl AsyncBufRead + Unpin)) -> Option<String> {
    let mut line = Vec::new();
    loop {
        let buffer = source.fill_buf().await.ok()?;
        if buffer.is_empty() {
            return text(&line);
        }
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let part = &buffer[..end.unwrap_or(buffer.len())];
        let room = LINE - line.len();
        line.extend_from_slice(&part[..part.len().min(room)]);
        let used = part.len() + usize::from(end.is_some());
        source.consume(used);
        if end.is_some()
            && let Some(text) = text(&line)
        {
            return Some(text);
        }
        if end.is_some() {
            line.clear();
        }
    }
}

fn text(line: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(line);
    let text = text.trim();
    // A terminal must not obey what a log says.
    let text: String = text.chars().map(|char| if char.is_control() { '\u{fffd}' } else { char }).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn lines(input: &[u8]) -> Vec<String> {
        let mut source = BufReader::with_capacity(7, input);
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut source).await {
            lines.push(line);
        }
        lines
    }

    #[tokio::test]
    async fn lines_are_taken_apart_bounded_and_harmless() {
        assert_eq!(lines(b"one\n\n  two words \r\nthree").await, ["one", "two words", "three"]);
        assert_eq!(lines(b"").await, [""; 0]);
        assert_eq!(lines(b"a\x1b[31mb\n").await, ["a\u{fffd}[31mb"]);
        let long = [vec![b'x'; 10_000], b"\nnext\n".to_vec()].concat();
        assert_eq!(lines(&long).await, ["x".repeat(LINE), "next".to_owned()]);
        assert_eq!(lines(b"\xff\xfe\n").await, ["\u{fffd}\u{fffd}"]);
    }

    #[tokio::test]
    async fn the_last_line_is_kept() {
        assert_eq!(relay(0, &b"one\ntwo\n"[..]).await.as_deref(), Some("two"));
        assert_eq!(relay(0, &b""[..]).await, None);
    }

    #[tokio::test]
    async fn a_flood_is_not_logged() {
        let start = Instant::now();
        let mut allowance = Allowance { since: start, lines: 0 };
        let admitted = (0..100).filter(|_| allowance.admit(start) != Admission::None).count();
        assert_eq!(admitted, LINES as usize);
        assert_eq!(allowance.admit(start + WINDOW), Admission::Full);
    }
}
