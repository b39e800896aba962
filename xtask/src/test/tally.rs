//! Counting tests from the output of the test runner.

use std::fmt;
use std::ops::AddAssign;
use testbed::SKIP_MARKER;

/// How many tests ended how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Tests that ran and held.
    pub(crate) passed: u64,
    /// Tests that did not hold, and builds and runs that broke.
    pub(crate) failed: u64,
    /// Tests that this machine cannot run, and tests marked as ignored.
    pub(crate) skipped: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

/// Counts in a stream of output that arrives in pieces.
#[derive(Default)]
pub(crate) struct LineReader {
    line: Vec<u8>,
    tally: Tally,
    /// Tests that said they were skipped; the runner counts them as passed.
    announced: u64,
}

impl LineReader {
    /// Takes the next piece of output.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        for &byte in piece {
            if byte == b'\n' {
                self.end_line();
            } else {
                self.line.push(byte);
            }
        }
    }

    /// The counts, once the output has ended.
    pub(crate) fn finish(mut self) -> Tally {
        self.end_line();
        let skipped = self.announced.min(self.tally.passed);
        self.tally.passed -= skipped;
        self.tally.skipped += skipped;
        self.tally
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        if line.starts_with(SKIP_MARKER) {
            self.announced += 1;
        } else if let Some(result) = summary(&line) {
            self.tally += result;
        }
    }
}

/// Reads `test result: ok. 3 passed; 1 failed; 2 ignored; …`.
fn summary(line: &str) -> Option<Tally> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |word: &str| {
        let part = counts.split("; ").find(|part| part.ends_with(word))?;
        part.split(' ').next()?.parse().ok()
    };
    Some(Tally { passed: count(" passed")?, failed: count(" failed")?, skipped: count(" ignored")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(output: &str) -> Tally {
        let mut reader = LineReader::default();
        for piece in output.as_bytes().chunks(7) {
            reader.feed(piece);
        }
        reader.finish()
    }

    #[test]
    fn results_of_several_binaries_are_summed() {
        let output = "running 3 tests\n\
            test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.11s\n\
            test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 4 filtered out; finished in 0.11s\n";
        assert_eq!(tally(output), Tally { passed: 4, failed: 2, skipped: 1 });
    }

    #[test]
    fn a_skipped_test_is_not_a_passed_one() {
        let output = "test lab::ping ... \nSKIPPED: ping: Root is missing.\nok\ntest lab::other ... ok\n\
            test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.11s";
        assert_eq!(tally(output), Tally { passed: 1, failed: 0, skipped: 1 });
    }

    #[test]
    fn the_closing_line_has_the_documented_form() {
        let tally = Tally { passed: 10, failed: 0, skipped: 2 };
        assert_eq!(tally.to_string(), "10 passed, 0 failed, 2 skipped");
    }
}
