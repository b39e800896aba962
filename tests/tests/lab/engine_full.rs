//! A ring that is full sends the rest through the kernel.

use crate::support::{exercise, first_worker, lanes, with_engine};
use anyhow::ensure;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::net::UdpSocket;
use std::time::Duration;
use testbed::traffic::{DatagramSink, send_datagrams};
use testbed::{GatewayOptions, Site, poll_until, scenario};

/// Frames that may be on their way to a worker.
const RING: usize = 8;

/// Datagrams sent while the worker is stopped.
const BURST: usize = 200;

#[test]
fn what_finds_the_ring_full_takes_the_kernel_and_nothing_is_lost() {
    scenario("what_finds_the_ring_full_takes_the_kernel_and_nothing_is_lost", 2, |lab| {
        let options = GatewayOptions { ring_size: Some(RING as u32), ..with_engine("xsk") };
        let agents = [lab.start_agent(1, &options)?, lab.start_agent(2, &with_engine("kernel"))?];
        lab.set_keys(&agents, "A1b2C3D4")?;
        lab.wait_connected(&agents)?;
        exercise(lab, 1, 2)?;
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
        while arrived.len() < BURST - RING {
            ensure!(sink.recv(&mut buffer)? == buffer.len());
            arrived.push(usize::from_be_bytes(buffer));
        }
        kill(worker, Signal::SIGCONT)?;
        while arrived.len() < BURST {
            ensure!(sink.recv(&mut buffer)? == buffer.len());
            arrived.push(usize::from_be_bytes(buffer));
        }
        // Those that had to wait for the worker are the first ones.
        let late: Vec<_> = arrived.split_off(BURST - RING);
        ensure!(arrived.iter().copied().eq(RING..BURST), "{arrived:?}");
        ensure!(late.iter().copied().eq(0..RING), "{late:?}");
        let full = lanes(&agents[0].vgw().status()?, Site::LAN, "full")? - before;
        ensure!(full == (BURST - RING) as u64, "{full} found the ring full");
        exercise(lab, 1, 2)
    });
}

#[test]
fn packets_that_thousands_overtook_are_not_too_late() {
    scenario("packets_that_thousands_overtook_are_not_too_late", 2, |lab| {
        let options = GatewayOptions { ring_size: Some(RING as u32), ..with_engine("xsk") };
        let agents = [lab.start_agent(1, &options)?, lab.start_agent(2, &with_engine("kernel"))?];
        lab.set_keys(&agents, "A1b2C3D4")?;
        lab.wait_connected(&agents)?;
        exercise(lab, 1, 2)?;
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
        ensure!(late == RING as u64, "{late} were overtaken");
        Ok(())
    });
}
