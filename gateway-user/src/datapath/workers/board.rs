//! What is known of the workers, for whoever asks.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::datapath::engine::{EngineEvent, LaneStats, WorkerStats};
use crate::model::WorkerState;
use crate::worker::{WorkerConfig, WorkerReport};

/// Shared by the supervisor, which writes, and the datapath, which reads.
#[derive(Debug)]
pub(super) struct Board {
    workers: Mutex<Vec<WorkerStats>>,
    events: mpsc::Sender<EngineEvent>,
}

impl Board {
    /// All workers are being started.
    pub(super) fn new(configs: &[WorkerConfig], events: mpsc::Sender<EngineEvent>) -> Self {
        Self { workers: Mutex::new(configs.iter().map(starting).collect()), events }
    }

    /// The workers by number, without the counters of their lanes.
    pub(super) fn workers(&self) -> Vec<WorkerStats> {
        self.lock().clone()
    }

    /// Tells the agent. One that does not listen misses it, but not what [`Self::workers`] tells.
    pub(super) fn tell(&self, event: EngineEvent) {
        let _ = self.events.try_send(event);
    }

    pub(super) fn starting_again(&self, number: u32) {
        self.change(number, |worker| {
            worker.state = WorkerState::Starting;
            worker.restarts += 1;
        });
    }

    pub(super) fn runs(&self, number: u32, pid: u32, report: &WorkerReport) {
        self.change(number, |worker| {
            worker.state = WorkerState::Running;
            worker.pid = Some(pid);
            for (lane, told) in worker.lanes.iter_mut().zip(&report.lanes) {
                lane.mode = Some(told.mode);
            }
        });
    }

    pub(super) fn failed(&self, number: u32, reason: String) {
        self.change(number, |worker| {
            worker.state = WorkerState::Failed;
            worker.pid = None;
            worker.last_error = Some(reason);
        });
    }

    fn change(&self, number: u32, change: impl FnOnce(&mut WorkerStats)) {
        if let Some(worker) = self.lock().get_mut(number as usize) {
            change(worker);
        }
    }

    /// No change panics half-way, so a poisoned lock is as good as any.
    fn lock(&self) -> MutexGuard<'_, Vec<WorkerStats>> {
        self.workers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn starting(config: &WorkerConfig) -> WorkerStats {
    let lanes = config.interfaces.iter().flat_map(|interface| {
        interface.lanes.iter().map(|lane| LaneStats {
            interface: interface.name.clone(),
            queue: lane.queue,
            ..LaneStats::default()
        })
    });
    WorkerStats { number: config.number, cpu: config.cpu, lanes: lanes.collect(), ..WorkerStats::default() }
}
