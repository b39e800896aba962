//! The results as tables and as JSON.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::machine::Machine;
use crate::micro::median;

/// Everything that one run of the benchmark measured.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Scale {
    pub(super) machine: Machine,
    /// When the run began, in UTC (RFC 3339).
    pub(super) date: String,
    pub(super) packets: Vec<PacketRow>,
    pub(super) memory: Vec<MemoryRow>,
    pub(super) changes: Vec<Changes>,
}

/// Cost of one packet among so many tunnels, medians in ns.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PacketRow {
    pub(super) algorithm: String,
    pub(super) tunnels: u32,
    pub(super) prefixes: u32,
    pub(super) encapsulate_ns: f64,
    pub(super) decapsulate_ns: f64,
}

/// Memory of an agent that may have so many connections, without any and with all of them, in KiB.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MemoryRow {
    pub(super) connections: u32,
    pub(super) map_kib: u32,
    pub(super) agent_kib: u32,
    pub(super) map_kib_after: u32,
    pub(super) agent_kib_after: u32,
}

/// One round of changes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Changes {
    pub(super) connections: u32,
    pub(super) prefixes: u32,
    /// Length of the whole configuration.
    pub(super) xml_bytes: u32,
    pub(super) rows: Vec<ChangeRow>,
}

/// One change of so many prefixes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ChangeRow {
    pub(super) what: String,
    pub(super) prefixes: u32,
    #[serde(flatten)]
    pub(super) duration: Duration,
}

/// How long something took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Duration {
    /// By the clock.
    pub(super) seconds: f64,
    /// Of the agent's threads.
    pub(super) agent_cpu_seconds: f64,
}

/// A curve: its name, and ns by number of tunnels.
pub(crate) type Curve = (String, Vec<(u32, f64)>);

/// One curve per algorithm and direction.
pub(crate) fn curve(scale: &Scale) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for row in &scale.packets {
        for (direction, ns) in [("encapsulate", row.encapsulate_ns), ("decapsulate", row.decapsulate_ns)] {
            let name = format!("{}, {direction}", row.algorithm);
            match curves.iter_mut().find(|(present, _)| *present == name) {
                Some((_, points)) => points.push((row.tunnels, ns)),
                None => curves.push((name, vec![(row.tunnels, ns)])),
            }
        }
    }
    curves
}

impl Scale {
    pub(crate) fn subtitle(&self) -> String {
        format!("{}; {}", self.machine, self.date.split('T').next().unwrap_or_default())
    }

    fn write_changes(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.changes.first() else { return Ok(()) };
        let rounds = self.changes.len();
        writeln!(
            formatter,
            "\nChanges through the agent (`vgw netcfg apply`): {} connections, {} prefixes, {:.1} MB of XML; medians of {rounds}, from the \
             start of the command to its end; slowest and fastest in parentheses\n",
            first.connections,
            first.prefixes,
            f64::from(first.xml_bytes) / 1e6
        )?;
        writeln!(
            formatter,
            "| change | prefixes | seconds | prefixes per second | agent, CPU seconds | prefixes per CPU second |"
        )?;
        writeln!(formatter, "|---|---:|---:|---:|---:|---:|")?;
        for (index, ChangeRow { what, prefixes, .. }) in first.rows.iter().enumerate() {
            let durations =
                || self.changes.iter().filter_map(|changes| Some(changes.rows.get(index)?.duration));
            let mut seconds: Vec<f64> = durations().map(|duration| duration.seconds).collect();
            let mut cpu: Vec<f64> = durations().map(|duration| duration.agent_cpu_seconds).collect();
            let (middle, cpu) = (median(&mut seconds), median(&mut cpu));
            let rate = |seconds: f64| f64::from(*prefixes) / seconds;
            let (fastest, slowest) = (seconds[0], seconds[seconds.len() - 1]);
            writeln!(
                formatter,
                "| {what} | {prefixes} | {middle:.2} | {:.0} ({:.0} to {:.0}) | {cpu:.2} | {:.0} |",
                rate(middle),
                rate(slowest),
                rate(fastest),
                rate(cpu)
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for Scale {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}; {}\n", self.machine, self.date)?;
        writeln!(formatter, "One packet of 64 bytes in test runs, engine kernel, medians in ns\n")?;
        writeln!(formatter, "| algorithm | tunnels | prefixes | encapsulate | decapsulate |")?;
        writeln!(formatter, "|---|---:|---:|---:|---:|")?;
        for row in &self.packets {
            let PacketRow { algorithm, tunnels, prefixes, encapsulate_ns, decapsulate_ns } = row;
            writeln!(
                formatter,
                "| {algorithm} | {tunnels} | {prefixes} | {encapsulate_ns:.0} | {decapsulate_ns:.0} |"
            )?;
        }
        self.write_changes(formatter)?;
        writeln!(formatter, "\nMemory in MiB: of the kernel for BPF maps, and the agent's own\n")?;
        writeln!(
            formatter,
            "| connections permitted | maps without any | maps with all, ten prefixes each | maps per connection, KiB | agent without any | agent with all |"
        )?;
        writeln!(formatter, "|---:|---:|---:|---:|---:|---:|")?;
        let mib = |kib: u32| f64::from(kib) / 1024.0;
        // What does not depend on the number of connections is in the smallest, too.
        let least = self.memory.iter().min_by_key(|row| row.connections);
        for row in &self.memory {
            let each = least.filter(|least| least.connections < row.connections).map(|least| {
                f64::from(row.map_kib - least.map_kib) / f64::from(row.connections - least.connections)
            });
            writeln!(
                formatter,
                "| {} | {:.1} | {:.1} | {} | {:.1} | {:.1} |",
                row.connections,
                mib(row.map_kib),
                mib(row.map_kib_after),
                each.map_or_else(|| "–".to_owned(), |each| format!("{each:.1}")),
                mib(row.agent_kib),
                mib(row.agent_kib_after),
            )?;
        }
        Ok(())
    }
}
