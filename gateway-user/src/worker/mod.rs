//! The AF_XDP worker: a process of its own that seals and opens what the XDP programs hand over.
//!
//! The agent starts `vgw worker` with a [`WorkerConfig`] on its standard input. The worker maps the gateway's maps, binds its
//! sockets, gives up every privilege, answers with a [`WorkerReport`], and works until the agent closes the pipe or dies.
//!
//! ```text
//! config      what the agent says, and the answer      setup       memory, sockets, maps
//! privileges  what is given up                         run         rounds, sleep, the end
//! engine      from lanes to ports                      lane, slots, port  where frames come from and go to
//! work        what becomes of a frame                  inner, ways, order  forwarding of opened packets
//! aead, keys  sealing and opening
//! mapped, maps, sa, tally                              memory shared with the XDP programs
//! ```

mod aead;
mod budget;
mod checksum;
pub(crate) mod clock;
mod config;
mod engine;
mod inner;
mod keys;
mod lane;
pub(crate) mod mapped;
mod maps;
mod order;
mod plain;
mod port;
mod privileges;
mod run;
mod sa;
mod setup;
mod slots;
mod tally;
mod ways;
mod work;

use std::io::{BufRead as _, Read as _, Write as _};
use std::os::fd::AsFd as _;

use anyhow::{Context as _, Result};

pub use config::{CopyMode, LaneConfig, LaneReport, WorkerConfig, WorkerInterface, WorkerReport};

/// Longest configuration, in bytes.
const CONFIG_MAX: u64 = 1 << 20;

/// Runs a worker as this process. Returns when standard input is closed.
///
/// # Errors
/// The configuration makes no sense, or the kernel refuses something.
pub fn main() -> Result<()> {
    let config = read_config()?;
    privileges::stand_out()?;
    privileges::hide_memory()?;
    if let Some(cpu) = config.cpu {
        privileges::pin_to(cpu)?;
    }
    let umem = setup::memory(&config)?;
    let maps = maps::Maps::open(&config.pin_directory)?;
    let (engine, report) = setup::engine(&config, &maps, &umem)?;
    let lifeline = std::io::stdin().as_fd().try_clone_to_owned().context("no standard input")?;
    let watch = run::Watch::new(&engine, lifeline)?;
    privileges::drop_all()?;
    let mut answer = serde_json::to_string(&report).context("cannot write the answer as JSON")?;
    answer.push('\n');
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(answer.as_bytes()).and_then(|()| stdout.flush()).context("cannot answer")?;
    run::run(engine, watch, config.busy_poll)
}

fn read_config() -> Result<WorkerConfig> {
    let mut line = String::new();
    let mut stdin = std::io::stdin().lock().take(CONFIG_MAX);
    stdin.read_line(&mut line).context("cannot read the configuration")?;
    serde_json::from_str(&line).context("standard input holds no worker configuration")
}
