//! Engines: what is asked for, and what the datapath tells of the one that runs.

use crate::model::{Engine, EngineChoice, WorkerState};
use crate::worker::{CopyMode, WorkerConfig};

use super::workers::{CpuList, Workers};

/// Which engine to run, and how.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The engine.
    pub choice: EngineChoice,
    /// Workers; `None` for as many as there are CPUs, at most as many as every interface has queues.
    pub workers: Option<u32>,
    /// CPUs of the workers in turn; `None` for those that the agent may run on, the last one first.
    pub worker_cpus: Option<CpuList>,
    /// Whether frames are exchanged for finished ones where sockets would copy them.
    pub exchange: bool,
    /// Whether workers never sleep.
    pub busy_poll: bool,
    /// Frames that a worker has the kernel send per call, at most.
    pub tx_budget: u32,
    /// Frames that may be on their way to a worker at once, per receive queue; a power of two.
    pub ring_size: u32,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            choice: EngineChoice::default(),
            workers: None,
            worker_cpus: None,
            exchange: true,
            busy_poll: false,
            tx_budget: WorkerConfig::TX_BUDGET,
            ring_size: WorkerConfig::RING_SIZE,
        }
    }
}

/// The engine of a running datapath.
#[derive(Clone, Debug, Default)]
pub struct EngineStats {
    /// What was asked for.
    pub wanted: EngineChoice,
    /// What runs: [`Engine::Xsk`] while at least one worker does.
    pub running: Engine,
    /// Why that is not what was asked for, or not all workers run.
    pub reason: Option<String>,
    /// The workers, none for [`Engine::Kernel`].
    pub workers: Vec<WorkerStats>,
}

/// A worker process.
#[derive(Clone, Debug, Default)]
pub struct WorkerStats {
    /// Its number, counted from 0.
    pub number: u32,
    /// Process ID, while there is a process.
    pub pid: Option<u32>,
    /// CPU that it is bound to.
    pub cpu: Option<u32>,
    /// Processor time that its process has taken, in ns.
    pub cpu_time_ns: Option<u64>,
    /// What it does.
    pub state: WorkerState,
    /// How often it was started again.
    pub restarts: u64,
    /// Why it ended last.
    pub last_error: Option<String>,
    /// The receive queues that it serves.
    pub lanes: Vec<LaneStats>,
}

/// A receive queue that a worker serves. The counters outlive the worker.
#[derive(Clone, Debug, Default)]
pub struct LaneStats {
    /// Name of the interface.
    pub interface: String,
    /// Number of the receive queue.
    pub queue: u32,
    /// How frames come to the worker and go; `None` while no worker has told.
    pub mode: Option<CopyMode>,
    /// Frames handed to the worker.
    pub handed_over: u64,
    /// Frames that left in place of one that arrived.
    pub exchanged: u64,
    /// Frames that found as many on their way as may be, and went through the kernel engine.
    pub full: u64,
    /// Frames that found the worker without progress, and went through the kernel engine.
    pub stalled: u64,
}

/// A change of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineEvent {
    /// The workers came up.
    WorkersRun {
        /// How many.
        count: u32,
    },
    /// No worker could be started; the gateway runs with the kernel engine.
    FellBack {
        /// What was in the way.
        reason: String,
    },
    /// A worker ended by itself, or was killed because it did nothing. Its packets take the kernel engine.
    WorkerEnded {
        /// Its number.
        number: u32,
        /// What became of it.
        reason: String,
    },
    /// A worker works again.
    WorkerRuns {
        /// Its number.
        number: u32,
        /// Its new process ID.
        pid: u32,
    },
}

/// The engine of a datapath, as the datapath holds it.
pub(super) struct RunningEngine {
    wanted: EngineChoice,
    /// [`Engine::Xsk`], with all its workers.
    workers: Option<Workers>,
    /// Why there are none, though they were wanted.
    reason: Option<String>,
}

impl RunningEngine {
    /// The XDP programs alone; `reason` if workers were wanted and did not come up.
    pub(super) fn kernel(wanted: EngineChoice, reason: Option<String>) -> Self {
        Self { wanted, workers: None, reason }
    }

    /// Workers.
    pub(super) fn xsk(wanted: EngineChoice, workers: Workers) -> Self {
        Self { wanted, workers: Some(workers), reason: None }
    }

    /// What it does now.
    pub(super) fn stats(&self) -> EngineStats {
        let workers = self.workers.as_ref().map(Workers::stats).unwrap_or_default();
        let is_running = |worker: &WorkerStats| worker.state == WorkerState::Running;
        let running = if workers.iter().any(is_running) { Engine::Xsk } else { Engine::Kernel };
        let ended = workers.iter().filter(|worker| !is_running(worker)).find_map(|worker| {
            let error = worker.last_error.as_ref()?;
            Some(format!("worker {}: {error}", worker.number))
        });
        EngineStats { wanted: self.wanted, running, reason: self.reason.clone().or(ended), workers }
    }

    /// Ends the workers, if there are any.
    pub(super) async fn stop(&mut self) {
        if let Some(workers) = self.workers.take() {
            workers.stop().await;
        }
    }
}
