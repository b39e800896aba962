//! Pictures of the results, as SVG.
//!
//! Colours are from the palette of Okabe and Ito, which people with any kind of colour vision can tell apart; what a colour says
//! is also said by a word or a place.

#![expect(clippy::cast_precision_loss, reason = "counts and decades are small")]

mod latency;
mod scale;
mod scaling;
mod svg;
mod throughput;

pub(crate) use latency::latency;
pub(crate) use scale::scale;
pub(crate) use scaling::scaling;
pub(crate) use throughput::throughput;

use crate::end_to_end::Kind;

/// Ink of text and axes.
const INK: &str = "#222222";
/// Ink of what explains.
const FAINT: &str = "#666666";
/// Lines of a grid.
const GRID: &str = "#dddddd";
const BLUE: &str = "#0072b2";
const ORANGE: &str = "#e69f00";
const GREEN: &str = "#009e73";
const VERMILLION: &str = "#d55e00";
const GREY: &str = "#999999";

/// Colour of a system's part in the comparison.
fn colour(kind: Kind) -> &'static str {
    match kind {
        Kind::Own => BLUE,
        Kind::Peer => ORANGE,
        Kind::Reference => GREY,
    }
}

/// A number with about three digits.
fn short(value: f64) -> String {
    match value {
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([1234.4, 99.96, 7.0, 0.123].map(short), ["1234", "100.0", "7.00", "0.12"]);
    }
}
