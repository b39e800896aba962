//! A ring that is full sends the rest through the kernel.

use crate::support::{exercise, first_worker, lanes, with_engine};
use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::UdpSocket;
use std::time::Duration;
use testbed::traffic::{DatagramSink, send_datagrams};
use testbed::{Agent, GatewayOptions, HandOver, Lab, Site, poll_until, scenario, skip_unless_capable};

/// Entries of a worker's rings.
const RING: usize = 8;

/// Each way to a worker, with the number of frames that may be on it: of slots two always stay empty.
const WAYS: [(HandOver, usize); 2] = [(HandOver::Any, RING - 2), (HandOver::Sockets, RING)];

/// Datagrams sent while the worker is stopped.
const BURST: usize = 200;

/// Runs `body` in a laboratory whose gateway 1 has the small rings, for each way to its worker.
fn each_way(name: &str, body: impl Fn(&Lab, &[Agent; 2], usize) -> Result<()>) {
    if skip_unless_capable(name) {
        return;
    }
    for (hand_over, room) in WAYS {
        scenario(&format!("{name} ({hand_over:?})"), 2, |lab| {
            let options = GatewayOptions { ring_size: Some(RING as u32), hand_over, ..with_engine("xsk") };
            let agents = [lab.start_agent(1, &options)?, lab.start_agent(2, &with_engine("kernel"))?];
            lab.set_keys(&agents, "A1b2C3D4")?;
            lab.wait_connected(&agents)?;
            exercise(lab, 1, 2)?;
            body(lab, &agents, room)
        });
    }
}

#[test]
fn what_finds_the_ring_full_takes_the_kernel_and_nothing_is_lost() {
    each_way("what_finds_the_ring_full_takes_the_kernel_and_nothing_is_lost", |lab, agents, room| {
        let (near, far) = (lab.site(1), lab.site(2));
        let sink = far.host.enter(|| UdpSocket::bind((far.host_address(), 0)))??;
        sink.set_read_timeout(Some(Duration::from_secs(5)))?;
        let source = near.host.enter(|| UdpSocket::bind((near.host_address(), 0)))??;
        let before = lanes(&agents[0].vgw().status()?, Site::LAN, "full")?;

        let worker = Pid::from_raw(first_worker(&agents[0])?);
        kill(worker, Signal::SIGSTOP)?;
        for number in 0..BURST {
            source.send_to(&number.to_be_bytes(), sink.local_addr()?)?;
        }
        let mut arrived = Vec::new();
        let mut buffer = [0; 8];
        while arrived.len() < BURST - room {
            ensure!(sink.recv(&mut buffer)? == buffer.len());
            arrived.push(usize::from_be_bytes(buffer));
        }
        kill(worker, Signal::SIGCONT)?;
        while arrived.len() < BURST {
            ensure!(sink.recv(&mut buffer)? == buffer.len());
            arrived.push(usize::from_be_bytes(buffer));
        }
        // Those that had to wait for the worker are the first ones.
        let late: Vec<_> = arrived.split_off(BURST - room);
        ensure!(arrived.iter().copied().eq(room..BURST), "{arrived:?}");
        ensure!(late.iter().copied().eq(0..room), "{late:?}");
        let full = lanes(&agents[0].vgw().status()?, Site::LAN, "full")? - before;
        ensure!(full == (BURST - room) as u64, "{full} found the ring full");
        exercise(lab, 1, 2)
    });
}

#[test]
fn packets_that_thousands_overtook_are_not_too_late() {
    each_way("packets_that_thousands_overtook_are_not_too_late", |lab, agents, room| {
        let (near, far) = (lab.site(1), lab.site(2));
        let sink = DatagramSink::start(&far.host, far.host_address())?;
        let worker = Pid::from_raw(first_worker(&agents[0])?);
        kill(worker, Signal::SIGSTOP)?;
        let load = (20_000, Duration::from_millis(300));
        let sent = send_datagrams(&near.host, near.host_address(), sink.address(), 64, load.0, load.1)?;
        kill(worker, Signal::SIGCONT)?;
        // More than a full ring of the usual size.
        ensure!(sent > 5000, "{sent} were sent");
        let late = poll_until(Duration::from_secs(5), "all arrive", || {
            let report = sink.snapshot();
            Ok((report.received == sent).then_some(report.reordered))
        })?;
        ensure!(late == room as u64, "{late} were overtaken");
        Ok(())
    });
}
