//! Ranges: how long round trips take.

use super::svg::{Anchor, Style, Svg};
use super::{BLUE, GRID, INK, VERMILLION, short};
use crate::end_to_end::{Delay, EndToEnd, Kind, SystemResults};

const WIDTH: f64 = 1000.0;
const TOP: f64 = 100.0;
const ROW: f64 = 40.0;
const LEFT: f64 = 130.0;
/// Room for numbers at the right.
const NUMBERS: f64 = 190.0;
const BOTTOM: f64 = 46.0;

/// For each system the distribution of round trips, idle and beside a load, on a logarithmic scale. `None` when there is none.
pub(crate) fn latency(run: &EndToEnd, subtitle: &str) -> Option<String> {
    let is_shown = |system: &&SystemResults| !system.results.idle.distribution.is_empty();
    let systems: Vec<&SystemResults> = run.systems.iter().filter(is_shown).collect();
    let delays = systems.iter().flat_map(|system| [&system.results.idle, &system.results.loaded]);
    let values: Vec<f64> = delays.flat_map(|delay| delay.distribution.iter().copied()).collect();
    let axis = Axis::covering(&values)?;
    let height = TOP + ROW * systems.len() as f64 + BOTTOM;
    let title = "Round trips from host to host through two gateways";
    let mut svg = Svg::new(WIDTH, height, title, subtitle);
    svg.legend(
        (20.0, 72.0),
        &[(BLUE, "idle"), (VERMILLION, "beside 1400-byte packets at half the best rate")],
    );
    svg.text(
        (430.0, 72.0),
        Anchor::Start,
        Style::FAINT,
        "thin line 1 % to 99 %, thick line the middle half, dot the median; last round",
    );
    let bottom = height - BOTTOM;
    svg.text((WIDTH - 20.0, TOP - 6.0), Anchor::End, Style::FAINT, "p50 / p99 in µs, medians of rounds");
    for tick in axis.ticks() {
        let x = axis.place(tick);
        svg.line((x, TOP), (x, bottom), 1.0, GRID);
        svg.text((x, bottom + 16.0), Anchor::Middle, Style::FAINT, &format!("{tick:.0}"));
    }
    let middle = f64::midpoint(LEFT, WIDTH - NUMBERS);
    svg.text(
        (middle, bottom + 34.0),
        Anchor::Middle,
        Style::PLAIN,
        "round trip of 64-byte packets in µs, logarithmic",
    );
    for (row, system) in systems.iter().enumerate() {
        let y = TOP + ROW * (row as f64 + 0.5);
        let style = if system.kind == Kind::Own { Style::BOLD } else { Style::PLAIN };
        svg.text((LEFT - 12.0, y + 4.0), Anchor::End, style, &system.name);
        draw_range(&mut svg, &axis, y - 7.0, &system.results.idle, BLUE);
        draw_range(&mut svg, &axis, y + 8.0, &system.results.loaded, VERMILLION);
    }
    Some(svg.finish())
}

fn draw_range(svg: &mut Svg, axis: &Axis, y: f64, delay: &Delay, colour: &'static str) {
    let [Some(first), Some(quarter), Some(half), Some(three), Some(last)] =
        [0.01, 0.25, 0.5, 0.75, 0.99].map(|share| delay.at(share).map(|value| axis.place(value)))
    else {
        return;
    };
    svg.line((first, y), (last, y), 1.6, colour);
    svg.line((last, y - 4.0), (last, y + 4.0), 1.6, colour);
    svg.line((quarter, y), (three.max(quarter + 1.0), y), 7.0, colour);
    svg.dot((half, y), 3.6, "#ffffff", INK);
    if let (Some(p50), Some(p99)) = (delay.p50.median(), delay.p99.median()) {
        let style = Style { colour, ..Style::PLAIN };
        svg.text((WIDTH - 20.0, y + 4.0), Anchor::End, style, &format!("{} / {}", short(p50), short(p99)));
    }
}

/// A logarithmic axis over whole decades.
struct Axis {
    first: f64,
    last: f64,
}

impl Axis {
    fn covering(values: &[f64]) -> Option<Self> {
        let least = values.iter().copied().filter(|value| *value > 0.0).reduce(f64::min)?;
        let most = values.iter().copied().reduce(f64::max)?;
        let first = least.log10().floor();
        Some(Self { first, last: most.log10().ceil().max(first + 1.0) })
    }

    fn place(&self, value: f64) -> f64 {
        let share = (value.log10() - self.first) / (self.last - self.first);
        LEFT + (WIDTH - NUMBERS - LEFT) * share.clamp(0.0, 1.0)
    }

    /// 1, 2 and 5 of each decade.
    fn ticks(&self) -> impl Iterator<Item = f64> {
        let (first, last) = (self.first as i32, self.last as i32);
        let ends = 10_f64.powi(last);
        (first..=last)
            .flat_map(|decade| [1.0, 2.0, 5.0].map(|step| step * 10_f64.powi(decade)))
            .filter(move |tick| *tick <= ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_covers_whole_decades() {
        let axis = Axis::covering(&[30.0, 0.0, 870.0]).unwrap();
        let ticks: Vec<f64> = axis.ticks().collect();
        assert_eq!((ticks.first(), ticks.last()), (Some(&10.0), Some(&1000.0)));
        assert!((axis.place(10.0) - LEFT).abs() < 1e-9);
        assert!((axis.place(1000.0) - (WIDTH - NUMBERS)).abs() < 1e-9);
        assert!((axis.place(100.0) - f64::midpoint(LEFT, WIDTH - NUMBERS)).abs() < 1e-9);
        assert!(Axis::covering(&[]).is_none());
    }
}
