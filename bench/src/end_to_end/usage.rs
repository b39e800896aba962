//! Who used the processors.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_gettime};
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
    let (idle, stolen) = parse(&stat).context("/proc/stat has no line of all processors")?;
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("the kernel does not tell its tick")? as f64;
    let processors =
        sysconf(SysconfVar::_NPROCESSORS_ONLN)?.context("the kernel does not tell its processors")?;
    let since_start = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME)?).as_secs_f64();
    let all = since_start * processors as f64;
    Ok((all - (idle + stolen) as f64 / per_second, stolen as f64 / per_second))
}

/// Idle and stolen ticks from the first line of proc_stat(5): `cpu user nice system idle iowait irq softirq steal guest
/// guest_nice`. The kernel measures idle time, and samples the others: who sleeps before each tick goes unseen there.
fn parse(stat: &str) -> Option<(u64, u64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
    let &[_user, _nice, _system, idle, iowait, _irq, _softirq, stolen, ..] = ticks.as_slice() else {
        return None;
    };
    Some((idle + iowait, stolen))
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
    use std::time::Instant;

    #[test]
    fn idle_and_stolen_time_are_those_of_all_processors() {
        let stat = "cpu  1 20 300 9999 8888 4000 50000 600000 7777 6666\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(parse(stat), Some((18_887, 600_000)));
        assert_eq!(parse("intr 1 2 3"), None);
    }

    #[test]
    fn a_thread_that_works_makes_the_machine_busy() {
        let (before, start) = (machine().unwrap(), Instant::now());
        while start.elapsed() < Duration::from_millis(300) {}
        let (after, stolen) = machine().unwrap();
        let used = after - before.0 + (stolen - before.1);
        assert!(used > 0.2, "{used} s");
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
