//! One flood: what goes through before it and during it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;
use testbed::traffic::{DatagramSink, StreamSink, send_datagrams, send_stream};
use testbed::{Agent, Attacker, FloodKind, Lab};

use super::report::Run;
use crate::usage;

/// Datagrams of the paced stream: per second, and payload bytes.
const DATAGRAMS: (u32, usize) = (2_000, 1_000);
/// How long a flood goes on before anything is measured.
const LEAD: Duration = Duration::from_millis(300);
/// How long the last packets may be under way.
const TAIL: Duration = Duration::from_millis(500);

/// The gateway that is flooded.
pub(super) struct Target<'a> {
    pub(super) lab: &'a Lab,
    pub(super) agent: &'a Agent,
    pub(super) engine: &'static str,
}

/// What goes from host to host.
#[derive(Clone, Copy)]
struct Goodput {
    /// TCP, in Mbit/s.
    tcp_mbit: f64,
    /// Share of paced datagrams that arrive, in percent.
    datagrams_percent: f64,
}

/// What the gateway has used and counted.
struct State {
    status: Value,
    agent_seconds: f64,
    worker_seconds: f64,
    resident_kib: u32,
    log_lines: usize,
}

impl Target<'_> {
    /// Measures a flood of one kind.
    pub(super) fn measure(
        &self,
        attacker: &mut Attacker<'_>,
        kind: FloodKind,
        rate: Option<u32>,
        duration: Duration,
    ) -> Result<Run> {
        let before = self.goodput(duration)?;
        let stop = AtomicBool::new(false);
        let state = self.state()?;
        let started = Instant::now();
        let (during, taken) = std::thread::scope(|scope| {
            let flood = scope.spawn(|| {
                let began = Instant::now();
                let taken = attacker.flood(kind, u64::MAX, rate, &stop)?;
                Ok::<_, anyhow::Error>((taken, began.elapsed()))
            });
            std::thread::sleep(LEAD);
            let during = self.goodput(duration);
            stop.store(true, Ordering::Relaxed);
            let taken = flood.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            (during, taken)
        });
        let (during, (taken, flooded)) = (during?, taken?);
        let elapsed = started.elapsed().as_secs_f64();
        let after = self.state()?;
        let percent = |seconds: f64| 100.0 * seconds / elapsed;
        Ok(Run {
            engine: self.engine.to_owned(),
            kind: kind.name().to_owned(),
            wanted_per_second: rate,
            packets: taken,
            packets_per_second: taken as f64 / flooded.as_secs_f64(),
            tcp_mbit_before: before.tcp_mbit,
            tcp_mbit_during: during.tcp_mbit,
            datagrams_percent_before: before.datagrams_percent,
            datagrams_percent_during: during.datagrams_percent,
            drops: drops_since(&state.status, &after.status),
            agent_cpu_percent: percent(after.agent_seconds - state.agent_seconds),
            worker_cpu_percent: percent(after.worker_seconds - state.worker_seconds),
            resident_kib_before: state.resident_kib,
            resident_kib_after: after.resident_kib,
            log_lines: after.log_lines - state.log_lines,
            ike_sas: after.status["ike_sas"].as_u64().context("no number of IKE SAs")?,
        })
    }

    /// Whether the connection is up.
    pub(super) fn is_connected(&self) -> Result<bool> {
        let status = self.agent.vgw().status()?;
        Ok(status["connections"][0]["state"] == "Connected")
    }

    fn goodput(&self, duration: Duration) -> Result<Goodput> {
        let (near, far) = (self.lab.site(1), self.lab.site(2));
        let sink = StreamSink::start(&far.host, far.host_address())?;
        let started = Instant::now();
        let bytes = send_stream(&near.host, sink.address(), duration)?;
        // Until the receiver has confirmed the last byte.
        let tcp_mbit = bytes as f64 * 8.0 / 1e6 / started.elapsed().as_secs_f64();
        sink.finish()?;
        let sink = DatagramSink::start(&far.host, far.host_address())?;
        let (rate, payload) = DATAGRAMS;
        let sent = send_datagrams(&near.host, near.host_address(), sink.address(), payload, rate, duration)?;
        std::thread::sleep(TAIL);
        let arrived = sink.stop().received;
        Ok(Goodput { tcp_mbit, datagrams_percent: 100.0 * arrived as f64 / sent as f64 })
    }

    fn state(&self) -> Result<State> {
        let status = self.agent.vgw().status()?;
        let workers = status["engine"]["workers"].as_array().into_iter().flatten();
        let processes = workers.filter_map(|worker| worker["pid"].as_u64()).map(|pid| pid as u32);
        let worker_seconds: Vec<f64> = processes.map(usage::cpu_seconds).collect::<Result<_>>()?;
        Ok(State {
            agent_seconds: usage::cpu_seconds(self.agent.id())?,
            worker_seconds: worker_seconds.iter().sum(),
            resident_kib: usage::resident_kib(self.agent.id())?,
            log_lines: self.agent.log().lines().count(),
            status,
        })
    }
}

/// Drops by reason that were counted between two looks at the status.
fn drops_since(before: &Value, after: &Value) -> BTreeMap<String, u64> {
    let count = |status: &Value, reason: &str| status["drops"][reason].as_u64().unwrap_or(0);
    let reasons = after["drops"].as_object().into_iter().flat_map(|drops| drops.keys());
    let new = reasons.map(|reason| (reason.clone(), count(after, reason) - count(before, reason)));
    new.filter(|(_, drops)| *drops > 0).collect()
}
