//! A hundred rekeys under load, begun by both ends in turn, lose not one datagram.
//!
//! The load is as much as this machine carries with room to spare, which is found out first. Links and hosts count what they drop
//! for want of room; a part of the run in which they did says nothing about rekeys and is done again.

use crate::support::{number, with_both_engines};
use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use testbed::traffic::{DatagramReport, DatagramSink, send_datagrams_while};
use testbed::{Agent, Lab, NetNs, Site, poll_until};

/// Rekeys of one run, the same number by each end.
const REKEYS: u64 = 100;

/// Rekeys in one part of the run.
const PART: u64 = 20;

/// Parts that may be done again.
const REPEATS: usize = 5;

/// Datagrams per second and direction that are tried, the most first.
const RATES: [u32; 6] = [64_000, 32_000, 16_000, 8_000, 4_000, 2_000];

/// How long each is tried.
const TRIAL: Duration = Duration::from_secs(1);

/// Bytes of each datagram.
const PAYLOAD: usize = 64;

/// How long each Child SA carries the load at least. The datapath has room for a limited number of old SAs, which stay for seconds.
const BETWEEN: Duration = Duration::from_millis(100);

/// How long one rekey may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_hundred_rekeys_by_both_ends_under_load_lose_nothing() {
    with_both_engines("a_hundred_rekeys_by_both_ends_under_load_lose_nothing", 2, |lab, options| {
        let agents = lab.establish(options)?;
        lab.wait_reachable(1, 2)?;
        let rate = sustainable_rate(lab, &agents)?;
        let before = rekeys(&agents)?;
        let (mut done, mut repeats, mut sent, mut took) = (0, 0, 0, Duration::ZERO);
        while done < REKEYS {
            let run = run(lab, &agents, rate, || (0..PART).try_for_each(|turn| rekey(&agents, turn)))?;
            run.ensure_intact()?;
            if run.crowded() == 0 {
                ensure!(
                    run.lost() == 0,
                    "lost at {rate} datagrams per second, and nobody dropped it: {run:?}"
                );
                done += PART;
                sent += run.sent.iter().sum::<u64>();
                took += run.took;
            } else {
                // What got lost, got lost there.
                ensure!(run.lost() <= run.crowded(), "{run:?}");
                repeats += 1;
                ensure!(
                    repeats <= REPEATS,
                    "links or hosts drop at {rate} datagrams per second, again and again: {run:?}"
                );
            }
        }
        let after = rekeys(&agents)?;
        let all = REKEYS + PART * repeats as u64;
        ensure!(
            (0..2).all(|end| after[end] - before[end] == all),
            "{all} wanted: {before:?} before, {after:?} after"
        );
        eprintln!(
            "{REKEYS} rekeys in {took:?}, {sent} datagrams, {rate} per second and direction; {repeats} parts done again"
        );
        Ok(agents)
    });
}

/// What became of datagrams from site 1 to 2 and from 2 to 1, and what was counted meanwhile.
#[derive(Debug)]
struct Run {
    sent: [u64; 2],
    took: Duration,
    reports: [DatagramReport; 2],
    /// What links and hosts dropped for want of room, by place.
    crowded: BTreeMap<String, u64>,
    /// What each gateway has dropped, before and after.
    drops: [[Value; 2]; 2],
}

impl Run {
    fn lost(&self) -> u64 {
        self.sent.iter().zip(&self.reports).map(|(sent, report)| sent - report.received).sum()
    }

    /// Datagrams per second and direction.
    fn rate(&self) -> u128 {
        u128::from(self.sent.iter().sum::<u64>()) * 1000 / 2 / self.took.as_millis().max(1)
    }

    fn crowded(&self) -> u64 {
        self.crowded.values().sum()
    }

    /// Whatever was lost: nothing came twice or changed, and no gateway dropped anything.
    fn ensure_intact(&self) -> Result<()> {
        let is_intact = self.reports.iter().all(|report| (report.duplicates, report.corrupt) == (0, 0));
        ensure!(is_intact && self.drops[0] == self.drops[1], "{self:?}");
        Ok(())
    }
}

/// Has datagrams flow both ways while `work` is done.
fn run(lab: &Lab, agents: &[Agent], rate: u32, work: impl FnOnce() -> Result<()>) -> Result<Run> {
    let ends = [(lab.site(1), lab.site(2)), (lab.site(2), lab.site(1))];
    let sink = |to: &Site| DatagramSink::start(&to.host, to.host_address());
    let sinks = [sink(ends[0].1)?, sink(ends[1].1)?];
    let (drops_before, crowded_before) = (drops(agents)?, crowded(lab)?);
    let goes_on = AtomicBool::new(true);
    let start = Instant::now();
    let sent = std::thread::scope(|scope| {
        let senders = [0, 1].map(|index| {
            let (from, peer, goes_on) = (ends[index].0, sinks[index].address(), &goes_on);
            scope.spawn(move || {
                let goes_on = || goes_on.load(Ordering::Relaxed);
                send_datagrams_while(&from.host, from.host_address(), peer, PAYLOAD, rate, goes_on)
            })
        });
        let worked = work();
        goes_on.store(false, Ordering::Relaxed);
        let [there, back] = senders.map(|sender| sender.join().expect("the sender does not panic"));
        worked?;
        Ok::<_, anyhow::Error>([there?, back?])
    })?;
    let took = start.elapsed();
    // What is on its way arrives: nothing does for a while.
    let received = || sinks.each_ref().map(|sink| sink.snapshot().received);
    poll_until(PATIENCE, "the last datagrams arrive", || {
        let before = received();
        std::thread::sleep(Duration::from_millis(300));
        Ok((received() == before).then_some(()))
    })?;
    let mut crowded = crowded(lab)?;
    for (place, count) in &mut crowded {
        *count -= crowded_before.get(place).unwrap_or(&0);
    }
    crowded.retain(|_, count| *count > 0);
    let reports = sinks.map(DatagramSink::stop);
    Ok(Run { sent, took, reports, crowded, drops: [drops_before, drops(agents)?] })
}

/// Datagrams per second and direction: half of the most at which nothing gets lost without rekeys, and without loss itself.
fn sustainable_rate(lab: &Lab, agents: &[Agent]) -> Result<u32> {
    for rate in RATES {
        let is_carried = |rate| -> Result<bool> {
            let run = run(lab, agents, rate, || {
                std::thread::sleep(TRIAL);
                Ok(())
            })?;
            run.ensure_intact()?;
            // A sender that gets too little of the processors is no proof.
            Ok(run.lost() == 0 && run.crowded() == 0 && run.rate() > u128::from(rate) * 9 / 10)
        };
        if is_carried(rate)? && is_carried(rate / 2)? {
            return Ok(rate / 2);
        }
    }
    bail!("this machine does not carry {} datagrams per second", RATES[RATES.len() - 1])
}

/// The Child SA is rekeyed by one of the ends, and both have done it.
fn rekey(agents: &[Agent], turn: u64) -> Result<()> {
    std::thread::sleep(BETWEEN);
    let before = rekeys(agents)?;
    let (agent, [vnet, site]) = if turn.is_multiple_of(2) {
        (&agents[0], ["VNet1", "VNet2"])
    } else {
        (&agents[1], ["VNet2", "VNet1"])
    };
    agent.vgw().text(&["connection", "rekey", vnet, site])?;
    poll_until(PATIENCE, "both ends have rekeyed", || {
        let after = rekeys(agents)?;
        Ok((0..2).all(|end| after[end] > before[end]).then_some(()))
    })
}

/// How often the Child SA was rekeyed, at each end.
fn rekeys(agents: &[Agent]) -> Result<[u64; 2]> {
    let count = |agent: &Agent, site| number(&agent.vgw().connection(site)?, "rekeys");
    Ok([count(&agents[0], "VNet2")?, count(&agents[1], "VNet1")?])
}

/// What each gateway has dropped, by reason.
fn drops(agents: &[Agent]) -> Result<[Value; 2]> {
    let of = |agent: &Agent| -> Result<Value> { Ok(agent.vgw().status()?["drops"].take()) };
    Ok([of(&agents[0])?, of(&agents[1])?])
}

/// What links and hosts have dropped for want of room: frames at every port, datagrams at full sockets.
fn crowded(lab: &Lab) -> Result<BTreeMap<String, u64>> {
    let sites = lab.sites().iter().flat_map(|site| [&site.host, &site.gateway]);
    let mut counts = BTreeMap::new();
    for namespace in sites.chain([&lab.inet]) {
        counts.extend(dropped_frames(namespace)?);
        counts.insert(format!("{} sockets", namespace.name()), dropped_datagrams(namespace)?);
    }
    Ok(counts)
}

/// Columns of `/proc/net/dev` behind the colon: receive bytes, packets, errs, drop, fifo, frame, compressed, multicast, then the
/// same for transmission.
fn dropped_frames(namespace: &NetNs) -> Result<BTreeMap<String, u64>> {
    let text = namespace.enter(|| std::fs::read_to_string("/proc/thread-self/net/dev"))??;
    let ports = text.lines().filter_map(|line| line.split_once(':'));
    let count = |(port, columns): (&str, &str)| {
        let columns: Vec<u64> = columns.split_whitespace().filter_map(|column| column.parse().ok()).collect();
        let [received, sent] = [3, 11].map(|column| columns.get(column).copied());
        let dropped = received.zip(sent).with_context(|| format!("no counters in {text}"))?;
        Ok((format!("{} {}", namespace.name(), port.trim()), dropped.0 + dropped.1))
    };
    ports.map(count).collect()
}

/// `RcvbufErrors` and the like: what UDP could not deliver to a socket.
fn dropped_datagrams(namespace: &NetNs) -> Result<u64> {
    let text = namespace.enter(|| std::fs::read_to_string("/proc/thread-self/net/snmp"))??;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = lines.next().zip(lines.next()).with_context(|| format!("no UDP in {text}"))?;
    let mut columns = names.split_whitespace().zip(values.split_whitespace());
    let (_, value) = columns.find(|(name, _)| *name == "InErrors").context("UDP counts its errors")?;
    Ok(value.parse()?)
}
