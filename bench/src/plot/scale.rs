//! Curves: what a packet costs among many tunnels.

use super::svg::{Anchor, Style, Svg};
use super::{BLUE, GREEN, GRID, ORANGE, VERMILLION, short};
use crate::scale::{Scale, curve};

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 470.0;
const LEFT: f64 = 66.0;
const RIGHT: f64 = WIDTH - 270.0;
const TOP: f64 = 96.0;
const BOTTOM: f64 = HEIGHT - 64.0;
const COLOURS: [&str; 4] = [BLUE, GREEN, VERMILLION, ORANGE];

/// Time per packet by number of tunnels, which is drawn in decades; one curve per algorithm and direction.
pub(crate) fn scale(scale: &Scale) -> String {
    let curves = curve(scale);
    let points = || curves.iter().flat_map(|(_, points)| points);
    let most_tunnels = points().map(|(tunnels, _)| *tunnels).max().unwrap_or(1).max(10);
    // Whole thousands of ns.
    let top = points().map(|(_, ns)| *ns).fold(1.0, f64::max);
    let top = (top / 1000.0).ceil() * 1000.0;
    let across =
        |tunnels: u32| LEFT + (RIGHT - LEFT) * f64::from(tunnels).ln() / f64::from(most_tunnels).ln();
    let down = |ns: f64| BOTTOM - (BOTTOM - TOP) * ns / top;
    let title = "One packet of 64 bytes to or from a prefix drawn anew each time, by number of tunnels";
    let mut svg = Svg::new(WIDTH, HEIGHT, title, &scale.subtitle());
    svg.text((LEFT, TOP - 14.0), Anchor::Start, Style::FAINT, "ns per packet, engine kernel, test runs");
    let step = (top / 4.0 / 500.0).ceil() * 500.0;
    for number in 0..=4 {
        let ns = f64::from(number) * step;
        if ns > top {
            break;
        }
        svg.line((LEFT, down(ns)), (RIGHT, down(ns)), 1.0, GRID);
        svg.text((LEFT - 6.0, down(ns) + 4.0), Anchor::End, Style::FAINT, &format!("{ns:.0}"));
    }
    let mut tunnels = 1_u32;
    while tunnels <= most_tunnels {
        svg.line((across(tunnels), TOP), (across(tunnels), BOTTOM), 1.0, GRID);
        svg.text((across(tunnels), BOTTOM + 16.0), Anchor::Middle, Style::FAINT, &tunnels.to_string());
        tunnels *= 10;
    }
    let words = "tunnels, ten prefixes each";
    svg.text((f64::midpoint(LEFT, RIGHT), BOTTOM + 38.0), Anchor::Middle, Style::PLAIN, words);
    let mut labels: Vec<f64> = Vec::new();
    let mut sorted: Vec<_> = curves.iter().zip(COLOURS).collect();
    let last = |points: &[(u32, f64)]| points.last().map_or(0.0, |(_, ns)| *ns);
    sorted.sort_by(|((_, one), _), ((_, other), _)| last(other).total_cmp(&last(one)));
    for ((name, points), colour) in sorted {
        let places: Vec<_> = points.iter().map(|(tunnels, ns)| (across(*tunnels), down(*ns))).collect();
        svg.polyline(&places, colour);
        for place in &places {
            svg.dot(*place, 2.6, colour, colour);
        }
        // From above downwards, each below the one before.
        let y = down(last(points)).max(labels.last().map_or(0.0, |above| above + 14.0));
        labels.push(y);
        let label = format!("{name}: {}", short(last(points)));
        svg.text((RIGHT + 8.0, y + 4.0), Anchor::Start, Style { colour, is_bold: true, size: 11.0 }, &label);
    }
    svg.finish()
}
