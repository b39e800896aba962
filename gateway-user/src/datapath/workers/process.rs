//! One worker process.

use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::relay::relay;
use crate::worker::{WorkerConfig, WorkerReport};

/// How long a worker may take to answer. It allocates and locks memory and asks drivers for queues, on a machine that may be busy.
const START: Duration = Duration::from_secs(20);

/// How long a worker may take to end when it is asked to.
const END: Duration = Duration::from_secs(2);

/// How long the rest of what a process said may take to arrive when the process has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Largest answer, in bytes.
const ANSWER: u64 = 256 * 1024;

/// What is run as a worker.
#[derive(Clone, Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    pub(super) arguments: Vec<String>,
}

/// A worker that has answered. Dropping it kills the process.
#[derive(Debug)]
pub(super) struct WorkerProcess {
    child: Child,
    /// Tells the worker to end, by being closed; also when this process dies.
    stdin: ChildStdin,
    words: JoinHandle<Option<String>>,
    pid: u32,
}

/// Why a worker did not come up.
#[derive(Debug, thiserror::Error)]
pub(super) enum WorkerError {
    #[error("it cannot be started: {0}")]
    Spawn(std::io::Error),
    #[error("it ended ({status}): {words}")]
    Ended { status: ExitStatus, words: String },
    #[error("it did not answer within {} s", START.as_secs())]
    Silent,
    #[error("its answer cannot be understood: {0}")]
    Answer(serde_json::Error),
    #[error("it answered for other receive queues than it was told to serve")]
    OtherLanes,
}

impl Program {
    /// This program itself, also when its file was replaced meanwhile.
    pub(super) fn this() -> Self {
        Self { path: "/proc/self/exe".into(), arguments: vec!["worker".to_owned()] }
    }
}

impl WorkerProcess {
    /// Starts a worker and waits for its answer. Dropping the future kills the process.
    pub(super) async fn start(
        program: &Program,
        config: &WorkerConfig,
    ) -> Result<(Self, WorkerReport), WorkerError> {
        let mut command = Command::new(&program.path);
        command.arg0("vgw").args(&program.arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // A Ctrl-C in the agent's terminal is for the agent, which ends its workers in order.
        command.process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(WorkerError::Spawn)?;
        let pid = child.id().unwrap_or_default();
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            unreachable!("all three were asked for");
        };
        let words = tokio::spawn(relay(config.number, stderr));
        let mut process = Self { child, stdin, words, pid };
        let error = match timeout(START, process.converse(config, stdout)).await {
            Ok(Some(answer)) => match understand(config, &answer) {
                Ok(report) => return Ok((process, report)),
                Err(error) => error,
            },
            Ok(None) => {
                let status = process.kill().await.map_err(WorkerError::Spawn)?;
                let words = process.last_words().await.unwrap_or_else(|| "it gave no reason".to_owned());
                return Err(WorkerError::Ended { status, words });
            }
            Err(_) => WorkerError::Silent,
        };
        // Why it must end is known; nothing is left to do should even that fail.
        let _ = process.kill().await;
        Err(error)
    }

    /// Process ID.
    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits until the process has ended by itself; what became of it, for a human. Safe to cancel.
    pub(super) async fn ended(&mut self) -> String {
        let status = match self.child.wait().await {
            Ok(status) => status.to_string(),
            Err(error) => format!("its end cannot be told: {error}"),
        };
        match self.last_words().await {
            Some(words) => format!("{status}: {words}"),
            None => status,
        }
    }

    /// Kills the process and waits for its end.
    pub(super) async fn kill(&mut self) -> std::io::Result<ExitStatus> {
        // One that has ended already cannot be killed.
        let _ = self.child.start_kill();
        self.child.wait().await
    }

    /// Asks the process to end, and kills it if it does not.
    pub(super) async fn end(self) {
        let Self { mut child, stdin, .. } = self;
        drop(stdin);
        if timeout(END, child.wait()).await.is_err() {
            tracing::warn!("a worker did not end within {} s and is killed", END.as_secs());
            // Nothing is left to do when even that fails.
            let _ = child.kill().await;
        }
    }

    /// Sends the configuration and reads the answer; `None` if the process ends instead.
    async fn converse(&mut self, config: &WorkerConfig, stdout: ChildStdout) -> Option<String> {
        let mut line = serde_json::to_string(config).expect("the configuration has string keys only");
        line.push('\n');
        self.stdin.write_all(line.as_bytes()).await.ok()?;
        let mut answer = String::new();
        BufReader::new(stdout.take(ANSWER)).read_line(&mut answer).await.ok()?;
        answer.ends_with('\n').then_some(answer)
    }

    async fn last_words(&mut self) -> Option<String> {
        timeout(LAST_WORDS, &mut self.words).await.ok()?.ok().flatten()
    }
}

fn understand(config: &WorkerConfig, answer: &str) -> Result<WorkerReport, WorkerError> {
    let report: WorkerReport = serde_json::from_str(answer).map_err(WorkerError::Answer)?;
    let told = config.interfaces.iter().flat_map(|interface| interface.lanes.iter().map(|lane| lane.lane));
    if told.eq(report.lanes.iter().map(|lane| lane.lane)) { Ok(report) } else { Err(WorkerError::OtherLanes) }
}
