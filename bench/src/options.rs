//! Options of the benchmark.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::end_to_end::{PacketSize, Settings};

/// What to measure, and how long.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Every step, but short: a look, not a figure to quote.
    #[arg(long)]
    pub(crate) quick: bool,
    /// Measure this part alone.
    #[arg(long, value_name = "PART")]
    pub(crate) only: Option<Part>,
    /// Systems to measure end to end; all of them when none is named.
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub(crate) systems: Vec<String>,
    /// Lengths of inner IP packets end to end: numbers, and `imix` for 64, 570 and 1400 bytes in the proportion 7:4:1.
    #[arg(long, value_name = "BYTES", value_delimiter = ',')]
    pub(crate) sizes: Vec<PacketSize>,
    /// Time that each load counts end to end.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    pub(crate) seconds: Option<f64>,
    /// How often each system is started and measured end to end.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    pub(crate) rounds: Option<u16>,
    /// UDP flows (source ports) of each load.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) flows: Option<u16>,
    /// Processors of the load generator's threads at host A and at host B; by default wherever the scheduler puts them.
    #[arg(long, value_name = "A,B", value_delimiter = ',', num_args = 1)]
    pub(crate) generator_cpus: Vec<usize>,
    /// Write the results here as JSON, in place of a file named after the time in `target/bench`.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Put the results into `docs/BENCHMARKS.md` and `docs/bench`.
    #[arg(long, conflicts_with_all = ["quick", "only"])]
    pub(crate) publish: bool,
}

/// A part of the benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// What one packet costs.
    Micro,
    /// What goes through from host to host.
    EndToEnd,
    /// What the subcommand `handshakes` measures, with its defaults. Takes minutes and is no part of the whole.
    Handshakes,
}

impl Options {
    /// Whether `part` is to be measured.
    pub(crate) fn wants(&self, part: Part) -> bool {
        self.only.map_or(part != Part::Handshakes, |only| only == part)
    }

    /// What to measure end to end.
    pub(crate) fn settings(&self) -> Settings {
        let mut settings = if self.quick { Settings::quick() } else { Settings::full() };
        if let Some(seconds) = self.seconds {
            settings.trial_seconds = seconds;
            settings.confirm_seconds = 5.0 * seconds;
            settings.tcp_seconds = 5.0 * seconds;
        }
        if let Some(rounds) = self.rounds {
            settings.rounds = usize::from(rounds);
        }
        if let Some(flows) = self.flows {
            settings.flows = flows;
        }
        if !self.sizes.is_empty() {
            settings.sizes = self.sizes.iter().map(ToString::to_string).collect();
        }
        settings.sender_processor = self.generator_cpus.first().copied();
        settings.receiver_processor = self.generator_cpus.get(1).copied();
        settings
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(seconds) if (0.01..=600.0).contains(&seconds) => Ok(seconds),
        _ => Err("not a number from 0.01 to 600".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        options: Options,
    }

    fn parse(line: &str) -> Result<Options, clap::Error> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Program::try_parse_from(words).map(|program| program.options)
    }

    #[test]
    fn options_change_the_settings() {
        let options = parse(
            "--quick --sizes 64,imix --seconds 0.2 --rounds 5 --flows 3 --generator-cpus 0,1 --only end-to-end",
        );
        let options = options.unwrap();
        let settings = options.settings();
        assert_eq!(settings.sizes, ["64", "imix"]);
        assert_eq!((settings.rounds, settings.flows), (5, 3));
        assert!((settings.trial_seconds - 0.2).abs() < 1e-9 && (settings.confirm_seconds - 1.0).abs() < 1e-9);
        assert_eq!((settings.sender_processor, settings.receiver_processor), (Some(0), Some(1)));
        assert!(options.wants(Part::EndToEnd) && !options.wants(Part::Micro));
    }

    #[test]
    fn without_options_everything_is_measured() {
        let options = parse("").unwrap();
        assert!(options.wants(Part::EndToEnd) && options.wants(Part::Micro));
        assert!(!options.wants(Part::Handshakes), "handshakes take minutes");
        assert!(parse("--only handshakes").unwrap().wants(Part::Handshakes));
        let settings = options.settings();
        assert_eq!((settings.sender_processor, settings.receiver_processor), (None, None));
        assert!(settings.rounds > 1);
    }

    #[test]
    fn nonsense_is_refused() {
        for line in ["--sizes 20", "--sizes big", "--seconds 0", "--rounds 0", "--flows 0", "--only all"] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
