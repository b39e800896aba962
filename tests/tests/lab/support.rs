//! What several of the tests need.

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::time::Duration;
use testbed::traffic::{EchoClient, StreamSink, UdpEcho, send_stream};
use testbed::{Agent, GatewayOptions, Lab, Site, ping, scenario, skip_unless_capable};

/// Drop reasons that no regular operation of two gateways of ours may count.
const NEVER: [&str; 4] = ["malformed", "unknown_spi", "bad_trailer", "selector_mismatch"];

/// Neither these, except for packets which waited for a worker that got no CPU, while others overtook them by more than the
/// anti-replay window. With extended sequence numbers the number is taken for one of the next 2^32 (RFC 4303 appendix A2.2).
const LATE: [&str; 2] = ["replayed", "authentication_failed"];

/// The number `field` of `value`.
pub(crate) fn number(value: &Value, field: &str) -> Result<u64> {
    value[field].as_u64().with_context(|| format!("no number {field} in {value}"))
}

/// Fails if an agent counts a drop that should not happen. All agents of the laboratory belong in here, because it depends on
/// whether workers of any of them stood still.
pub(crate) fn no_wrong_drops(agents: &[Agent]) -> Result<()> {
    let statuses = statuses(agents)?;
    statuses.iter().try_for_each(|status| no_drops(status, &statuses))
}

/// The same for the status of one connection of theirs.
pub(crate) fn no_wrong_drops_in(connection: &Value, agents: &[Agent]) -> Result<()> {
    no_drops(connection, &statuses(agents)?)
}

/// Frames that found a worker of the gateway standing still.
pub(crate) fn stalled(status: &Value) -> u64 {
    all_lanes(status, "stalled")
}

fn statuses(agents: &[Agent]) -> Result<Vec<Value>> {
    agents.iter().map(|agent| agent.vgw().status()).collect()
}

/// Fails if `counted` has drops that should not happen. Packets come too late only where a worker stood still, and no more of
/// them than there were packets that overtook them because they went around it: the anti-replay window is no
/// shorter than a ring.
fn no_drops(counted: &Value, statuses: &[Value]) -> Result<()> {
    let count = |reason: &str| counted["drops"][reason].as_u64().unwrap_or(0);
    let stood_still = statuses.iter().any(|status| stalled(status) > 0);
    let overtaking: u64 = statuses.iter().map(|status| stalled(status) + all_lanes(status, "full")).sum();
    let late: u64 = LATE.iter().map(|reason| count(reason)).sum();
    ensure!(late <= if stood_still { overtaking } else { 0 }, "{late} packets came too late: {counted}");
    for reason in NEVER {
        ensure!(count(reason) == 0, "{} packets were dropped as {reason}: {counted}", count(reason));
    }
    Ok(())
}

/// The sum of counter `field` over all lanes in a gateway's status, 0 without workers.
fn all_lanes(status: &Value, field: &str) -> u64 {
    let workers = status["engine"]["workers"].as_array().into_iter().flatten();
    let lanes = workers.filter_map(|worker| worker["lanes"].as_array()).flatten();
    lanes.filter_map(|lane| lane[field].as_u64()).sum()
}

/// Pings from site `from` to site `to` without a loss, then exchanges UDP datagrams and streams TCP, all with verified
/// content.
pub(crate) fn exercise(lab: &Lab, from: u8, to: u8) -> Result<()> {
    let (near, far) = (lab.site(from), lab.site(to));
    let report = ping(&near.host, &format!("-c 5 -i 0.2 -W 2 {}", far.host_address()))?;
    ensure!(report.received == 5, "{}", report.text);
    let echo = UdpEcho::start(&far.host, far.host_address())?;
    let mut client = EchoClient::connect(&near.host, near.host_address(), echo.address())?;
    for size in [1, 100, 1000, 4000] {
        client.exchange(size, Duration::from_secs(5))?;
    }
    let sink = StreamSink::start(&far.host, far.host_address())?;
    let sent = send_stream(&near.host, sink.address(), Duration::from_secs(1))?;
    ensure!(sink.finish()? == sent && sent > 0, "{sent} bytes were sent");
    Ok(())
}

/// Runs `body` in a fresh laboratory for each engine, with the options that choose it; afterwards the agents that `body` returns
/// must have used it, their workers in both directions.
pub(crate) fn with_both_engines(
    name: &str,
    sites: u8,
    body: impl Fn(&Lab, &GatewayOptions) -> Result<Vec<Agent>>,
) {
    // Said once, not for each engine.
    if skip_unless_capable(name) {
        return;
    }
    for engine in ["kernel", "xsk"] {
        scenario(&format!("{name} (engine {engine})"), sites, |lab| {
            for agent in body(lab, &with_engine(engine))? {
                let status = agent.vgw().status()?;
                ensure!(status["engine"]["running"] == engine, "{status}");
                let frames = |interface| lanes(&status, interface, "handed_over");
                // What the gateway itself sends comes from the tunnel interface.
                let (sealed, opened) = (frames(Site::LAN)? + frames("vgw0-xdp")?, frames(Site::WAN)?);
                let (worked, expected) = ((sealed > 0, opened > 0), engine == "xsk");
                ensure!(worked == (expected, expected), "{sealed} were sealed, {opened} opened: {status}");
            }
            Ok(())
        });
    }
}

/// Options that choose an engine.
pub(crate) fn with_engine(engine: &str) -> GatewayOptions {
    GatewayOptions { engine: Some(engine.to_owned()), ..GatewayOptions::default() }
}

/// The sum of counter `field` over the workers' lanes of `interface`, in a gateway's status.
pub(crate) fn lanes(status: &Value, interface: &str, field: &str) -> Result<u64> {
    let workers =
        status["engine"]["workers"].as_array().with_context(|| format!("no workers in {status}"))?;
    let lanes = workers.iter().filter_map(|worker| worker["lanes"].as_array()).flatten();
    lanes.filter(|lane| lane["interface"] == interface).map(|lane| number(lane, field)).sum()
}

/// How many events of this number an agent has.
pub(crate) fn events(agent: &Agent, wanted: u64) -> Result<usize> {
    let events = agent.vgw().json(&["events"])?;
    let events = events.as_array().with_context(|| format!("no list: {events}"))?;
    Ok(events.iter().filter(|event| event["number"] == wanted).count())
}

/// Process ID of an agent's first worker.
pub(crate) fn first_worker(agent: &Agent) -> Result<i32> {
    let status = agent.vgw().status()?;
    let worker = &status["engine"]["workers"][0];
    ensure!(worker["state"] == "running", "{status}");
    Ok(number(worker, "pid")?.try_into()?)
}
