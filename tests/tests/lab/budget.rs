//! What each tunnel gets of the shared bandwidth, changed while traffic flows, and marks that hosts see.

use crate::support::{number, with_both_engines};
use anyhow::{Context as _, Result, ensure};
use nix::sys::socket::{setsockopt, sockopt::Ipv4Tos};
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};
use testbed::traffic::{DatagramSink, send_datagrams};
use testbed::{GatewayOptions, Lab, NetNs, scenario};

/// Time until what was saved up is used up.
const WARM_UP: Duration = Duration::from_millis(1500);

/// Time that is measured.
const MEASURED: Duration = Duration::from_secs(4);

const PAYLOAD: usize = 1000;

/// Datagrams per second into each tunnel: 41 Mbit/s.
const RATE: u32 = 5000;

/// Deviation allowed, in percent.
const TOLERANCE: u64 = 6;

#[test]
fn tunnels_get_what_was_set_for_them_while_traffic_flows() {
    with_both_engines("tunnels_get_what_was_set_for_them_while_traffic_flows", 3, |lab, options| {
        let limited = GatewayOptions { bandwidth: Some("20mbit".to_owned()), ..options.clone() };
        let agents =
            vec![lab.start_agent(1, &limited)?, lab.start_agent(2, options)?, lab.start_agent(3, options)?];
        lab.set_keys(&agents, "A1b2C3D4")?;
        lab.wait_connected(&agents)?;
        lab.wait_reachable(1, 2)?;
        lab.wait_reachable(1, 3)?;
        // The other direction of engine xsk gets its frames, too.
        lab.wait_reachable(2, 1)?;
        let vgw = agents[0].vgw();
        let before = vgw.status()?;

        // Each step: a command, and what then arrives at the second and third site, in kbit/s.
        let steps = [
            ("status", [10_000, 10_000]),
            ("connection configure VNet1 VNet3 --weight 3", [5_000, 15_000]),
            ("gateway set-bandwidth VNet1 40mbit", [10_000, 30_000]),
            ("connection configure VNet1 VNet2 --guarantee 20mbit", [20_000, 20_000]),
            ("connection configure VNet1 VNet2 --guarantee none --ceiling 4mbit", [4_000, 36_000]),
            ("gateway set-bandwidth VNet1 none", [4_000, 41_120]),
        ];
        let sinks = [sink(lab, 2)?, sink(lab, 3)?];
        std::thread::scope(|scope| -> Result<()> {
            for sink in &sinks {
                let near = lab.site(1);
                let duration = (WARM_UP + MEASURED) * steps.len() as u32 + Duration::from_secs(3);
                scope.spawn(move || {
                    send_datagrams(&near.host, near.host_address(), sink.address(), PAYLOAD, RATE, duration)
                        .expect("sending works");
                });
            }
            for (command, expected) in steps {
                vgw.text(&command.split(' ').collect::<Vec<_>>())?;
                std::thread::sleep(WARM_UP);
                let rates = arriving(&sinks);
                for (rate, expected) in rates.into_iter().zip(expected) {
                    let is_near = rate.abs_diff(expected) * 100 <= expected * TOLERANCE;
                    ensure!(is_near, "after {command}: {rates:?} kbit/s arrived");
                }
            }
            Ok(())
        })?;

        let after = vgw.status()?;
        for site in [0, 1] {
            let [old, new] = [&before, &after].map(|status| &status["connections"][site]);
            ensure!(old["outbound_spi"] == new["outbound_spi"], "the SAs are the same: {new}");
            ensure!(number(new, "packets_out")? > number(old, "packets_out")?, "counters go on: {new}");
        }
        let outbound = &after["budget"]["outbound"];
        ensure!(
            number(outbound, "dropped_packets")? > 0 && number(outbound, "passed_packets")? > 0,
            "{after}"
        );
        Ok(agents)
    });
}

#[test]
fn what_cannot_be_kept_is_refused_and_what_was_set_outlives_a_restart() {
    scenario("what_cannot_be_kept_is_refused_and_what_was_set_outlives_a_restart", 2, |lab| {
        let options = GatewayOptions { bandwidth: Some("20mbit".to_owned()), ..GatewayOptions::default() };
        let mut agent = lab.start_agent(1, &options)?;
        let vgw = agent.vgw().clone();
        let refusal = |arguments: &[&str]| -> Result<String> {
            Ok(format!("{:#}", vgw.text(arguments).err().context("must be refused")?))
        };
        let configure = ["connection", "configure", "VNet1", "VNet2"];
        let error = refusal(&[&configure[..], &["--guarantee", "21mbit"]].concat())?;
        ensure!(error.contains("guarantee: \"21mbit\"") && error.contains("bandwidth, 20mbit"), "{error}");
        let error = refusal(&[&configure[..], &["--weight", "1001"]].concat())?;
        ensure!(error.contains("weight: \"1001\"") && error.contains("from 1 to 1000"), "{error}");
        let limits = ["--weight", "7", "--guarantee", "10mbit", "--ceiling", "12mbit"];
        vgw.text(&[&configure[..], &limits].concat())?;
        let error = refusal(&["gateway", "set-bandwidth", "VNet1", "9mbit"])?;
        ensure!(error.contains("bandwidth: \"9mbit\"") && error.contains("together are 10mbit"), "{error}");
        vgw.text(&["gateway", "set-bandwidth", "VNet1", "15mbit", "--direction", "separate"])?;
        agent.restart(nix::sys::signal::Signal::SIGTERM)?;
        let gateway = vgw.json(&["gateway", "show"])?;
        ensure!(gateway["bandwidth_bits"] == 15_000_000, "{gateway}");
        ensure!(gateway["bandwidth_direction"] == "separate", "{gateway}");
        let shown = vgw.text(&["connection", "show", "VNet1", "VNet2"])?;
        for line in ["weight             7", "guarantee          10mbit", "ceiling            12mbit"] {
            ensure!(shown.contains(line), "{shown}");
        }
        Ok(())
    });
}

#[test]
fn a_host_sees_marks_in_both_directions() {
    scenario("a_host_sees_marks_in_both_directions", 2, |lab| {
        let limited = GatewayOptions { bandwidth: Some("20mbit".to_owned()), ..GatewayOptions::default() };
        let agents = [lab.start_agent(1, &limited)?, lab.start_agent(2, &GatewayOptions::default())?];
        lab.set_keys(&agents, "A1b2C3D4")?;
        lab.wait_connected(&agents)?;
        lab.wait_reachable(1, 2)?;
        for (from, to, direction, counter) in
            [(1, 2, "outbound", "marked_out"), (2, 1, "inbound", "marked_in")]
        {
            let far = lab.site(to);
            let seen = marks(&far.host)?;
            send_ecn_capable(&lab.site(from).host, far.host_address())?;
            let seen = marks(&far.host)? - seen;
            let status = agents[0].vgw().status()?;
            ensure!(number(&status["budget"][direction], "marked_packets")? > 0, "{status}");
            ensure!(number(&status["connections"][0], counter)? > 0, "{status}");
            ensure!(seen > 0, "the host saw no mark: {status}");
        }
        Ok(())
    });
}

/// The rates in kbit/s at which datagrams arrive.
fn arriving(sinks: &[DatagramSink; 2]) -> [u64; 2] {
    let received = || sinks.each_ref().map(|sink| sink.snapshot().packet_bytes);
    let (start, first) = (Instant::now(), received());
    std::thread::sleep(MEASURED);
    let last = received();
    let micros = start.elapsed().as_micros() as u64;
    [0, 1].map(|index| (last[index] - first[index]) * 8000 / micros)
}

fn sink(lab: &Lab, site: u8) -> Result<DatagramSink> {
    DatagramSink::start(&lab.site(site).host, lab.site(site).host_address())
}

/// Sends datagrams whose headers say that their transport understands marks: 5000 of them in a second, twice the limit.
fn send_ecn_capable(host: &NetNs, to: Ipv4Addr) -> Result<()> {
    const ECT_0: i32 = 2;
    host.enter(|| -> Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        setsockopt(&socket, Ipv4Tos, &ECT_0)?;
        for _ in 0..500 {
            for _ in 0..10 {
                // To the discard port: it does not matter that nobody listens, or says so.
                let _ = socket.send_to(&[0; PAYLOAD], (to, 9));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    })?
}

/// Packets marked "congestion experienced" that arrived at a host, as its kernel counts them.
fn marks(host: &NetNs) -> Result<u64> {
    let text = host.enter(|| std::fs::read_to_string("/proc/thread-self/net/netstat"))??;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt: "));
    let (names, values) = (lines.next().context("no names")?, lines.next().context("no values")?);
    let mut pairs = names.split(' ').zip(values.split(' '));
    let (_, value) = pairs.find(|(name, _)| *name == "InCEPkts").context("no counter InCEPkts")?;
    Ok(value.parse()?)
}
