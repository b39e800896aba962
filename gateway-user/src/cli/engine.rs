//! The engine, for people.

use crate::api::types::{CopyMode, Engine, EngineStatus, LaneStatus, WorkerState, WorkerStatus};

/// A few words: `xsk (2 workers, copy mode)`.
pub(super) fn summary(engine: &EngineStatus) -> String {
    let running = engine.workers.iter().filter(|worker| worker.state == WorkerState::Running).count();
    if engine.running == Engine::Kernel {
        return engine.running.to_string();
    }
    let all = engine.workers.len();
    let workers = match (running, all) {
        (1, 1) => "1 worker".to_owned(),
        _ if running == all => format!("{all} workers"),
        _ => format!("{running} of {all} workers"),
    };
    format!("{} ({workers}, {})", engine.running, mode(&engine.workers))
}

/// Lines for what does not go without saying: why the engine is not what was asked for, or what its workers do. Empty for engine
/// `kernel` when that was asked for.
pub(super) fn details(engine: &EngineStatus) -> String {
    let reason = engine.reason.as_ref().map(|reason| format!("Engine: {} wanted, {reason}\n", engine.wanted));
    reason
        .into_iter()
        .chain(engine.workers.iter().map(|worker| format!("Worker: {}\n", describe(worker))))
        .collect()
}

fn describe(worker: &WorkerStatus) -> String {
    let state = match (worker.state, worker.pid) {
        (WorkerState::Running, Some(pid)) => format!("process {pid}"),
        (WorkerState::Running | WorkerState::Starting, _) => "starting".to_owned(),
        (WorkerState::Failed, _) => "failed, is started again".to_owned(),
    };
    let cpu = worker.cpu.map(|cpu| format!(" on CPU {cpu}")).unwrap_or_default();
    let sum = |count: fn(&LaneStatus) -> u64| worker.lanes.iter().map(count).sum::<u64>();
    let (handed_over, exchanged) = (sum(|lane| lane.handed_over), sum(|lane| lane.exchanged));
    let (full, stalled) = (sum(|lane| lane.full), sum(|lane| lane.stalled));
    let restarts = worker.restarts;
    format!(
        "{}, {state}{cpu}, started again {restarts} times; frames: {handed_over} handed over, {exchanged} of them \
         exchanged, left to the kernel {full} (full) and {stalled} (stalled)",
        worker.number
    )
}

/// How the workers get their frames.
fn mode(workers: &[WorkerStatus]) -> &'static str {
    let modes = || workers.iter().flat_map(|worker| worker.lanes.iter().filter_map(|lane| lane.mode));
    let has = |wanted| modes().any(|mode| mode == wanted);
    match (has(CopyMode::ZeroCopy), has(CopyMode::Exchange), has(CopyMode::Copy)) {
        // The far end of vgw0 never does without copies.
        (true, false, false) => "zero-copy mode",
        (true, _, _) => "zero-copy mode in part",
        (false, true, _) => "exchange mode",
        (false, false, _) => "copy mode",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::EngineChoice;

    fn lane(interface: &str, mode: CopyMode) -> LaneStatus {
        let interface = interface.to_owned();
        LaneStatus {
            interface,
            queue: 0,
            mode: Some(mode),
            full: 2,
            stalled: 3,
            handed_over: 40,
            exchanged: 30,
        }
    }

    fn worker(number: u32, state: WorkerState) -> WorkerStatus {
        WorkerStatus {
            number,
            pid: (state == WorkerState::Running).then_some(77),
            cpu: Some(1),
            cpu_time_ns: None,
            state,
            restarts: 5,
            last_error: None,
            lanes: vec![lane("wan0", CopyMode::Copy), lane("lan0", CopyMode::Copy)],
        }
    }

    fn xsk(workers: Vec<WorkerStatus>) -> EngineStatus {
        EngineStatus { running: Engine::Xsk, workers, ..EngineStatus::default() }
    }

    #[test]
    fn the_summary_counts_the_workers_that_run() {
        let (up, down) = (worker(0, WorkerState::Running), worker(1, WorkerState::Failed));
        assert_eq!(summary(&xsk(vec![up.clone()])), "xsk (1 worker, copy mode)");
        assert_eq!(summary(&xsk(vec![up.clone(), up.clone()])), "xsk (2 workers, copy mode)");
        assert_eq!(summary(&xsk(vec![up.clone(), down])), "xsk (1 of 2 workers, copy mode)");
        let mut exchanging = up.clone();
        exchanging.lanes[0].mode = Some(CopyMode::Exchange);
        assert_eq!(summary(&xsk(vec![exchanging])), "xsk (1 worker, exchange mode)");
        let mut fast = up;
        fast.lanes[0].mode = Some(CopyMode::ZeroCopy);
        assert_eq!(summary(&xsk(vec![fast])), "xsk (1 worker, zero-copy mode in part)");
        assert_eq!(summary(&EngineStatus::default()), "kernel");
    }

    #[test]
    fn the_details_tell_reasons_and_workers() {
        let kernel = EngineStatus { wanted: EngineChoice::Kernel, ..EngineStatus::default() };
        assert_eq!(details(&kernel), "");
        let fallen = EngineStatus { reason: Some("no AF_XDP".to_owned()), ..EngineStatus::default() };
        assert_eq!(details(&fallen), "Engine: auto wanted, no AF_XDP\n");
        let text = details(&xsk(vec![worker(0, WorkerState::Running)]));
        assert!(text.contains("process 77 on CPU 1, started again 5 times"), "{text}");
        assert!(
            text.contains(
                "80 handed over, 60 of them exchanged, left to the kernel 4 (full) and 6 (stalled)"
            ),
            "{text}"
        );
    }
}
