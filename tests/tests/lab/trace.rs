//! `vgw trace`: what it says of a packet is what becomes of it.

use crate::support::{number, with_both_engines};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::time::Duration;
use testbed::{Agent, Family, GatewayOptions, Lab, Site, ping, scenario_in, wait_until};

const PATIENCE: Duration = Duration::from_secs(30);
/// An address that no VNet has.
const FOREIGN: &str = "172.16.9.9";

fn trace(agent: &Agent, arguments: &[&str]) -> Result<Value> {
    agent.vgw().json(&[&["trace", "VNet1"], arguments].concat())
}

fn dropped(agent: &Agent, reason: &str) -> Result<u64> {
    Ok(agent.vgw().status()?["drops"][reason].as_u64().unwrap_or(0))
}

/// Fails unless pings with `options` are dropped for the reason that `said` names.
fn is_dropped_for(lab: &Lab, agent: &Agent, said: &Value, reason: &str, options: &str) -> Result<()> {
    ensure!(said["verdict"]["action"] == "drop" && said["verdict"]["reason"] == reason, "{said}");
    let before = dropped(agent, reason)?;
    let report =
        ping(&lab.site(1).host, &format!("-c 2 -i 0.1 -W 1 {options} {}", lab.site(2).host_address()))?;
    ensure!(report.received == 0, "{}", report.text);
    let after = dropped(agent, reason)?;
    ensure!(after == before + 2, "{reason}: {before}, then {after}");
    Ok(())
}

#[test]
fn allowed_refused_and_unreachable_packets_are_told_apart() {
    with_both_engines("allowed_refused_and_unreachable_packets_are_told_apart", 2, |lab, options| {
        let agents = lab.establish(options)?;
        lab.wait_reachable(1, 2)?;
        crate::support::exercise(lab, 1, 2)?;
        let (here, there) = (lab.site(1).host_address().to_string(), lab.site(2).host_address().to_string());

        let out = trace(&agents[0], &[&here, &there, "udp", "53"])?;
        let status = agents[0].vgw().connection("VNet2")?;
        ensure!(out["verdict"]["action"] == "forward" && out["verdict"]["interface"] == Site::WAN, "{out}");
        ensure!(out["connection"] == "VNet1-VNet2" && out["from"] == "lan", "{out}");
        ensure!(out["sa"]["spi"] == status["outbound_spi"], "{out} {status}");
        ensure!(out["sa"]["algorithm"] == status["esp_algorithm"], "{out} {status}");
        ensure!(out["sa"]["remote"] == lab.site(2).wan_address().to_string(), "{out}");
        ensure!(
            number(&out["sa"], "rekey_in_seconds")? <= number(&status, "rekey_in_seconds")?,
            "{out} {status}"
        );
        ensure!(out["next_hop"]["address"] == lab.inet_address(1).to_string(), "{out}");
        let steps = out["steps"].as_array().context("steps")?;
        ensure!(steps.iter().all(|step| step["passed"] == true), "{out}");
        let engine = steps.iter().find(|step| step["rule"] == "engine").context("no engine")?;
        let wanted = options.engine.as_deref().unwrap_or_default();
        ensure!(engine["detail"].as_str().is_some_and(|detail| detail.starts_with(wanted)), "{out}");

        let back = trace(&agents[0], &[&there, &here])?;
        ensure!(back["from"] == "tunnel:VNet2", "{back}");
        ensure!(
            back["verdict"]["action"] == "forward" && back["verdict"]["interface"] == Site::LAN,
            "{back}"
        );
        ensure!(back["next_hop"]["address"] == here, "{back}");

        let big = trace(&agents[0], &[&here, &there, "--size", "1500", "--df"])?;
        ensure!(big["verdict"]["action"] == "kernel", "{big}");
        let elsewhere = trace(&agents[0], &[&here, "8.8.8.8"])?;
        ensure!(
            elsewhere["verdict"]["action"] == "kernel" && elsewhere["connection"].is_null(),
            "{elsewhere}"
        );
        let own = trace(&agents[0], &[&lab.site(1).lan_address().to_string(), &there, "--from", "host"])?;
        ensure!(own["verdict"]["interface"] == Site::WAN, "{own}");
        let forged = trace(&agents[0], &[&there, &here, "--from", "wan"])?;
        ensure!(forged["verdict"]["reason"] == "unprotected", "{forged}");

        lab.site(1).host.ip(&format!("addr add {FOREIGN}/32 dev {}", Site::HOST_PORT))?;
        let foreign = trace(&agents[0], &[FOREIGN, &there])?;
        is_dropped_for(lab, &agents[0], &foreign, "source_outside_vnet", &format!("-I {FOREIGN}"))?;

        let table = agents[0].vgw().text(&["trace", "VNet1", FOREIGN, &there])?;
        ensure!(table.contains("is dropped: source_outside_vnet (connection VNet1-VNet2)"), "{table}");
        let error = format!("{:#}", trace(&agents[0], &[&here, "fd00::2"]).expect_err("must be refused"));
        ensure!(error.contains("are of different families"), "{error}");
        let relayed = trace(&agents[0], &[FOREIGN, &there, "--quotes", &there, &here])?;
        ensure!(relayed["verdict"]["interface"] == Site::WAN, "{relayed}");

        agents[0].vgw().text(&["connection", "disconnect", "VNet1", "VNet2"])?;
        wait_until(PATIENCE, "end of the SAs", || {
            Ok(agents[0].vgw().connection("VNet2")?["outbound_spi"].is_null())
        })?;
        let cut_off = trace(&agents[0], &[&here, &there])?;
        is_dropped_for(lab, &agents[0], &cut_off, "no_outbound_sa", "")?;
        Ok(agents)
    });
}

#[test]
fn packets_of_both_families_are_traced_over_both() {
    for outer in Family::ALL {
        scenario_in(
            &format!("packets_of_both_families_are_traced_over_both (outer {outer:?})"),
            |lab| lab.sites(2).dual_stack(),
            |lab| {
                let agents = lab.establish_over(outer, &GatewayOptions::default())?;
                let (near, far) = (lab.site(1), lab.site(2));
                for inner in Family::ALL {
                    let (here, there) = (near.host_address_of(inner), far.host_address_of(inner));
                    wait_until(PATIENCE, "packets pass", || {
                        Ok(ping(&near.host, &format!("{} -c 1 -W 1 {there}", inner.option()))?.received == 1)
                    })?;
                    let (here, there) = (here.to_string(), there.to_string());
                    let out = trace(&agents[0], &[&here, &there])?;
                    ensure!(out["verdict"]["interface"] == Site::WAN, "{out}");
                    ensure!(out["sa"]["remote"] == far.wan_address_of(outer).to_string(), "{out}");
                    let back = trace(&agents[0], &[&there, &here])?;
                    ensure!(back["from"] == "tunnel:VNet2", "{back}");
                    ensure!(back["verdict"]["interface"] == Site::LAN, "{back}");
                    ensure!(back["next_hop"]["address"] == here, "{back}");
                }
                Ok(())
            },
        );
    }
}
