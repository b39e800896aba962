//! The results as a table and as JSON.

use std::fmt;

use serde::Serialize;

use super::charon;
use super::load::LoadResult;
use crate::machine::Machine;

/// Everything that one run of the benchmark measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    /// Version of strongSwan, if it was measured.
    pub(super) charon: Option<String>,
    pub(super) window: usize,
    pub(super) runs: Vec<Run>,
}

/// One responder with one number of tunnels, once.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    pub(super) responder: &'static str,
    pub(super) tunnels: u32,
    #[serde(flatten)]
    pub(super) load: LoadResult,
    pub(super) responder_cpu_seconds: f64,
    /// When it was configured and ready.
    pub(super) resident_kib_before: u32,
    /// With every tunnel up.
    pub(super) resident_kib_after: u32,
    pub(super) bpf_map_kib: u32,
}

impl Run {
    fn per_second(&self) -> f64 {
        f64::from(self.load.handshakes) / self.load.seconds
    }

    /// Mean processor time per handshake in µs.
    fn cpu_us(&self, seconds: f64) -> f64 {
        seconds * 1e6 / f64::from(self.load.handshakes)
    }

    fn kib_per_tunnel(&self) -> f64 {
        f64::from(self.resident_kib_after.saturating_sub(self.resident_kib_before)) / f64::from(self.tunnels)
    }
}

/// A row of the table.
impl fmt::Display for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |kib: u32| f64::from(kib) / 1024.0;
        write!(
            formatter,
            "| {} | {} | {:.0} | {:.0} | {:.0} | {} | {} | {:.1} | {:.1} | {:.1} |",
            self.responder,
            self.tunnels,
            self.per_second(),
            self.cpu_us(self.responder_cpu_seconds),
            self.cpu_us(self.load.generator_cpu_seconds),
            self.load.retransmissions,
            self.load.cookies,
            self.kib_per_tunnel(),
            mib(self.resident_kib_before),
            mib(self.bpf_map_kib),
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { processor, processors, kernel } = &self.machine;
        writeln!(
            formatter,
            "{processor}, {processors} processors, Linux {kernel}; {} handshakes under way at a time",
            self.window
        )?;
        if let Some(version) = &self.charon {
            writeln!(formatter, "strongSwan {version}: {}", charon::SETTINGS)?;
        }
        writeln!(
            formatter,
            "\n| responder | tunnels | handshakes/s | responder CPU µs | generator CPU µs | sent again | cookies | KiB per tunnel up | MiB before | MiB of BPF maps |"
        )?;
        writeln!(formatter, "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")?;
        for run in &self.runs {
            writeln!(formatter, "{run}")?;
        }
        self.write_ratios(formatter)
    }
}

impl Report {
    /// Medians of ours over medians of charon's.
    fn write_ratios(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sizes: Vec<u32> = self.runs.iter().map(|run| run.tunnels).collect();
        sizes.dedup();
        for tunnels in sizes {
            let median = |responder: &str, value: &dyn Fn(&Run) -> f64| {
                let runs =
                    self.runs.iter().filter(|run| run.tunnels == tunnels && run.responder == responder);
                let mut values: Vec<f64> = runs.map(value).collect();
                values.sort_by(f64::total_cmp);
                values.get(values.len() / 2).copied()
            };
            let ratio = |value: &dyn Fn(&Run) -> f64| Some(median("vgw", value)? / median("charon", value)?);
            let (Some(rate), Some(cpu), Some(memory)) = (
                ratio(&Run::per_second),
                ratio(&|run| run.responder_cpu_seconds),
                ratio(&Run::kib_per_tunnel),
            ) else {
                continue;
            };
            writeln!(
                formatter,
                "\n{tunnels} tunnels, vgw / charon, medians: handshakes/s {rate:.2}, CPU {cpu:.2}, memory per tunnel {memory:.2}"
            )?;
        }
        Ok(())
    }
}
