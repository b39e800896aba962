//! Figures of floods, as JSON keeps them and as a table shows them.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// Everything that one run measured.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    /// When the run began, in UTC (RFC 3339).
    pub(crate) date: String,
    pub(crate) runs: Vec<Run>,
}

/// One flood.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) engine: String,
    pub(crate) kind: String,
    /// Packets per second that were asked for; none for as many as possible.
    pub(crate) wanted_per_second: Option<u32>,
    /// Packets of the flood that the cable took.
    pub(crate) packets: u64,
    pub(crate) packets_per_second: f64,
    /// TCP from host to host, Mbit/s.
    pub(crate) tcp_mbit_before: f64,
    pub(crate) tcp_mbit_during: f64,
    /// Share of 2,000 datagrams per second that arrived, in percent.
    pub(crate) datagrams_percent_before: f64,
    pub(crate) datagrams_percent_during: f64,
    /// Packets that the flooded gateway dropped meanwhile, by reason.
    pub(crate) drops: BTreeMap<String, u64>,
    /// Processor time of the agent and of its workers, in percent of one processor.
    pub(crate) agent_cpu_percent: f64,
    pub(crate) worker_cpu_percent: f64,
    /// Memory of the agent, KiB.
    pub(crate) resident_kib_before: u32,
    pub(crate) resident_kib_after: u32,
    /// Lines that the agent logged.
    pub(crate) log_lines: usize,
    /// IKE SAs afterwards, half-open ones included.
    pub(crate) ike_sas: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}; {}\n", self.machine, self.date)?;
        writeln!(
            formatter,
            "| engine | flood | packets/s | TCP before / during, Mbit/s | datagrams before / during | drops | agent, CPU | \
             workers, CPU | memory | log lines | IKE SAs |"
        )?;
        writeln!(formatter, "|---|---|---:|---:|---:|---|---:|---:|---:|---:|---:|")?;
        self.runs.iter().try_for_each(|run| writeln!(formatter, "{run}"))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let drops: Vec<_> = self.drops.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
        let drops = if drops.is_empty() { "none".to_owned() } else { drops.join(", ") };
        let more = i64::from(self.resident_kib_after) - i64::from(self.resident_kib_before);
        write!(
            formatter,
            "| {} | {}{} | {:.0} | {:.0} / {:.0} | {:.1} % / {:.1} % | {drops} | {:.1} % | {:.1} % | {} KiB, {more:+} | {} | {} |",
            self.engine,
            self.kind,
            if self.wanted_per_second.is_none() { ", unpaced" } else { "" },
            self.packets_per_second,
            self.tcp_mbit_before,
            self.tcp_mbit_during,
            self.datagrams_percent_before,
            self.datagrams_percent_during,
            self.agent_cpu_percent,
            self.worker_cpu_percent,
            self.resident_kib_before,
            self.log_lines,
            self.ike_sas,
        )
    }
}
