//! What the core tells of the engine.

use super::super::dataplane::Dataplane;
use super::super::events::EventNumber;
use super::Core;
use crate::api::types::{EngineStatus, LaneStatus, WorkerStatus};
use crate::datapath::{EngineEvent, EngineStats, LaneStats, WorkerStats};

impl<D: Dataplane> Core<D> {
    /// The engine changed.
    pub(in crate::agent) fn handle_engine_event(&mut self, event: EngineEvent) {
        let (number, message) = match event {
            EngineEvent::WorkersRun { count } => {
                let workers =
                    if count == 1 { "1 worker seals".to_owned() } else { format!("{count} workers seal") };
                (EventNumber::WorkersRun, format!("engine xsk: {workers} and open packets"))
            }
            EngineEvent::FellBack { reason } => (
                EventNumber::EngineFellBack,
                format!("engine kernel, since no worker could be started: {reason}"),
            ),
            EngineEvent::WorkerEnded { number, reason } => (
                EventNumber::WorkerEnded,
                format!("worker {number} ended, its packets take engine kernel meanwhile: {reason}"),
            ),
            EngineEvent::WorkerRuns { number, pid } => {
                (EventNumber::WorkerRuns, format!("worker {number} works again, process {pid}"))
            }
        };
        self.events.add(number, None, message);
    }
}

impl From<EngineStats> for EngineStatus {
    fn from(stats: EngineStats) -> Self {
        let EngineStats { wanted, running, reason, workers } = stats;
        Self { wanted, running, reason, workers: workers.into_iter().map(Into::into).collect() }
    }
}

impl From<WorkerStats> for WorkerStatus {
    fn from(stats: WorkerStats) -> Self {
        let WorkerStats { number, pid, cpu, cpu_time_ns, state, restarts, last_error, lanes } = stats;
        let lanes = lanes.into_iter().map(Into::into).collect();
        Self { number, pid, cpu, state, cpu_time_ns, restarts, last_error, lanes }
    }
}

impl From<LaneStats> for LaneStatus {
    fn from(stats: LaneStats) -> Self {
        let LaneStats { interface, queue, mode, handed_over, exchanged, full, stalled } = stats;
        Self { interface, queue, mode, full, stalled, handed_over, exchanged }
    }
}
