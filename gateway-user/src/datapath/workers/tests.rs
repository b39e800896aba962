//! The supervisor with shell scripts in place of workers.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gateway_common::Lane;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::*;
use crate::model::WorkerState;

/// Answers as a worker does, and ends with its standard input.
const GOOD: &str =
    r#"echo '{"lanes":[{"interface":"eth0","queue":0,"lane":1,"mode":"copy"}]}'; read rest; exit 0"#;

const PATIENCE: Duration = Duration::from_secs(30);

fn config(number: u32) -> WorkerConfig {
    WorkerConfig {
        number,
        cpu: None,
        pin_directory: "/nowhere".into(),
        interfaces: vec![WorkerInterface {
            name: "eth0".to_owned(),
            index: 7,
            mtu: 1500,
            is_vgw0_peer: false,
            lanes: vec![LaneConfig { queue: 0, lane: 1 }],
        }],
        vgw0_mac: [0; 6],
        vgw0_peer_mac: [0; 6],
        ring_size: WorkerConfig::RING_SIZE,
        exchange: true,
        zero_copy: false,
        busy_poll: false,
        tx_budget: WorkerConfig::TX_BUDGET,
    }
}

/// A shell that has read its configuration into `$config`, and then does what `script` says.
fn shell(script: &str) -> Program {
    let script = format!("read config\n{script}");
    Program { path: "/bin/sh".into(), arguments: vec!["-c".to_owned(), script] }
}

async fn start(
    script: &str,
    count: u32,
    read_lane: ReadLane,
) -> (Result<Workers>, mpsc::Receiver<EngineEvent>) {
    let (events, receiver) = mpsc::channel(16);
    let configs = (0..count).map(config).collect();
    (Workers::start_program(&shell(script), configs, read_lane, events).await, receiver)
}

/// Lanes on which nothing happens.
fn quiet() -> ReadLane {
    Arc::new(|_| Some(Lane::default()))
}

async fn next(events: &mut mpsc::Receiver<EngineEvent>) -> EngineEvent {
    tokio::time::timeout(PATIENCE, events.recv()).await.expect("an event in time").expect("the sender lives")
}

async fn reason(script: &str) -> String {
    let (workers, _) = start(script, 1, quiet()).await;
    workers.err().expect("the worker does not come up").to_string()
}

fn pid(workers: &Workers) -> Pid {
    Pid::from_raw(workers.stats()[0].pid.expect("there is a process").cast_signed())
}

#[tokio::test]
async fn workers_run_until_they_are_told_to_end() {
    let (workers, _events) = start(GOOD, 2, quiet()).await;
    let workers = workers.unwrap();
    let stats = workers.stats();
    assert!(stats.iter().all(|worker| worker.state == WorkerState::Running), "{stats:?}");
    assert_eq!(stats[0].lanes[0].interface, "eth0");
    assert!(stats[0].lanes[0].mode.is_some());
    let processes: Vec<_> = stats.iter().map(|worker| format!("/proc/{}", worker.pid.unwrap())).collect();
    assert!(processes.iter().all(|path| Path::new(path).exists()));
    workers.stop().await;
    assert!(!processes.iter().any(|path| Path::new(path).exists()), "they have ended");
}

#[tokio::test]
async fn what_keeps_a_worker_from_coming_up_is_told() {
    let no_memory = reason("echo 'cannot lock memory' >&2; exit 3").await;
    assert!(no_memory.starts_with("worker 0: ") && no_memory.contains("cannot lock memory"), "{no_memory}");
    assert!(no_memory.contains("exit status: 3"), "{no_memory}");
    assert!(reason("exit 1").await.contains("no reason"));
    assert!(reason("echo hello; read rest").await.contains("cannot be understood"));
    assert!(reason(r#"echo '{"lanes":[]}'; read rest"#).await.contains("other receive queues"));
    let (missing, _) = {
        let program = Program { path: "/nowhere/vgw".into(), arguments: Vec::new() };
        let (events, receiver) = mpsc::channel(1);
        (Workers::start_program(&program, vec![config(0)], quiet(), events).await, receiver)
    };
    assert!(missing.err().unwrap().to_string().contains("cannot be started"));
}

#[tokio::test]
async fn one_worker_that_fails_takes_the_others_with_it() {
    let script = format!(r#"case "$config" in *'"number":1'*) echo 'no queue' >&2; exit 1;; esac; {GOOD}"#);
    let (workers, mut events) = start(&script, 2, quiet()).await;
    let error = workers.err().expect("one of two fails").to_string();
    assert!(error.contains("worker 1: ") && error.contains("no queue"), "{error}");
    assert!(events.recv().await.is_none(), "nobody is left to tell anything");
}

#[tokio::test]
async fn a_worker_that_was_killed_is_started_again() {
    let (workers, mut events) = start(GOOD, 1, quiet()).await;
    let workers = workers.unwrap();
    for restarts in 1..=2 {
        let before = pid(&workers);
        kill(before, Signal::SIGKILL).unwrap();
        let ended = next(&mut events).await;
        let EngineEvent::WorkerEnded { number: 0, reason } = ended else { panic!("{ended:?}") };
        assert!(reason.contains("signal: 9"), "{reason}");
        let runs = next(&mut events).await;
        let EngineEvent::WorkerRuns { number: 0, pid: after } = runs else { panic!("{runs:?}") };
        let worker = &workers.stats()[0];
        assert_eq!(
            (worker.state, worker.pid, worker.restarts),
            (WorkerState::Running, Some(after), restarts)
        );
        assert!(worker.last_error.as_ref().is_some_and(|error| error.contains("signal: 9")), "{worker:?}");
        assert_ne!(before.as_raw(), after.cast_signed());
    }
    workers.stop().await;
}

#[tokio::test]
async fn a_worker_that_hangs_is_killed_and_started_again() {
    let produced = Arc::new(AtomicU64::new(0));
    let lanes = Arc::clone(&produced);
    let read_lane: ReadLane =
        Arc::new(move |_| Some(Lane { produced: lanes.load(Ordering::Relaxed), ..Lane::default() }));
    let (workers, mut events) = start(GOOD, 1, read_lane).await;
    let workers = workers.unwrap();
    kill(pid(&workers), Signal::SIGSTOP).unwrap();
    produced.store(12, Ordering::Relaxed);
    let ended = next(&mut events).await;
    let EngineEvent::WorkerEnded { reason, .. } = ended else { panic!("{ended:?}") };
    assert!(reason.contains("12 frames that wait"), "{reason}");
    produced.store(0, Ordering::Relaxed);
    assert!(matches!(next(&mut events).await, EngineEvent::WorkerRuns { .. }));
    workers.stop().await;
}

#[tokio::test]
async fn a_worker_that_does_not_end_is_killed() {
    let script = format!("trap '' TERM; {GOOD}").replace("read rest", "while :; do sleep 0.1; done");
    let (workers, _events) = start(&script, 1, quiet()).await;
    let workers = workers.unwrap();
    let process = format!("/proc/{}", pid(&workers));
    workers.stop().await;
    assert!(!Path::new(&process).exists());
}

#[tokio::test]
async fn workers_end_when_nobody_holds_them() {
    let (workers, mut events) = start(GOOD, 1, quiet()).await;
    let workers = workers.unwrap();
    drop(workers);
    let end = Instant::now() + PATIENCE;
    while events.try_recv() != Err(mpsc::error::TryRecvError::Disconnected) {
        assert!(Instant::now() < end, "the supervisor goes on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn each_worker_is_told_its_own_queues() {
    let engine =
        crate::datapath::EngineConfig { workers: Some(2), ..crate::datapath::EngineConfig::default() };
    let plan =
        Plan::new(&engine, &"1,0".parse().unwrap(), &[("eth0", Queues { receive: 4, transmit: 4 })]).unwrap();
    let shared =
        Shared { interface: config(0).interfaces[0].clone(), lanes: LaneRange { first: 3, count: 4 } };
    let second = configure(&plan, 1, &config(0), &[shared]);
    assert_eq!((second.number, second.cpu), (1, Some(0)));
    let lanes: Vec<_> = lanes(&second).map(|lane| (lane.queue, lane.lane)).collect();
    assert_eq!(lanes, [(1, 4), (3, 6)]);
}
