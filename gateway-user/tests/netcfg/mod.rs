//! What the tests of bad files share.

use gateway_user::netcfg::{self, ErrorKind, Limits, Report};

/// A good file; most bad ones are this one with one replacement, so the lines in errors are lines of this file.
pub(crate) const GOOD: &str = include_str!("two-networks.xml");

/// The report on a bad file.
pub(crate) fn report(text: impl AsRef<[u8]>) -> Report {
    netcfg::parse("bad.xml", text.as_ref(), &Limits::default()).expect_err("the file breaks a rule")
}

/// The good file with `from` replaced where it first appears after `anchor`.
pub(crate) fn changed(anchor: &str, from: &str, to: &str) -> String {
    let start = GOOD.find(anchor).unwrap_or_else(|| panic!("no {anchor:?} in the good file"));
    let at = start + GOOD[start..].find(from).unwrap_or_else(|| panic!("no {from:?} after {anchor:?}"));
    format!("{}{to}{}", &GOOD[..at], &GOOD[at + from.len()..])
}

/// Asserts the errors of a text: their kinds and, joined, their exact display.
pub(crate) fn assert_errors(text: &str, kinds: &[ErrorKind], display: &str) {
    let report = report(text);
    assert_eq!(report.to_string(), display);
    assert_eq!(report.errors.iter().map(|error| error.kind).collect::<Vec<_>>(), kinds);
}

/// Asserts the only error of the good file with one replacement.
pub(crate) fn assert_change(anchor: &str, from: &str, to: &str, kind: ErrorKind, display: &str) {
    assert_errors(&changed(anchor, from, to), &[kind], display);
}
