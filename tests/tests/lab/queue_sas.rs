//! Child SAs for single receive queues (RFC 9611): each queue sends with an SA of its own.

use crate::support::{no_wrong_drops, number};
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::time::Duration;
use testbed::traffic::{DatagramSink, send_datagrams};
use testbed::{Agent, GatewayOptions, Lab, LabBuilder, poll_until, scenario, scenario_in};

/// Queues of every port, and Child SAs for them.
const QUEUES: u32 = 4;

/// Flows, so many that each queue gets one.
const FLOWS: usize = 48;

/// How long anything that must happen may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn each_queue_has_sas_of_its_own_with_the_kernel_engine() {
    each_queue_has_sas_of_its_own("each_queue_has_sas_of_its_own_with_the_kernel_engine", "kernel");
}

#[test]
fn each_queue_has_sas_of_its_own_with_the_engine_that_the_agent_chooses() {
    each_queue_has_sas_of_its_own(
        "each_queue_has_sas_of_its_own_with_the_engine_that_the_agent_chooses",
        "auto",
    );
}

fn each_queue_has_sas_of_its_own(name: &str, engine: &str) {
    scenario_in(name, with_queues, |lab| {
        let options = GatewayOptions {
            engine: Some(engine.to_owned()),
            child_sas: Some(QUEUES),
            ..GatewayOptions::default()
        };
        let agents = lab.establish(&options)?;
        lab.wait_reachable(1, 2)?;
        let (near, far) = wait_complete(&agents, 0)?;
        send_flows(lab)?;
        for (index, sa) in near.iter().enumerate() {
            let (sent, received) = passed(&agents, &near, &far, index)?;
            ensure!(sent > 0, "queue {index} sent nothing with its SA: {sa}");
            ensure!(sent == received, "queue {index} sent {sent} packets, {received} arrived with that SPI");
        }
        no_wrong_drops(&agents)?;
        Ok(())
    });
}

#[test]
fn a_rekey_of_all_of_them_loses_nothing() {
    scenario_in("a_rekey_of_all_of_them_loses_nothing", with_queues, |lab| {
        let options = GatewayOptions { child_sas: Some(QUEUES), ..GatewayOptions::default() };
        let agents = lab.establish(&options)?;
        lab.wait_reachable(1, 2)?;
        let (before, _) = wait_complete(&agents, 0)?;
        std::thread::scope(|scope| -> Result<()> {
            let flows = scope.spawn(|| send_flows(lab));
            std::thread::sleep(Duration::from_millis(300));
            agents[0].vgw().text(&["connection", "rekey", "VNet1", "VNet2"])?;
            flows.join().expect("the flows do not panic")
        })?;
        let (after, _) = wait_complete(&agents, 1)?;
        for (index, (before, after)) in before.iter().zip(&after).enumerate() {
            ensure!(before["outbound_spi"] != after["outbound_spi"], "queue {index} has its old SA");
        }
        no_wrong_drops(&agents)?;
        Ok(())
    });
}

#[test]
fn with_an_end_that_wants_none_one_child_sa_carries_everything() {
    scenario("with_an_end_that_wants_none_one_child_sa_carries_everything", 2, |lab| {
        let options = GatewayOptions { child_sas: Some(QUEUES), ..GatewayOptions::default() };
        let agents = vec![lab.start_agent(1, &options)?, lab.start_agent(2, &GatewayOptions::default())?];
        lab.set_keys(&agents, "A1b2C3D4")?;
        lab.wait_connected(&agents)?;
        lab.wait_reachable(1, 2)?;
        send_flows(lab)?;
        for (agent, site) in agents.iter().zip(["VNet2", "VNet1"]) {
            let status = agent.vgw().connection(site)?;
            assert_eq!(status["queue_sas_agreed"], false, "{status}");
            assert_eq!(status["queue_sas"], serde_json::json!([]), "{status}");
        }
        Ok(())
    });
}

fn with_queues(lab: LabBuilder) -> LabBuilder {
    lab.queues(QUEUES)
}

/// Waits until both ends have SAs for every queue that were rekeyed so often at least. Returns those of both.
fn wait_complete(agents: &[Agent], rekeys: u64) -> Result<(Vec<Value>, Vec<Value>)> {
    poll_until(PATIENCE, "every queue has SAs of its own", || {
        let both = [queue_sas(&agents[0], "VNet2")?, queue_sas(&agents[1], "VNet1")?];
        for sas in &both {
            ensure!(sas.len() == QUEUES as usize, "{sas:?}");
            for sa in sas {
                ensure!(number(sa, "rekeys")? >= rekeys, "{sas:?}");
            }
        }
        let [near, far] = both;
        Ok(Some((near, far)))
    })
}

fn queue_sas(agent: &Agent, site: &str) -> Result<Vec<Value>> {
    let status = agent.vgw().connection(site)?;
    status["queue_sas"].as_array().cloned().with_context(|| format!("no queue_sas in {status}"))
}

/// Packets that site 1 has sent with the SA of a queue, and those that site 2 has received with the same SPI.
fn passed(agents: &[Agent], near: &[Value], far: &[Value], index: usize) -> Result<(u64, u64)> {
    let spi = &near[index]["outbound_spi"];
    let other = far.iter().position(|sa| sa["inbound_spi"] == *spi).context("the far end has the SA")?;
    let sent = number(&queue_sas(&agents[0], "VNet2")?[index], "packets_out")?;
    Ok((sent, number(&queue_sas(&agents[1], "VNet1")?[other], "packets_in")?))
}

/// Sends a few datagrams of each of many flows from site 1 to site 2, none of which may be lost.
fn send_flows(lab: &Lab) -> Result<()> {
    let (near, far) = (lab.site(1), lab.site(2));
    let mut sent = 0;
    let mut received = 0;
    for _ in 0..FLOWS {
        // Datagrams count as duplicates by their numbers, so each flow has a receiver of its own.
        let sink = DatagramSink::start(&far.host, far.host_address())?;
        let flow = Duration::from_millis(40);
        sent += send_datagrams(&near.host, near.host_address(), sink.address(), 300, 500, flow)?;
        received += sink.stop().received;
    }
    ensure!(sent == received, "{sent} datagrams were sent, {received} arrived");
    Ok(())
}
