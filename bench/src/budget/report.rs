//! The results as a table and as JSON.

use std::fmt;

use serde::Serialize;

use super::load::{Arrivals, Demand, Protocol};
use crate::machine::Machine;

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) machine: Machine,
    pub(super) limit_bits: u64,
    /// One way, far behind host B.
    pub(super) delay_ms: u64,
    pub(super) seconds: u32,
    pub(super) runs: Vec<Run>,
}

/// What one load came to.
#[derive(Debug, Serialize)]
pub(super) struct Run {
    tunnels: u16,
    protocol: Protocol,
    demand: Demand,
    /// Rate of all tunnels in bit/s of inner IP packets.
    rate_bits: f64,
    /// Deviation of that from the limit, in percent.
    error_percent: f64,
    /// The same of the second that deviates most.
    worst_second_percent: f64,
    /// Fairness of the tunnels' rates (Jain, Chiu and Hawe 1984).
    jain: f64,
    /// Rate of each tunnel in bit/s.
    tunnel_bits: Vec<f64>,
}

impl Run {
    pub(super) fn new(
        tunnels: u16,
        protocol: Protocol,
        demand: Demand,
        limit: u64,
        arrivals: &Arrivals,
    ) -> Self {
        let length: f64 = arrivals.seconds.iter().map(|(length, _)| length).sum();
        let deviation = |rate: f64| (rate / limit as f64 - 1.0) * 100.0;
        let seconds = arrivals
            .seconds
            .iter()
            .map(|(length, bytes)| deviation(bytes.iter().sum::<u64>() as f64 * 8.0 / length));
        let worst = seconds.max_by(|one, other| one.abs().total_cmp(&other.abs())).unwrap_or_default();
        let rate_bits = arrivals.total() as f64 * 8.0 / length;
        let tunnel_bits: Vec<_> =
            arrivals.by_tunnel().into_iter().map(|bytes| bytes as f64 * 8.0 / length).collect();
        Self {
            tunnels,
            protocol,
            demand,
            rate_bits,
            error_percent: deviation(rate_bits),
            worst_second_percent: worst,
            jain: jain(&tunnel_bits),
            tunnel_bits,
        }
    }
}

fn jain(rates: &[f64]) -> f64 {
    let sum: f64 = rates.iter().sum();
    let squares: f64 = rates.iter().map(|rate| rate * rate).sum();
    sum * sum / (rates.len() as f64 * squares)
}

/// A row of the table.
impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = self.tunnel_bits.iter().copied().fold(f64::INFINITY, f64::min);
        let most = self.tunnel_bits.iter().copied().fold(0.0, f64::max);
        write!(
            f,
            "| {} | {} | {} | {:.2} | {:+.2} | {:+.2} | {:.4} | {:.3}–{:.3} |",
            self.tunnels,
            self.protocol,
            self.demand,
            self.rate_bits / 1e6,
            self.error_percent,
            self.worst_second_percent,
            self.jain,
            least / 1e6,
            most / 1e6,
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (limit, seconds) = (self.limit_bits as f64 / 1e6, self.seconds);
        let round_trip = 2 * self.delay_ms;
        writeln!(
            f,
            "{}; limit {limit} Mbit/s, round trip {round_trip} ms, {seconds} s a load\n",
            self.machine
        )?;
        writeln!(
            f,
            "| tunnels | load | demand | Mbit/s | error % | worst second % | Jain index | Mbit/s by tunnel |"
        )?;
        writeln!(f, "|---:|---|---|---:|---:|---:|---:|---:|")?;
        self.runs.iter().try_for_each(|run| writeln!(f, "{run}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_judged_by_its_seconds_and_its_tunnels() {
        // Two tunnels at 3 and 1 Mbit/s, then both at 2.2, against a limit of 4.
        let seconds = vec![(1.0, vec![375_000, 125_000]), (1.0, vec![275_000, 275_000])];
        let run = Run::new(2, Protocol::Udp, Demand::Equal, 4_000_000, &Arrivals { seconds });
        assert!((run.rate_bits - 4.2e6).abs() < 1.0);
        assert!((run.error_percent - 5.0).abs() < 1e-6 && (run.worst_second_percent - 10.0).abs() < 1e-6);
        assert!((run.jain - 4.2_f64.powi(2) / (2.0 * (2.6_f64.powi(2) + 1.6_f64.powi(2)))).abs() < 1e-9);
        assert!(run.to_string().starts_with("| 2 | UDP | equal | 4.20 | +5.00 | +10.00 | 0.9"), "{run}");
    }
}
