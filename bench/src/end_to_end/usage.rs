//! Who used the processors.

use std::fs;

use anyhow::{Context as _, Result};
use nix::unistd::{SysconfVar, sysconf};

use super::system::GatewayProcess;
use crate::usage::cpu_seconds;

/// Processor time so far, in seconds. Times of kernel work done in interrupt context count for whoever was interrupted, as
/// the kernel keeps them; only `busy` is free of that.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// All processors together, everything but idle and stolen time.
    pub(crate) busy: f64,
    /// Time that the hypervisor gave to others.
    pub(crate) stolen: f64,
    /// This process, which generates the load.
    pub(crate) generator: f64,
    /// The gateways' processes with their children.
    pub(crate) gateways: f64,
}

impl Usage {
    /// What was used so far; `gateways` are the processes that count as such.
    ///
    /// # Errors
    /// The kernel does not tell, or a process is gone.
    pub(crate) fn so_far(gateways: &[GatewayProcess]) -> Result<Self> {
        let (busy, stolen) = machine()?;
        let mut gateways_seconds = 0.0;
        for process in gateways {
            gateways_seconds +=
                with_children(process.id).with_context(|| format!("process {} has ended", process.name))?;
        }
        let generator = cpu_seconds(std::process::id())?;
        Ok(Self { busy, stolen, generator, gateways: gateways_seconds })
    }

    /// What was used since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        Self {
            busy: self.busy - before.busy,
            stolen: self.stolen - before.stolen,
            generator: self.generator - before.generator,
            gateways: self.gateways - before.gateways,
        }
    }
}

/// Busy and stolen time of all processors together, in seconds.
fn machine() -> Result<(f64, f64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let (busy, stolen) = parse(&stat).context("/proc/stat has no line of all processors")?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("the kernel does not tell its tick")? as f64;
    Ok((busy as f64 / per_second, stolen as f64 / per_second))
}

/// Ticks from the first line of proc_stat(5): `cpu user nice system idle iowait irq softirq steal guest guest_nice`. Guests'
/// time is part of `user`.
fn parse(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[user, nice, system, _idle, _iowait, irq, softirq, stolen, ..] = ticks.as_slice() else {
        return None;
    };
    Some((user + nice + system + irq + softirq, stolen))
}

/// Processor time of a process and of all its descendants that live.
fn with_children(process: u32) -> Result<f64> {
    let mut seconds = cpu_seconds(process)?;
    for thread in fs::read_dir(format!("/proc/{process}/task"))?.flatten() {
        // A thread, and a child, may end meanwhile.
        let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        for child in children.split_whitespace().filter_map(|child| child.parse().ok()) {
            seconds += with_children(child).unwrap_or_default();
        }
    }
    Ok(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};
    use std::time::{Duration, Instant};

    #[test]
    fn busy_time_is_all_but_idle_and_stolen_time() {
        let stat = "cpu  1 20 300 9999 8888 4000 50000 600000 7777 6666\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(parse(stat), Some((54_321, 600_000)));
        assert_eq!(parse("intr 1 2 3"), None);
    }

    #[test]
    fn time_of_children_is_counted() {
        // The shell waits for its child, which works.
        let mut shell = Command::new("sh")
            .args(["-c", "sh -c 'while :; do :; done' & read line; kill $!"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while with_children(shell.id()).unwrap() < 0.1 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        let (all, alone) = (with_children(shell.id()).unwrap(), cpu_seconds(shell.id()).unwrap());
        drop(shell.stdin.take());
        shell.wait().unwrap();
        assert!(all >= 0.1 && alone < all, "{all} and {alone}");
    }
}
