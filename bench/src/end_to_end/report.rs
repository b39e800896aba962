//! The results as tables.

use std::fmt;

use super::measure::{LOADED_SHARE, LOADED_SIZE};
use super::ratios::{Measure, Ratio, ratios};
use super::results::{Arrivals, EndToEnd, HandOver, Results, SizeResults, SystemResults};
use super::statistics::Figure;

impl fmt::Display for EndToEnd {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}.\n", self.settings)?;
        self.systems(formatter)?;
        self.udp(formatter)?;
        self.zero_loss(formatter)?;
        self.irregularities(formatter)?;
        self.hand_over(formatter)?;
        self.others(formatter)?;
        self.processor_time(formatter)?;
        self.ratios(formatter)?;
        self.failures(formatter)
    }
}

impl EndToEnd {
    fn systems(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "| system | what it is |\n|---|---|")?;
        for system in &self.systems {
            write!(formatter, "| {} | {}", system.name, system.description)?;
            if let Some(missing) = &system.not_installed {
                write!(formatter, "; not installed: {missing}")?;
            }
            writeln!(formatter, " |")?;
        }
        writeln!(formatter)
    }

    fn udp(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "UDP, best rate received at host B at any offered load, Gbit/s of inner IP packets (64 bytes: 1000 packets/s); \
             median (lowest–highest round):\n"
        )?;
        self.by_size(formatter, |size| {
            size.map_or_else(String::new, |size| figure(&size.received, scale(size), 2))
        })
    }

    /// What a system did beside forwarding and losing, in a line; nothing when it did not.
    fn irregularities(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for system in self.measured() {
            for (size, result) in &system.results.sizes {
                let Arrivals { packets, reordered, duplicated, overflowed } = result.arrivals;
                if reordered + duplicated + overflowed > 0 {
                    writeln!(
                        formatter,
                        "{}, {size}: of {packets} packets {reordered} came out of order, {duplicated} came again, {overflowed} more \
                         found no room at the receiver.\n",
                        system.name
                    )?;
                }
            }
        }
        Ok(())
    }

    /// What of the UDP loads the workers had to leave to the kernel engine.
    fn hand_over(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for system in self.measured() {
            let Some(HandOver { handed_over, exchanged, full, stalled }) = system.results.hand_over else {
                continue;
            };
            let all = handed_over + full + stalled;
            let share = 100.0 * (full + stalled) as f64 / all.max(1) as f64;
            let exchanged = 100.0 * exchanged as f64 / all.max(1) as f64;
            writeln!(
                formatter,
                "{}: of {all} packets in these loads, counted at each gateway, {exchanged:.0} % left in place of one that arrived; {full} \
                 found the worker's lane full and {stalled} the worker stalled; the kernel engine took these {share:.1} %.\n",
                system.name
            )?;
        }
        Ok(())
    }

    fn zero_loss(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "UDP, highest rate found at which no packet was lost in {} s (RFC 2544 asks for 60 s), same units, one search:\n",
            self.settings.confirm_seconds
        )?;
        self.by_size(formatter, |size| match size.and_then(|size| Some((size, size.zero_loss?))) {
            Some((_, 0.0)) => "none".to_owned(),
            Some((size, rate)) => number(rate * scale(size), 2),
            None => String::new(),
        })
    }

    /// A table with a column per size.
    fn by_size(
        &self,
        formatter: &mut fmt::Formatter<'_>,
        cell: impl Fn(Option<&SizeResults>) -> String,
    ) -> fmt::Result {
        let sizes = &self.settings.sizes;
        writeln!(formatter, "| system | {} |", sizes.join(" | "))?;
        writeln!(formatter, "|---|{}", "---:|".repeat(sizes.len()))?;
        for system in self.measured() {
            let cells: Vec<String> = sizes.iter().map(|size| cell(system.results.sizes.get(size))).collect();
            writeln!(formatter, "| {} | {} |", system.name, cells.join(" | "))?;
        }
        writeln!(formatter)
    }

    fn others(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "TCP goodput in Gbit/s by number of streams; round trips of 64-byte packets in µs, idle and beside {LOADED_SIZE}-byte \
             packets at {LOADED_SHARE} of the best rate; what leaves gateway A alone (64 bytes: 1000 packets/s, 1400 bytes: Gbit/s \
             of inner IP packets):\n"
        )?;
        let streams = &self.settings.tcp_streams;
        write!(formatter, "| system |")?;
        for count in streams {
            write!(formatter, " TCP {count} |")?;
        }
        writeln!(formatter, " idle p50 | idle p99 | loaded p50 | loaded p99 | alone 64 | alone 1400 |")?;
        writeln!(formatter, "|---|{}", "---:|".repeat(streams.len() + 6))?;
        for SystemResults { name, results, .. } in self.measured() {
            write!(formatter, "| {name} |")?;
            for count in streams {
                write!(formatter, " {} |", optional(results.tcp.get(count), 1e-9, 2))?;
            }
            for delay in [&results.idle, &results.loaded] {
                write!(formatter, " {} | {} |", figure(&delay.p50, 1.0, 0), figure(&delay.p99, 1.0, 0))?;
            }
            let alone = |size| results.alone.get(size);
            writeln!(
                formatter,
                " {} | {} |",
                optional(alone("64"), 1e-3, 0),
                optional(alone("1400"), 8.0 * 1400.0 * 1e-9, 2)
            )?;
        }
        writeln!(formatter)
    }

    fn processor_time(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            formatter,
            "Processor time in seconds per 10⁹ bytes of inner IP packets, {LOADED_SIZE} bytes at {LOADED_SHARE} of the best rate: the \
             whole machine; that less the whole machine's without gateways (`direct`); as the kernel books it, the generator's \
             threads and the gateways' processes (work in interrupt context is booked on whoever was interrupted):\n"
        )?;
        writeln!(
            formatter,
            "| system | machine | less generator alone | generator's threads | gateways' processes | stolen |"
        )?;
        writeln!(formatter, "|---|---:|---:|---:|---:|---:|")?;
        let direct = self.systems.iter().find(|system| system.name == "direct");
        let direct = direct.and_then(|system| system.results.usage.busy.median());
        for SystemResults { name, results: Results { usage, .. }, .. } in self.measured() {
            let net =
                usage.busy.median().zip(direct).map(|(busy, direct)| number((busy - direct).max(0.0), 2));
            writeln!(
                formatter,
                "| {name} | {} | {} | {} | {} | {} |",
                figure(&usage.busy, 1.0, 2),
                net.unwrap_or_default(),
                figure(&usage.generator, 1.0, 2),
                figure(&usage.gateways, 1.0, 2),
                figure(&usage.stolen, 1.0, 2)
            )?;
        }
        writeln!(formatter)
    }

    fn ratios(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratios = ratios(self);
        if ratios.is_empty() {
            return Ok(());
        }
        writeln!(formatter, "Ratios of medians; the best peer is the best at that measure:\n")?;
        writeln!(formatter, "| system | measure | to plain forwarding | to the best peer | best peer |")?;
        writeln!(formatter, "|---|---|---:|---:|---|")?;
        for Ratio { system, measure, to_plain, to_best_peer } in ratios {
            let (peer, name) =
                to_best_peer.map_or_else(Default::default, |(name, ratio)| (number(ratio, 2), name));
            let plain = to_plain.map(|ratio| number(ratio, 2)).unwrap_or_default();
            let Measure { name: measure, .. } = measure;
            writeln!(formatter, "| {system} | {measure} | {plain} | {peer} | {name} |")?;
        }
        writeln!(formatter)
    }

    fn failures(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for system in &self.systems {
            for failure in &system.results.failures {
                writeln!(formatter, "FAILED: {}: {failure}", system.name)?;
            }
        }
        Ok(())
    }

    fn measured(&self) -> impl Iterator<Item = &SystemResults> {
        self.systems.iter().filter(|system| system.not_installed.is_none())
    }
}

/// From packets per second to what the tables show.
fn scale(size: &SizeResults) -> f64 {
    if size.mean_bytes <= 64.0 { 1e-3 } else { 8.0 * size.mean_bytes * 1e-9 }
}

fn optional(value: Option<&Figure>, scale: f64, decimals: usize) -> String {
    value.map(|value| figure(value, scale, decimals)).unwrap_or_default()
}

/// Median and spread.
fn figure(value: &Figure, scale: f64, decimals: usize) -> String {
    let (Some(median), Some((low, high))) = (value.median(), value.spread()) else { return String::new() };
    let [median, low, high] = [median, low, high].map(|value| number(value * scale, decimals));
    if value.rounds.len() == 1 { median } else { format!("{median} ({low}–{high})") }
}

fn number(value: f64, decimals: usize) -> String {
    // Three digits are all that such figures can bear.
    let decimals = if value >= 100.0 { 0 } else { decimals };
    format!("{value:.decimals$}")
}
