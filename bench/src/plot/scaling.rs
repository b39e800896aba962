//! Curves: what more cores would do.

use super::svg::{Anchor, Style, Svg};
use super::{BLUE, FAINT, GREEN, GRID, ORANGE, VERMILLION, short};
use crate::micro::{Curve, Micro};

const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 470.0;
const TOP: f64 = 110.0;
const BOTTOM: f64 = HEIGHT - 60.0;
/// Room at the left of a panel for the axis, at its right for the names of the curves.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 96.0;
/// Least and most of the vertical axis, in Gbit/s.
const RANGE: (f64, f64) = (0.5, 400.0);
/// Colours of the curves of a panel.
const COLOURS: [&str; 4] = [VERMILLION, GREEN, BLUE, ORANGE];

/// One panel per engine with its fastest algorithm, one curve per size: rate on the line by number of cores, and the lines' own
/// rates. `None` when nothing was calculated.
pub(crate) fn scaling(micro: &Micro, subtitle: &str) -> Option<String> {
    let panels: Vec<Vec<&Curve>> =
        ["xsk", "kernel"].into_iter().filter_map(|engine| fastest(&micro.scaling, engine)).collect();
    if panels.is_empty() {
        return None;
    }
    let title = "Sealing on more cores: calculated from the cost per packet on one core, not measured";
    let mut svg = Svg::new(WIDTH, HEIGHT, title, subtitle);
    let width = WIDTH / panels.len() as f64;
    for (number, curves) in panels.iter().enumerate() {
        draw_panel(&mut svg, width * number as f64, width, curves);
    }
    Some(svg.finish())
}

/// The curves of the algorithm with which `engine` is fastest at its largest size.
fn fastest<'a>(curves: &'a [Curve], engine: &str) -> Option<Vec<&'a Curve>> {
    let of_engine = || curves.iter().filter(|curve| curve.engine == engine);
    let best = of_engine().min_by(|one, other| {
        let nanoseconds_per_byte = |curve: &Curve| curve.packet_ns / curve.size.mean_bytes();
        nanoseconds_per_byte(one).total_cmp(&nanoseconds_per_byte(other))
    })?;
    Some(of_engine().filter(|curve| curve.algorithm == best.algorithm).collect())
}

fn draw_panel(svg: &mut Svg, x: f64, width: f64, curves: &[&Curve]) {
    let (left, right) = (x + LEFT, x + width - RIGHT);
    let most_cores =
        curves.iter().flat_map(|curve| &curve.points).map(|point| point.cores).max().unwrap_or(1);
    let across =
        |cores: u32| left + (right - left) * f64::from(cores).ln() / f64::from(most_cores.max(2)).ln();
    let down = |gbit: f64| {
        let share = (gbit / RANGE.0).ln() / (RANGE.1 / RANGE.0).ln();
        BOTTOM - (BOTTOM - TOP) * share.clamp(0.0, 1.0)
    };
    let Some(first) = curves.first() else { return };
    let title = format!("engine {}, {}", first.engine, first.algorithm);
    svg.text((left, TOP - 22.0), Anchor::Start, Style::BOLD.size(13.0), &title);
    svg.text((left, TOP - 6.0), Anchor::Start, Style::FAINT, "Gbit/s on the line, all headers included");
    for gbit in [1.0, 10.0, 100.0] {
        svg.line((left, down(gbit)), (right, down(gbit)), 1.0, GRID);
        svg.text((left - 6.0, down(gbit) + 4.0), Anchor::End, Style::FAINT, &format!("{gbit}"));
    }
    for cores in [1, 2, 4, 8, 16].into_iter().filter(|cores| *cores <= most_cores) {
        svg.line((across(cores), TOP), (across(cores), BOTTOM), 1.0, GRID);
        svg.text((across(cores), BOTTOM + 16.0), Anchor::Middle, Style::FAINT, &cores.to_string());
    }
    svg.text(
        (f64::midpoint(left, right), BOTTOM + 36.0),
        Anchor::Middle,
        Style::PLAIN,
        "cores of one gateway",
    );
    for full in &first.full {
        let y = down(full.line_gbit);
        svg.dashed((left, y), (right, y), FAINT);
        svg.text(
            (left + 4.0, y - 4.0),
            Anchor::Start,
            Style::FAINT,
            &format!("{:.0} Gbit/s line", full.line_gbit),
        );
    }
    let mut labels = Labels::default();
    for (curve, colour) in curves.iter().zip(COLOURS) {
        // What a packet is on the line, relative to what it is inside.
        let Some(on_line) = curve.full.first().map(|full| full.line_gbit / full.gbit_per_second) else {
            continue;
        };
        let points: Vec<(f64, f64)> = curve
            .points
            .iter()
            .map(|point| (across(point.cores), down(point.gbit_per_second * on_line)))
            .collect();
        svg.polyline(&points, colour);
        for &point in &points {
            svg.dot(point, 2.6, colour, colour);
        }
        let (Some(&(_, y)), Some(last)) = (points.last(), curve.points.last()) else { continue };
        let name = curve.size.to_string();
        let unit = if name == "IMIX" { "" } else { " B" };
        let label = format!("{name}{unit}: {}", short(last.gbit_per_second * on_line));
        let style = Style { colour, is_bold: true, size: 11.0 };
        svg.text((right + 7.0, labels.place(y) + 4.0), Anchor::Start, style, &label);
    }
}

/// Keeps labels from lying on one another.
#[derive(Default)]
struct Labels(Vec<f64>);

impl Labels {
    const DISTANCE: f64 = 13.0;

    /// The free place nearest to `wanted`.
    fn place(&mut self, wanted: f64) -> f64 {
        let steps = (0..20).flat_map(|step| [f64::from(step), -f64::from(step)]);
        let mut places = steps.map(|step| wanted + step * 2.0);
        let is_free = |place: &f64| self.0.iter().all(|taken| (taken - place).abs() >= Self::DISTANCE);
        let place = places.find(is_free).unwrap_or(wanted);
        self.0.push(place);
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_make_way_for_one_another() {
        let mut labels = Labels::default();
        let places = [labels.place(50.0), labels.place(51.0), labels.place(50.0)];
        for (index, one) in places.iter().enumerate() {
            for other in &places[index + 1..] {
                assert!((one - other).abs() >= Labels::DISTANCE, "{places:?}");
            }
        }
    }
}
