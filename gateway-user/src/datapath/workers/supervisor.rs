//! Keeps one worker alive.

use std::sync::Arc;
use std::time::Duration;

use gateway_common::Lane;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::board::Board;
use super::hang::HangWatch;
use super::process::{Program, WorkerProcess};
use crate::datapath::engine::EngineEvent;
use crate::worker::WorkerConfig;

/// Pause between two looks at a worker's lanes.
const LOOK: Duration = Duration::from_millis(500);

/// Pauses before a worker that ended is started again: the first, doubled each time, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// A worker that has worked for so long is not one that fails again and again.
const SOUND: Duration = Duration::from_secs(10);

/// Reads a lane; `None` when the kernel refuses.
pub(in crate::datapath) type ReadLane = Arc<dyn Fn(u32) -> Option<Lane> + Send + Sync>;

/// What a worker is, and who is told of it.
pub(super) struct Supervised {
    pub(super) config: WorkerConfig,
    pub(super) program: Program,
    pub(super) read_lane: ReadLane,
    pub(super) board: Arc<Board>,
}

impl Supervised {
    /// Runs the worker until `stop` says so or its sender is gone. `first` is told how the first start went; after a failure there
    /// is no second.
    pub(super) async fn run(self, first: mpsc::Sender<Result<(), String>>, mut stop: watch::Receiver<bool>) {
        let number = self.config.number;
        let mut first = Some(first);
        let mut pause = PAUSES.0;
        loop {
            let started = tokio::select! {
                started = WorkerProcess::start(&self.program, &self.config) => started,
                () = stopped(&mut stop) => return,
            };
            let began = Instant::now();
            let reason = match started {
                Ok((mut process, report)) => {
                    self.board.runs(number, process.pid(), &report);
                    match first.take() {
                        // Nobody waits any more when another worker failed; then this one is told to stop.
                        Some(first) => drop(first.send(Ok(())).await),
                        None => self.board.tell(EngineEvent::WorkerRuns { number, pid: process.pid() }),
                    }
                    let ended = tokio::select! {
                        reason = process.ended() => Some(reason),
                        waiting = self.hangs() => {
                            // It is gone or it cannot be helped.
                            let _ = process.kill().await;
                            Some(format!("it did nothing about {waiting} frames that wait, and was killed"))
                        }
                        () = stopped(&mut stop) => None,
                    };
                    let Some(reason) = ended else { return process.end().await };
                    self.board.tell(EngineEvent::WorkerEnded { number, reason: reason.clone() });
                    reason
                }
                Err(error) => {
                    let reason = error.to_string();
                    if first.is_none() {
                        tracing::warn!(worker = number, "the worker cannot be started again: {reason}");
                    }
                    reason
                }
            };
            if let Some(first) = first.take() {
                // Nobody waits any more when another worker failed before.
                let _ = first.send(Err(format!("worker {number}: {reason}"))).await;
                return;
            }
            self.board.failed(number, reason);
            if began.elapsed() >= SOUND {
                pause = PAUSES.0;
            }
            tokio::select! {
                () = sleep(pause) => {}
                () = stopped(&mut stop) => return,
            }
            pause = (pause * 2).min(PAUSES.1);
            self.board.starting_again(number);
        }
    }

    /// Waits until the worker hangs; how many frames wait then.
    async fn hangs(&self) -> u64 {
        let lanes: Vec<u32> = self
            .config
            .interfaces
            .iter()
            .flat_map(|interface| interface.lanes.iter().map(|lane| lane.lane))
            .collect();
        let mut watch = HangWatch::default();
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let lanes: Vec<Lane> = lanes.iter().filter_map(|lane| (self.read_lane)(*lane)).collect();
            if let Some(waiting) = watch.look(&lanes) {
                return waiting;
            }
        }
    }
}

/// Waits until the workers are to stop.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // A sender that is gone can never say that they may go on.
    let _ = stop.wait_for(|stop| *stop).await;
}
