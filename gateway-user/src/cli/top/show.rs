//! Rates for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::frame::{ConnectionRates, Frame, SortKey, WorkerUse, float};
use crate::api::types::{Engine, WorkerState};
use crate::cli::table::{Table, or_dash, seconds};
use crate::model::BandwidthDirection;

/// Reasons of drops that have room in a line.
const REASONS: usize = 2;

/// A picture for the screen: what keys do, then [`plain`].
pub(super) fn live(frame: &Frame, sort: SortKey) -> String {
    let mut keys = String::from("q quit   sort by:");
    for (letter, key, name) in [
        ('n', SortKey::Name, "name"),
        ('s', SortKey::State, "state"),
        ('i', SortKey::In, "in"),
        ('o', SortKey::Out, "out"),
        ('r', SortKey::Rate, "rate"),
        ('d', SortKey::Drops, "drops"),
    ] {
        let mark = if key == sort { "*" } else { "" };
        write!(keys, "  {letter} {name}{mark}").expect("writing to a string");
    }
    format!("{}\n{keys}\n", plain(frame))
}

/// The gateway, its workers, and a line per connection.
pub(super) fn plain(frame: &Frame) -> String {
    let mut text = format!("VNet {}: {}, over {:.1} s\n", frame.vnet, frame.state, frame.seconds);
    let budget = &frame.budget;
    let (passed, marked) = (bits(budget.passed_bits_per_second), bits(budget.marked_bits_per_second));
    let dropped = bits(budget.dropped_bits_per_second);
    let used = match (budget.rate_bits, budget.used_percent) {
        (Some(rate), Some(percent)) => {
            let each = if budget.direction == BandwidthDirection::Separate { " each way" } else { "" };
            let rate = bits(float(rate));
            format!("{percent:.0} % of {rate}{each}, passed {passed}, marked {marked}, dropped {dropped}")
        }
        _ => "no limit".to_owned(),
    };
    line(&mut text, format_args!("Budget: {used}"));
    line(&mut text, format_args!("Drops:  {}", drops(&frame.drops_per_second, usize::MAX)));
    line(&mut text, format_args!("Engine: {}", engine(frame)));
    text.push('\n');
    if frame.connections.is_empty() {
        text.push_str("No connections.\n");
        return text;
    }
    let mut table = Table::new([
        "CONNECTION",
        "STATE",
        "IN",
        "OUT",
        "IN PKT/S",
        "OUT PKT/S",
        "SAS",
        "SA AGE",
        "REKEY IN",
        "DROPS/S",
    ]);
    for connection in &frame.connections {
        table.row(row(connection));
    }
    text.push_str(&table.render());
    text
}

fn row(connection: &ConnectionRates) -> [String; 10] {
    [
        connection.name.clone(),
        connection.state.to_string(),
        bits(connection.bits_in_per_second),
        bits(connection.bits_out_per_second),
        count(connection.packets_in_per_second),
        count(connection.packets_out_per_second),
        connection.sas.to_string(),
        or_dash(connection.sa_age_seconds.map(seconds)),
        or_dash(connection.rekey_in_seconds.map(seconds)),
        drops(&connection.drops_per_second, REASONS),
    ]
}

fn engine(frame: &Frame) -> String {
    if frame.engine.running == Engine::Kernel && frame.engine.workers.is_empty() {
        return frame.engine.running.to_string();
    }
    let workers: Vec<_> = frame.engine.workers.iter().map(worker).collect();
    format!("{}; {}", frame.engine.running, workers.join("; "))
}

fn worker(worker: &WorkerUse) -> String {
    if worker.state != WorkerState::Running {
        return format!("worker {} does not run", worker.number);
    }
    let load = worker.load_percent.map_or_else(|| "-".to_owned(), |load| format!("{load:.0} %"));
    format!(
        "worker {} {load}, {} frames/s, {}/s left to the kernel",
        worker.number,
        count(worker.frames_per_second),
        count(worker.left_to_kernel_per_second)
    )
}

/// The sum, and the reasons that occur most.
fn drops(by_reason: &BTreeMap<String, f64>, most: usize) -> String {
    if by_reason.is_empty() {
        return "0".to_owned();
    }
    let mut reasons: Vec<_> = by_reason.iter().collect();
    reasons.sort_by(|one, other| other.1.total_cmp(one.1));
    let named: Vec<_> =
        reasons.iter().take(most).map(|(reason, rate)| format!("{reason} {}", count(**rate))).collect();
    let more = if reasons.len() > most { ", …" } else { "" };
    format!("{} ({}{more})", count(by_reason.values().sum()), named.join(", "))
}

/// A rate in bit/s with a decimal unit: `1.5 Mbit/s`.
fn bits(rate: f64) -> String {
    const UNITS: [&str; 5] = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"];
    let (mut rate, mut unit) = (rate, 0);
    // So that 999.96 does not become 1000.0.
    while rate >= 999.95 && unit + 1 < UNITS.len() {
        rate /= 1000.0;
        unit += 1;
    }
    if unit == 0 { format!("{rate:.0} {}", UNITS[unit]) } else { format!("{rate:.1} {}", UNITS[unit]) }
}

/// Whole numbers, but what is less than ten has a digit behind the point.
fn count(rate: f64) -> String {
    if rate > 0.0 && rate < 9.95 { format!("{rate:.1}") } else { format!("{rate:.0}") }
}

fn line(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    writeln!(text, "{arguments}").expect("writing to a string");
}

#[cfg(test)]
mod tests {
    use super::super::frame::tests::status;
    use super::*;

    #[test]
    fn a_picture_has_budget_drops_engine_and_connections() {
        let before = status(10_000_000_000, &[("VNet1-VNet2", 1000, 0, 5)]);
        let now = status(12_000_000_000, &[("VNet1-VNet2", 6000, 400, 9)]);
        let frame = Frame::between(&before, &now, SortKey::Name).unwrap();
        let expected = "\
VNet VNet1: Provisioned, over 2.0 s
Budget: 50 % of 8.0 Mbit/s, passed 4.0 Mbit/s, marked 10.0 kbit/s, dropped 80 bit/s
Drops:  3.0 (replayed 3.0)
Engine: xsk; worker 0 25 %, 80 frames/s, 2.0/s left to the kernel

CONNECTION   STATE      IN           OUT         IN PKT/S  OUT PKT/S  SAS  SA AGE  REKEY IN  DROPS/S
VNet1-VNet2  Connected  20.0 kbit/s  1.6 kbit/s  25        2.0        1    1m 1s   50m       2.0 (replayed 2.0)
";
        assert_eq!(plain(&frame), expected);
        let live = live(&frame, SortKey::Rate);
        assert!(live.starts_with(expected) && live.contains("r rate*") && live.contains("q quit"), "{live}");
    }

    #[test]
    fn the_reasons_that_occur_most_come_first() {
        let rates = [("a", 1.0), ("b", 30.0), ("c", 2.0)].map(|(reason, rate)| (reason.to_owned(), rate));
        assert_eq!(drops(&rates.clone().into(), 2), "33 (b 30, c 2.0, …)");
        assert_eq!(drops(&rates.into(), usize::MAX), "33 (b 30, c 2.0, a 1.0)");
        assert_eq!(drops(&BTreeMap::new(), 2), "0");
    }

    #[test]
    fn rates_have_decimal_units() {
        for (rate, text) in [
            (0.0, "0 bit/s"),
            (999.0, "999 bit/s"),
            (999.96, "1.0 kbit/s"),
            (1_540_000.0, "1.5 Mbit/s"),
            (9.9e9, "9.9 Gbit/s"),
            (5e16, "50000.0 Tbit/s"),
        ] {
            assert_eq!(bits(rate), text);
        }
        for (rate, text) in [(0.0, "0"), (0.25, "0.2"), (9.94, "9.9"), (9.96, "10"), (1234.4, "1234")] {
            assert_eq!(count(rate), text);
        }
    }
}
