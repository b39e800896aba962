//! Floods from the wide-area network leave no more behind than a bounded number of lines, bytes and IKE SAs, and the tunnel works on.

use crate::support::{exercise, number, with_both_engines};
use anyhow::{Context as _, Result, ensure};
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use testbed::{Agent, Attacker, FloodKind, poll_until};

/// Frames of each flood.
const FRAMES: u64 = 100_000;
/// Lines that the agent may log about one.
const LINES: usize = 40;
/// Memory that the agent may have more than before all of them, in KiB. Half-open IKE SAs and what the allocator keeps.
const MEMORY_KIB: u64 = 16 * 1024;
/// IKE SAs of the connection, and half-open ones: half of what one source may have. Others must return a cookie first.
const IKE_SAS: u64 = 1 + 8;

#[test]
fn floods_leave_bounded_state_and_logs() {
    with_both_engines("floods_leave_bounded_state_and_logs", 2, |lab, options| {
        let agents = lab.establish(options)?;
        exercise(lab, 1, 2)?;
        exercise(lab, 2, 1)?;
        let target = &agents[1];
        let mut attacker = Attacker::new(lab, 1, 2)?;
        let memory = resident_kib(target)?;
        for kind in FloodKind::ALL {
            let (lines, drops) = (target.log().lines().count(), drops(target, kind)?);
            let taken = attacker.flood(kind, FRAMES, None, &AtomicBool::new(false))?;
            ensure!(taken > FRAMES / 100, "{}: the cable took {taken} frames", kind.name());
            if kind.reason().is_some() {
                poll_until(Duration::from_secs(20), "the drops are counted", || {
                    let counted = self::drops(target, kind)? - drops;
                    ensure!(counted <= taken, "{}: {counted} drops of {taken} frames", kind.name());
                    Ok((counted > taken / 2).then_some(()))
                })
                .with_context(|| format!("{}: {taken} frames, {:?}", kind.name(), target.vgw().status()))?;
            }
            exercise(lab, 1, 2).with_context(|| format!("after {}", kind.name()))?;
            let lines = target.log().lines().count() - lines;
            ensure!(lines <= LINES, "{}: {lines} lines were logged: {}", kind.name(), target.log());
            let sas = number(&target.vgw().status()?, "ike_sas")?;
            let expected = if kind == FloodKind::InitOfPeer { IKE_SAS } else { 1 };
            ensure!(sas == expected, "{}: {sas} IKE SAs in place of {expected}", kind.name());
        }
        let more = resident_kib(target)?.saturating_sub(memory);
        ensure!(more <= MEMORY_KIB, "the agent took {more} KiB more");
        exercise(lab, 2, 1)?;
        Ok(agents)
    });
}

/// Packets that the agent's gateway dropped for the reason that it has for a kind of flood.
fn drops(agent: &Agent, kind: FloodKind) -> Result<u64> {
    let status = agent.vgw().status()?;
    Ok(kind.reason().and_then(|reason| status["drops"][reason].as_u64()).unwrap_or(0))
}

/// Memory of the agent's process in KiB.
fn resident_kib(agent: &Agent) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no resident memory")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
