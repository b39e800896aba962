//! Worker processes of engine `xsk`: how many, on which queues and CPUs, and keeping them alive.
//!
//! ```text
//! cpu_list, plan  who serves what          process, relay  one process, and what it says
//! supervisor      keeps one alive          hang            when it counts as hanging
//! board           what is known of all       cpu_time        what they take
//! ```

mod board;
mod cpu_list;
mod cpu_time;
mod hang;
mod plan;
mod process;
mod relay;
mod supervisor;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow};
use tokio::sync::{mpsc, watch};

use self::board::Board;
pub use self::cpu_list::{CpuList, CpuListError};
pub use self::plan::PlanError;
pub(super) use self::plan::{LaneRange, Plan, Queues, assign};
use self::process::Program;
pub(super) use self::supervisor::ReadLane;
use self::supervisor::Supervised;
use super::engine::{EngineEvent, WorkerStats};
use crate::worker::{LaneConfig, WorkerConfig, WorkerInterface};

/// The running workers of a gateway. Dropping this ends them, too, without waiting.
pub(super) struct Workers {
    configs: Vec<WorkerConfig>,
    board: Arc<Board>,
    read_lane: ReadLane,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

/// An interface whose queues are shared out.
pub(super) struct Shared {
    /// Its description; the lanes in it do not matter.
    pub(super) interface: WorkerInterface,
    pub(super) lanes: LaneRange,
}

impl Workers {
    /// Starts all workers of a plan, and supervises them from then on. Each is configured like `template`, with its own
    /// number, CPU and share of `interfaces`.
    ///
    /// # Errors
    /// One of them does not come up; none runs then.
    pub(super) async fn start(
        plan: &Plan,
        template: &WorkerConfig,
        interfaces: &[Shared],
        read_lane: ReadLane,
        events: mpsc::Sender<EngineEvent>,
    ) -> Result<Self> {
        let configs =
            (0..plan.workers()).map(|number| configure(plan, number, template, interfaces)).collect();
        Self::start_program(&Program::this(), configs, read_lane, events).await
    }

    /// What is known of each worker, by number.
    pub(super) fn stats(&self) -> Vec<WorkerStats> {
        let mut workers = self.board.workers();
        for (worker, config) in workers.iter_mut().zip(&self.configs) {
            worker.cpu_time_ns = worker.pid.and_then(cpu_time::cpu_time_ns);
            for (stats, lane) in worker.lanes.iter_mut().zip(lanes(config)) {
                let Some(lane) = (self.read_lane)(lane.lane) else { continue };
                (stats.handed_over, stats.exchanged) = (lane.produced, lane.exchanged);
                (stats.full, stats.stalled) = (lane.full, lane.stalled);
            }
        }
        workers
    }

    /// Ends all workers and waits for that.
    pub(super) async fn stop(mut self) {
        // The supervisor has a receiver until it ends.
        let _ = self.stop.send(true);
        if let Some(thread) = self.thread.take() {
            // It waits for processes, so not on a thread of the agent's. A panic in it was reported by its hook.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    async fn start_program(
        program: &Program,
        configs: Vec<WorkerConfig>,
        read_lane: ReadLane,
        events: mpsc::Sender<EngineEvent>,
    ) -> Result<Self> {
        let board = Arc::new(Board::new(&configs, events));
        let (stop, stopping) = watch::channel(false);
        let (first, mut outcomes) = mpsc::channel(configs.len().max(1));
        let supervised = configs.iter().map(|config| Supervised {
            config: config.clone(),
            program: program.clone(),
            read_lane: Arc::clone(&read_lane),
            board: Arc::clone(&board),
        });
        let runs: Vec<_> = supervised.map(|worker| worker.run(first.clone(), stopping.clone())).collect();
        drop(first);
        // A thread of its own: whether workers hang is seen in time whatever the agent does.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("cannot start the runtime of the workers' supervisor")?;
        let thread = std::thread::Builder::new().name("vgw-workers".to_owned());
        let thread = thread.spawn(move || drop(runtime.block_on(futures::future::join_all(runs))));
        let thread = Some(thread.context("cannot start the thread of the workers' supervisor")?);
        let workers = Self { configs, board, read_lane, stop, thread };
        for _ in &workers.configs {
            let outcome = outcomes.recv().await;
            if let Err(reason) = outcome.unwrap_or_else(|| Err("the workers' supervisor ended".to_owned())) {
                workers.stop().await;
                return Err(anyhow!(reason));
            }
        }
        Ok(workers)
    }
}

fn configure(plan: &Plan, number: u32, template: &WorkerConfig, interfaces: &[Shared]) -> WorkerConfig {
    let share = |shared: &Shared| {
        let lanes = plan.share(number, shared.lanes).map(|(queue, lane)| LaneConfig { queue, lane });
        WorkerInterface { lanes: lanes.collect(), ..shared.interface.clone() }
    };
    WorkerConfig {
        number,
        cpu: plan.cpu(number),
        interfaces: interfaces.iter().map(share).collect(),
        ..template.clone()
    }
}

fn lanes(config: &WorkerConfig) -> impl Iterator<Item = &LaneConfig> {
    config.interfaces.iter().flat_map(|interface| &interface.lanes)
}
