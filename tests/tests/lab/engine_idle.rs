//! A gateway with nothing to do takes no CPU.

use crate::support::{exercise, first_worker, with_engine};
use anyhow::{Context as _, Result, ensure};
use std::time::Duration;
use testbed::{Agent, GatewayOptions, scenario};

/// How long the processes are watched.
const WATCHED: Duration = Duration::from_secs(3);

#[test]
fn an_idle_gateway_sleeps_unless_told_not_to() {
    scenario("an_idle_gateway_sleeps_unless_told_not_to", 2, |lab| {
        let awake = GatewayOptions { busy_poll: true, ..with_engine("xsk") };
        let agents = [lab.start_agent(1, &with_engine("xsk"))?, lab.start_agent(2, &awake)?];
        lab.set_keys(&agents, "A1b2C3D4")?;
        lab.wait_connected(&agents)?;
        exercise(lab, 1, 2)?;
        let before = [ticks(&agents[0])?, ticks(&agents[1])?];
        std::thread::sleep(WATCHED);
        let [asleep, awake] = [ticks(&agents[0])? - before[0], ticks(&agents[1])? - before[1]];
        // The other gateway shows what this machine makes of a process that wants a whole CPU.
        ensure!(asleep * 10 < awake, "{asleep} ticks asleep, {awake} awake");
        Ok(())
    });
}

/// CPU time in clock ticks of the agent and its worker, in user space and in the kernel (`proc_pid_stat(5)`).
fn ticks(agent: &Agent) -> Result<u64> {
    let worker = first_worker(agent)?;
    let of = |process: String| {
        let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
        let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let field = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
        // Fields 14 and 15; the first here is field 3.
        field(11).zip(field(12)).map(|(user, system)| user + system).context("no times in its stat")
    };
    Ok(of(agent.id().to_string())? + of(worker.to_string())?)
}
