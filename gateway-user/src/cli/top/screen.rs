//! The terminal of the live view.

use std::io::{Stdout, Write as _, stdout};
use std::time::Instant;

use anyhow::{Context as _, Result};
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::event::{Event, KeyCode, KeyEventKind, KeyModifiers, poll, read};
use crossterm::style::Print;
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};

use super::frame::SortKey;

/// Columns and rows of a terminal that does not tell.
const DEFAULT_SIZE: (u16, u16) = (80, 24);

/// A screen of its own, which is left in order whatever happens.
pub(super) struct Screen {
    stdout: Stdout,
}

/// What the loop was woken by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Input {
    Quit,
    Sort(SortKey),
    Redraw,
    Timeout,
}

impl Screen {
    pub(super) fn open() -> Result<Self> {
        enable_raw_mode().context("cannot use the terminal")?;
        // From here on dropping it puts everything right again.
        let mut screen = Self { stdout: stdout() };
        execute!(screen.stdout, EnterAlternateScreen, Hide).context("cannot use the terminal")?;
        Ok(screen)
    }

    /// Waits for a key that means something, or until `deadline`.
    pub(super) fn wait(deadline: Instant) -> Result<Input> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if !poll(left).context("cannot read keys")? {
                return Ok(Input::Timeout);
            }
            if let Some(input) = meaning(&read().context("cannot read keys")?) {
                return Ok(input);
            }
        }
    }

    /// Shows as much of `text` as there is room for.
    pub(super) fn draw(&mut self, text: &str) -> Result<()> {
        let (columns, rows) = match size().context("cannot tell the size of the terminal")? {
            // One that does not know.
            (0, _) | (_, 0) => DEFAULT_SIZE,
            size => size,
        };
        for (row, line) in (0..rows).zip(text.lines()) {
            let line: String = line.chars().take(columns.into()).collect();
            queue!(self.stdout, MoveTo(0, row), Print(line), Clear(ClearType::UntilNewLine))?;
        }
        let used = u16::try_from(text.lines().count()).unwrap_or(rows);
        if used < rows {
            queue!(self.stdout, MoveTo(0, used), Clear(ClearType::FromCursorDown))?;
        }
        self.stdout.flush().context("cannot draw")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that has gone needs nothing.
        let _ = execute!(self.stdout, Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}

fn meaning(event: &Event) -> Option<Input> {
    let key = match event {
        Event::Resize(..) => return Some(Input::Redraw),
        Event::Key(key) if key.kind == KeyEventKind::Press => key,
        _ => return None,
    };
    match key.code {
        KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => Some(Input::Quit),
        KeyCode::Char('q') | KeyCode::Esc => Some(Input::Quit),
        KeyCode::Char('n') => Some(Input::Sort(SortKey::Name)),
        KeyCode::Char('s') => Some(Input::Sort(SortKey::State)),
        KeyCode::Char('i') => Some(Input::Sort(SortKey::In)),
        KeyCode::Char('o') => Some(Input::Sort(SortKey::Out)),
        KeyCode::Char('r') => Some(Input::Sort(SortKey::Rate)),
        KeyCode::Char('d') => Some(Input::Sort(SortKey::Drops)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crossterm::event::KeyEvent;

    use super::*;

    #[test]
    fn keys_have_a_meaning() {
        let key = |code, modifiers| meaning(&Event::Key(KeyEvent::new(code, modifiers)));
        let plain = |letter| key(KeyCode::Char(letter), KeyModifiers::NONE);
        assert_eq!(plain('q'), Some(Input::Quit));
        assert_eq!(key(KeyCode::Char('c'), KeyModifiers::CONTROL), Some(Input::Quit));
        assert_eq!(plain('c'), None);
        assert_eq!(plain('d'), Some(Input::Sort(SortKey::Drops)));
        assert_eq!(meaning(&Event::Resize(80, 24)), Some(Input::Redraw));
        assert_eq!(meaning(&Event::FocusGained), None);
    }
}
