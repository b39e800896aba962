//! Bars: what goes through, by size of the packets.

use super::svg::{Anchor, Style, Svg};
use super::{BLUE, GREY, INK, ORANGE, colour, short};
use crate::end_to_end::{EndToEnd, Kind, SizeResults, SystemResults};

const WIDTH: f64 = 1000.0;
const TOP: f64 = 92.0;
const ROW: f64 = 22.0;
const BAR: f64 = 14.0;
/// Room for a panel's title.
const HEAD: f64 = 34.0;
/// Room between the panels.
const GAP: f64 = 26.0;
/// Room for the names of the systems, and for the numbers behind the bars.
const NAMES: f64 = 105.0;
const NUMBERS: f64 = 52.0;

/// One panel per size, one bar per system: the best rate received, with the spread of the rounds, and a tick at the rate without
/// loss. `None` when no system was measured.
pub(crate) fn throughput(run: &EndToEnd, subtitle: &str) -> Option<String> {
    let systems: Vec<&SystemResults> = run.systems.iter().filter(|system| is_shown(system)).collect();
    if systems.is_empty() {
        return None;
    }
    let rows = run.settings.sizes.len().div_ceil(2);
    let panel = (WIDTH / 2.0, HEAD + ROW * systems.len() as f64 + GAP);
    let height = TOP + panel.1 * rows as f64;
    let title = "UDP from host to host through two gateways: best rate received";
    let mut svg = Svg::new(WIDTH, height, title, subtitle);
    let legend = [(BLUE, "this gateway"), (ORANGE, "peers"), (GREY, "plain forwarding, no encryption")];
    svg.legend((20.0, 72.0), &legend);
    svg.line((520.0, 62.0), (520.0, 74.0), 2.0, INK);
    svg.text((528.0, 72.0), Anchor::Start, Style::PLAIN, "highest rate without loss");
    svg.line((710.0, 68.0), (735.0, 68.0), 1.2, INK);
    svg.text((742.0, 72.0), Anchor::Start, Style::PLAIN, "lowest to highest round");
    for (number, size) in run.settings.sizes.iter().enumerate() {
        let corner = (panel.0 * (number % 2) as f64, TOP + panel.1 * (number / 2) as f64);
        draw_panel(&mut svg, corner, panel.0, size, &systems);
    }
    Some(svg.finish())
}

/// The generator alone is in the tables; here it would only make all bars shorter.
fn is_shown(system: &SystemResults) -> bool {
    system.name != "direct" && !system.results.sizes.is_empty()
}

fn draw_panel(svg: &mut Svg, (x, y): (f64, f64), width: f64, size: &str, systems: &[&SystemResults]) {
    let results = |system: &SystemResults| system.results.sizes.get(size).cloned();
    let (scale, unit) = match systems.iter().find_map(|system| results(system)) {
        Some(result) if result.mean_bytes > 64.0 => {
            (8.0 * result.mean_bytes * 1e-9, "Gbit/s of inner IP packets")
        }
        _ => (1e-3, "1000 packets/s"),
    };
    let name =
        if size == "imix" { "IMIX (64, 570, 1400 bytes 7:4:1)".to_owned() } else { format!("{size} bytes") };
    svg.text((x + 20.0, y + 16.0), Anchor::Start, Style::BOLD.size(13.0), &name);
    svg.text((x + width - 20.0, y + 16.0), Anchor::End, Style::FAINT, unit);
    let most = systems.iter().filter_map(|system| Some(results(system)?.received.spread()?.1));
    let most = most.fold(f64::MIN_POSITIVE, f64::max);
    let (left, room) = (x + 20.0 + NAMES, width - 40.0 - NAMES - NUMBERS);
    let place = |value: f64| left + room * value / most;
    for (row, system) in systems.iter().enumerate() {
        let middle = y + HEAD + ROW * row as f64 + BAR / 2.0;
        let style = if system.kind == Kind::Own { Style::BOLD } else { Style::PLAIN };
        svg.text((left - 8.0, middle + 4.0), Anchor::End, style, &system.name);
        let Some(result) = results(system) else { continue };
        draw_bar(svg, (left, middle), &result, scale, colour(system.kind), &place);
    }
}

fn draw_bar(
    svg: &mut Svg,
    (left, middle): (f64, f64),
    result: &SizeResults,
    scale: f64,
    colour: &str,
    place: &impl Fn(f64) -> f64,
) {
    let (Some(median), Some((low, high))) = (result.received.median(), result.received.spread()) else {
        return;
    };
    svg.rectangle((left, middle - BAR / 2.0), (place(median) - left, BAR), colour);
    if high > low {
        svg.line((place(low), middle), (place(high), middle), 1.2, INK);
    }
    if let Some(rate) = result.zero_loss.filter(|rate| *rate > 0.0) {
        let tick = place(rate.min(high));
        svg.line((tick, middle - BAR / 2.0 - 1.0), (tick, middle + BAR / 2.0 + 1.0), 2.0, INK);
    }
    svg.text((place(high) + 6.0, middle + 4.0), Anchor::Start, Style::PLAIN, &short(median * scale));
}
