//! Workers that die or hang cost speed, and at most what was in their rings.

use crate::support::{events, exercise, first_worker, lanes, no_wrong_drops, number, stalled, with_engine};
use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::path::Path;
use std::time::Duration;
use testbed::traffic::{DatagramReport, DatagramSink, send_datagrams};
use testbed::{Agent, Capture, Lab, PacketClass, Site, poll_until, scenario};

/// Datagrams per second and direction.
const RATE: u32 = 4000;

/// How long the datagrams flow.
const LOAD: Duration = Duration::from_secs(8);

/// Frames that may be on their way to a worker, per receive queue.
const RING: u32 = 256;

/// How long a worker may take to be started again, and a hang to be seen, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn killing_workers_under_load_loses_no_more_than_their_rings() {
    scenario("killing_workers_under_load_loses_no_more_than_their_rings", 2, |lab| {
        let agents =
            lab.establish(&testbed::GatewayOptions { ring_size: Some(RING), ..with_engine("xsk") })?;
        exercise(lab, 1, 2)?;
        let spi = agents[0].vgw().connection("VNet2")?["inbound_spi"].clone();
        let capture = Capture::start(&lab.inet, &lab.site(1).inet_port(), b"no payload of this test")?;
        let kills = 3;
        let (sent, reports) = under_load(lab, || {
            for round in 1..=kills {
                std::thread::sleep(Duration::from_millis(500));
                let before = first_worker(&agents[0])?;
                kill(Pid::from_raw(before), Signal::SIGKILL)?;
                // The next one takes over again.
                let after = wait_for_restarts(&agents[0], round)?;
                ensure!(after != before, "worker {after} was started again");
                wait_for_more(&agents[0])?;
            }
            Ok(())
        })?;
        let wire = capture.stop();
        ensure!(
            wire.count(PacketClass::Esp) > sent[0],
            "the capture saw {} packets",
            wire.count(PacketClass::Esp)
        );
        ensure!(wire.repeated_esp() == 0, "{} sequence numbers were used twice", wire.repeated_esp());
        // Each direction crosses one lane of the worker's per gateway; what was sealed and not yet sent lies in a ring as long.
        let most = kills * 2 * u64::from(RING);
        let statuses = [agents[0].vgw().status()?, agents[1].vgw().status()?];
        let stood_still = statuses.iter().any(|status| stalled(status) > 0);
        for (sent, report) in sent.iter().zip(&reports) {
            ensure!(report.received + most >= *sent, "of {sent} datagrams arrived {report:?}");
            ensure!((report.duplicates, report.corrupt) == (0, 0), "{report:?}");
            // Those that take another way around a death, or around a worker that gets no CPU, may overtake; no others.
            ensure!(report.reordered <= most || stood_still, "{report:?}");
        }
        let status = agents[0].vgw().status()?;
        ensure!(status["connections"][0]["inbound_spi"] == spi, "the connection stayed up: {status}");
        ensure!(events(&agents[0], 232)? == kills as usize && events(&agents[0], 233)? == kills as usize);
        no_wrong_drops(&agents)
    });
}

#[test]
fn a_worker_that_hangs_is_replaced_and_traffic_goes_on() {
    scenario("a_worker_that_hangs_is_replaced_and_traffic_goes_on", 2, |lab| {
        let agents =
            lab.establish(&testbed::GatewayOptions { ring_size: Some(RING), ..with_engine("xsk") })?;
        exercise(lab, 1, 2)?;
        let (sent, reports) = under_load(lab, || {
            std::thread::sleep(Duration::from_millis(500));
            kill(Pid::from_raw(first_worker(&agents[0])?), Signal::SIGSTOP)?;
            wait_for_restarts(&agents[0], 1)?;
            wait_for_more(&agents[0])
        })?;
        for (sent, report) in sent.iter().zip(&reports) {
            ensure!(report.received + 2 * u64::from(RING) >= *sent, "of {sent} datagrams arrived {report:?}");
            ensure!((report.duplicates, report.corrupt) == (0, 0), "{report:?}");
        }
        let status = agents[0].vgw().status()?;
        let kernel = lanes(&status, Site::LAN, "stalled")? + lanes(&status, Site::LAN, "full")?;
        ensure!(kernel > 0, "packets went around the worker that hung: {status}");
        let error = &status["engine"]["workers"][0]["last_error"];
        ensure!(error.as_str().is_some_and(|error| error.contains("did nothing about")), "{status}");
        no_wrong_drops(&agents)
    });
}

#[test]
fn without_its_agent_a_worker_ends_and_the_kernel_goes_on() {
    scenario("without_its_agent_a_worker_ends_and_the_kernel_goes_on", 2, |lab| {
        let mut agents =
            lab.establish(&testbed::GatewayOptions { ring_size: Some(RING), ..with_engine("xsk") })?;
        exercise(lab, 1, 2)?;
        let worker = format!("/proc/{}", first_worker(&agents[0])?);
        let agent = &mut agents[0];
        let (sent, reports) = under_load(lab, || {
            std::thread::sleep(Duration::from_millis(500));
            agent.stop(Signal::SIGKILL)?;
            poll_until(PATIENCE, "the worker ends", || Ok((!is_running(&worker)).then_some(())))
        })?;
        for (sent, report) in sent.iter().zip(&reports) {
            ensure!(report.received + 2 * u64::from(RING) >= *sent, "of {sent} datagrams arrived {report:?}");
            ensure!((report.duplicates, report.corrupt) == (0, 0), "{report:?}");
        }
        exercise(lab, 1, 2)?;
        agents[0].start_again()?;
        lab.wait_connected(&agents)?;
        first_worker(&agents[0]).map(|_| ())
    });
}

/// Runs `disturb` while numbered datagrams flow both ways between the hosts of sites 1 and 2. How many were sent, and what
/// arrived, from 1 to 2 and from 2 to 1.
fn under_load(lab: &Lab, disturb: impl FnOnce() -> Result<()>) -> Result<([u64; 2], [DatagramReport; 2])> {
    let ends = [(lab.site(1), lab.site(2)), (lab.site(2), lab.site(1))];
    let sink = |to: &Site| DatagramSink::start(&to.host, to.host_address());
    let sinks = [sink(ends[0].1)?, sink(ends[1].1)?];
    let sent = std::thread::scope(|scope| {
        let senders = [0, 1].map(|index| {
            let (from, peer) = (ends[index].0, sinks[index].address());
            scope.spawn(move || send_datagrams(&from.host, from.host_address(), peer, 300, RATE, LOAD))
        });
        let disturbed = disturb();
        let sent = senders.map(|sender| sender.join().expect("the sender does not panic"));
        disturbed?;
        let [there, back] = sent;
        Ok::<_, anyhow::Error>([there?, back?])
    })?;
    // What is on its way arrives.
    std::thread::sleep(Duration::from_millis(500));
    Ok((sent, sinks.map(DatagramSink::stop)))
}

/// Waits until the first worker was started so often again and works; its process ID.
fn wait_for_restarts(agent: &Agent, restarts: u64) -> Result<i32> {
    poll_until(PATIENCE, "the worker works again", || {
        let status = agent.vgw().status()?;
        let worker = &status["engine"]["workers"][0];
        ensure!(worker["restarts"] == restarts && worker["state"] == "running", "{status}");
        Ok(Some(number(worker, "pid")?.try_into()?))
    })
}

/// Waits until workers get frames of both directions.
fn wait_for_more(agent: &Agent) -> Result<()> {
    let frames = || {
        let status = agent.vgw().status()?;
        Ok::<_, anyhow::Error>([
            lanes(&status, Site::LAN, "handed_over")?,
            lanes(&status, Site::WAN, "handed_over")?,
        ])
    };
    let before = frames()?;
    poll_until(PATIENCE, "the worker gets frames", || {
        let now = frames()?;
        Ok(now.iter().zip(before).all(|(now, before)| *now > before + 100).then_some(()))
    })
    .context("after its restart")
}

/// Whether the process is there, and is no zombie.
fn is_running(process: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new(process).join("stat")).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| !rest.is_empty() && !rest.trim_start().starts_with(['Z', 'X']))
}
