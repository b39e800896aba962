//! Interfaces with more receive queues than the machine has processors, served by one worker or several.
//!
//! One SA is used from every queue at once: sequence numbers are drawn on several processors, and what arrives at the peer
//! is accepted on several.

use crate::support::{no_wrong_drops, number};
use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;
use testbed::traffic::{DatagramReport, DatagramSink, send_datagrams};
use testbed::{Agent, GatewayOptions, Lab, Site, poll_until, scenario_in};

const QUEUES: u32 = 8;
/// Flows per direction that run at once.
const FLOWS: usize = 24;
/// Datagrams per second of a flow.
const RATE: u32 = 150;
/// The same while a worker dies: in the time until the next one is there, many times what its rings hold.
const RATE_AT_DEATH: u32 = 400;
const PAYLOAD: usize = 300;
/// Frames that may be on their way to a worker, per receive queue: enough that a busy machine fills none.
const RING: u32 = 1024;
/// The same where a worker dies.
const RING_AT_DEATH: u32 = 64;
/// How long a wave of flows runs.
const WAVE: Duration = Duration::from_millis(1500);
/// Waves until every queue has been used: flows choose their queue by a hash that nobody knows.
const WAVES: u32 = 12;
/// How long a killed worker may be away on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn one_worker_serves_eight_queues() {
    all_queues_carry("one_worker_serves_eight_queues", 1);
}

#[test]
fn two_workers_share_eight_queues() {
    all_queues_carry("two_workers_share_eight_queues", 2);
}

#[test]
fn eight_workers_have_a_queue_each() {
    all_queues_carry("eight_workers_have_a_queue_each", 8);
}

#[test]
fn the_death_of_one_worker_disturbs_no_other_queue_for_long() {
    let name = "the_death_of_one_worker_disturbs_no_other_queue_for_long";
    scenario_in(
        name,
        |lab| lab.sites(2).queues(QUEUES),
        |lab| {
            let agents = establish(lab, 2, RING_AT_DEATH)?;
            every_queue_is_used(lab, &agents, 2)?;
            let wave = wave(lab, RATE_AT_DEATH, || {
                std::thread::sleep(WAVE / 3);
                let status = agents[0].vgw().status()?;
                let victim = number(&status["engine"]["workers"][0], "pid")?;
                Ok(kill(Pid::from_raw(victim.try_into()?), Signal::SIGKILL)?)
            })?;
            for flows in &wave {
                let lost: u64 = flows.iter().map(|(sent, report)| sent - report.received).sum();
                // What lay in the rings of the worker: on its way in from its half of the queues, on its way out to the other side
                // and to the kernel.
                let most = u64::from(RING_AT_DEATH * (QUEUES / 2 + 2));
                ensure!(lost <= most, "{lost} datagrams were lost, not {most} at most");
                let whole =
                    |(_, report): &(u64, DatagramReport)| (report.duplicates, report.corrupt) == (0, 0);
                ensure!(flows.iter().all(whole), "{flows:?}");
            }
            poll_until(PATIENCE, "the worker is there again", || {
                let status = agents[0].vgw().status()?;
                let worker = &status["engine"]["workers"][0];
                ensure!(worker["restarts"] == 1 && worker["state"] == "running", "{status}");
                Ok(Some(()))
            })?;
            every_queue_is_used(lab, &agents, 2)
        },
    );
}

fn all_queues_carry(name: &str, workers: u32) {
    scenario_in(
        name,
        |lab| lab.sites(2).queues(QUEUES),
        |lab| {
            let agents = establish(lab, workers, RING)?;
            every_queue_is_used(lab, &agents, workers)
        },
    );
}

fn establish(lab: &Lab, workers: u32, ring: u32) -> Result<Vec<Agent>> {
    let engine = Some("xsk".to_owned());
    let options =
        GatewayOptions { engine, workers: Some(workers), ring_size: Some(ring), ..GatewayOptions::default() };
    let agents = lab.establish(&options)?;
    lab.wait_reachable(1, 2)?;
    Ok(agents)
}

/// Lets flows run until every queue that packets can come from has been used, and checks that each flow arrived whole and in
/// order.
fn every_queue_is_used(lab: &Lab, agents: &[Agent], workers: u32) -> Result<()> {
    let before = statuses(agents)?;
    let mut undisturbed = 0;
    for _ in 0..WAVES {
        let detours = detours(agents)?;
        let wave = wave(lab, RATE, || Ok(()))?;
        let straight = self::detours(agents)? == detours;
        undisturbed += u32::from(straight);
        for (sent, report) in wave.iter().flatten() {
            ensure!(
                (report.received, report.duplicates, report.corrupt) == (*sent, 0, 0),
                "{report:?} of {sent}"
            );
            // A packet that finds a worker's ring full takes the kernel engine, and may arrive before those in the ring.
            ensure!(!straight || report.reordered == 0, "{report:?} of {sent}");
        }
        let after = statuses(agents)?;
        if undisturbed > 0 && (0..agents.len()).all(|index| all_used(&before[index], &after[index], workers))
        {
            return no_wrong_drops(agents);
        }
    }
    anyhow::bail!("{undisturbed} waves were undisturbed; {:?}", statuses(agents)?)
}

/// Whether more frames than before came from every queue of the hosts, and from several of those that the peer's workers
/// send on: between the gateways the internet's router chooses queues, too.
fn all_used(before: &Value, after: &Value, workers: u32) -> bool {
    let used = |interface| {
        let (before, after) = (handed_over(before, interface), handed_over(after, interface));
        (0..QUEUES).filter(|queue| after.get(queue) > before.get(queue)).count()
    };
    used(Site::LAN) == QUEUES as usize && used(Site::WAN) >= workers.div_ceil(2) as usize
}

/// Frames that workers got, by receive queue.
fn handed_over(status: &Value, interface: &str) -> BTreeMap<u32, u64> {
    let lanes = lanes(status).filter(|lane| lane["interface"] == interface);
    let pair = |lane: &Value| Some((lane["queue"].as_u64()?.try_into().ok()?, lane["handed_over"].as_u64()?));
    lanes.filter_map(pair).collect()
}

/// Frames that workers did not get because a ring was full or a worker slow.
fn detours(agents: &[Agent]) -> Result<u64> {
    let count = |lane: &Value| lane["full"].as_u64().unwrap_or(0) + lane["stalled"].as_u64().unwrap_or(0);
    Ok(statuses(agents)?.iter().flat_map(lanes).map(count).sum())
}

fn lanes(status: &Value) -> impl Iterator<Item = &Value> {
    let workers = status["engine"]["workers"].as_array().into_iter().flatten();
    workers.filter_map(|worker| worker["lanes"].as_array()).flatten()
}

fn statuses(agents: &[Agent]) -> Result<Vec<Value>> {
    agents.iter().map(|agent| agent.vgw().status()).collect()
}

/// Numbered datagrams in [`FLOWS`] flows of `rate` per second from site 1 to 2 and as many back, while `disturb` runs: for each
/// flow what was sent and what arrived.
fn wave(
    lab: &Lab,
    rate: u32,
    disturb: impl FnOnce() -> Result<()>,
) -> Result<[Vec<(u64, DatagramReport)>; 2]> {
    let directions = [(lab.site(1), lab.site(2)), (lab.site(2), lab.site(1))];
    let mut sinks = Vec::new();
    for (_, to) in &directions {
        for _ in 0..FLOWS {
            sinks.push(DatagramSink::start(&to.host, to.host_address())?);
        }
    }
    let sent: Vec<u64> = std::thread::scope(|scope| {
        let senders: Vec<_> = sinks
            .iter()
            .enumerate()
            .map(|(index, sink)| {
                let (from, _) = directions[index / FLOWS];
                let peer = sink.address();
                scope
                    .spawn(move || send_datagrams(&from.host, from.host_address(), peer, PAYLOAD, rate, WAVE))
            })
            .collect();
        let disturbed = disturb();
        let sent = senders.into_iter().map(|sender| sender.join().expect("the sender does not panic"));
        let sent = sent.collect::<Result<_>>();
        disturbed.and(sent)
    })?;
    // What is on its way arrives.
    std::thread::sleep(Duration::from_millis(300));
    let mut flows = sent.into_iter().zip(sinks.into_iter().map(DatagramSink::stop));
    let there = flows.by_ref().take(FLOWS).collect();
    Ok([there, flows.collect()])
}
