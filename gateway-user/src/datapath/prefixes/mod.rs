//! The prefixes of all tunnels, kept by a thread of their own.
//!
//! A hundred thousand routes take the kernel the better part of a second. Whoever asks for a change does not wait: the thread
//! carries out one change after the other, in the order in which they were asked for, and tells the outcomes in that order.
//!
//! ```text
//! table    which prefix leads where, and the order of the steps        routes   the kernel's routing tables
//! ```

mod routes;
mod table;

use std::collections::VecDeque;
use std::io;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result, anyhow};
use aya::Ebpf;
use ipnet::IpNet;
use tokio::sync::{mpsc, oneshot};

use super::tunnel::TunnelId;
pub(super) use routes::Exit;
use table::PrefixTable;

/// Which prefixes a tunnel is to have.
#[derive(Clone, Debug)]
pub(super) struct PrefixChange {
    pub(super) id: TunnelId,
    /// Exactly these; `None` if the tunnel is to exist no more.
    pub(super) prefixes: Option<Vec<IpNet>>,
}

/// What the thread is asked for.
enum Job {
    Local(Vec<IpNet>, oneshot::Sender<Result<()>>),
    Change(Vec<PrefixChange>),
    OpenUnwanted(Vec<IpNet>, oneshot::Sender<Result<()>>),
}

/// The thread that changes prefixes.
pub(super) struct Prefixes {
    /// `None` when the thread is to end.
    jobs: Option<std::sync::mpsc::Sender<Job>>,
    outcomes: mpsc::UnboundedReceiver<Vec<Result<()>>>,
    /// How many changes each call has begun whose outcomes were not told yet.
    begun: VecDeque<usize>,
    thread: Option<JoinHandle<()>>,
}

impl Prefixes {
    /// Starts the thread, in the network namespace of the calling one. No prefix is known.
    ///
    /// # Errors
    /// A map of `ebpf` is missing, or the kernel refused a socket or the thread.
    pub(super) fn start(ebpf: &Ebpf, exit: Exit) -> Result<Self> {
        let mut table = PrefixTable::new(ebpf, exit)?;
        let (jobs, todo) = std::sync::mpsc::channel();
        let (done, outcomes) = mpsc::unbounded_channel();
        let work = move || {
            // Who asked may have gone, which ends the thread soon.
            while let Ok(job) = todo.recv() {
                match job {
                    Job::Local(prefixes, reply) => drop(reply.send(table.add_local(&prefixes))),
                    Job::Change(changes) => drop(done.send(table.change(&changes))),
                    Job::OpenUnwanted(closed, reply) => drop(reply.send(table.open_unwanted(closed))),
                }
            }
        };
        let start =
            || -> io::Result<_> { std::thread::Builder::new().name("prefixes".to_owned()).spawn(work) };
        let thread = start().context("cannot start the thread that changes prefixes")?;
        Ok(Self { jobs: Some(jobs), outcomes, begun: VecDeque::new(), thread: Some(thread) })
    }

    /// Makes the VNet's own prefixes known, and unreachable where nothing else leads to them.
    ///
    /// # Errors
    /// The kernel refused a change.
    pub(super) async fn add_local(&self, prefixes: Vec<IpNet>) -> Result<()> {
        self.ask(|reply| Job::Local(prefixes, reply)).await
    }

    /// Begins changes of different tunnels, of which no two concern the same prefix.
    pub(super) fn begin(&mut self, changes: Vec<PrefixChange>) {
        self.begun.push_back(changes.len());
        self.send(Job::Change(changes));
    }

    /// Waits for the outcomes of the changes that were begun first and not told yet, in their order. Nothing is lost when the
    /// call is given up.
    pub(super) async fn next(&mut self) -> Vec<Result<()>> {
        if self.begun.is_empty() {
            return std::future::pending().await;
        }
        let outcomes = self.outcomes.recv().await;
        let changes = self.begun.pop_front().unwrap_or_default();
        outcomes.unwrap_or_else(|| (0..changes).map(|_| Err(ended())).collect())
    }

    /// Makes those of the `closed` prefixes that nobody has now reachable by other routes again.
    ///
    /// # Errors
    /// The kernel refused a change.
    pub(super) async fn open_unwanted(&self, closed: Vec<IpNet>) -> Result<()> {
        self.ask(|reply| Job::OpenUnwanted(closed, reply)).await
    }

    /// Carries out what was begun and ends the thread.
    pub(super) async fn stop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported when it happened.
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    async fn ask(&self, job: impl FnOnce(oneshot::Sender<Result<()>>) -> Job) -> Result<()> {
        let (reply, answer) = oneshot::channel();
        self.send(job(reply));
        answer.await.map_err(|_| ended())?
    }

    fn send(&self, job: Job) {
        if let Some(jobs) = &self.jobs {
            // That the thread has ended is told in place of the outcome.
            let _ = jobs.send(job);
        }
    }
}

fn ended() -> anyhow::Error {
    anyhow!("the thread that changes prefixes has ended")
}
