//! `vgw top`: rates of what passes just now.

use crate::support::with_both_engines;
use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use std::process::Command;
use testbed::{GatewayOptions, Process, vgw_binary};

/// Datagrams per second, and their payload in bytes.
const RATE: u32 = 500;
const PAYLOAD: usize = 972;

#[test]
fn rates_budget_and_workers_are_shown() {
    with_both_engines("rates_budget_and_workers_are_shown", 2, |lab, options| {
        let limited = GatewayOptions { bandwidth: Some("100mbit".to_owned()), ..options.clone() };
        let agents = lab.establish(&limited)?;
        lab.wait_reachable(1, 2)?;
        crate::support::exercise(lab, 1, 2)?;
        let idle = agents[0].vgw().json(&["top", "VNet1", "--once", "--interval", "0.5"])?;
        ensure!(rate(&idle["connections"][0], "packets_out_per_second")? < f64::from(RATE) / 4.0, "{idle}");

        // Pings at a steady pace, answered, while two pictures are made.
        let mut traffic = lab.site(1).host.command("ping")?;
        let interval = (1.0 / f64::from(RATE)).to_string();
        traffic.args([
            "-q",
            "-i",
            &interval,
            "-s",
            &PAYLOAD.to_string(),
            &lab.site(2).host_address().to_string(),
        ]);
        let _traffic = Process::spawn(traffic, &lab.directory().join("ping.log"))?;
        let busy = agents[0].vgw().json(&["top", "VNet1", "--once", "--interval", "2"])?;
        let connection = &busy["connections"][0];
        ensure!(connection["name"] == "VNet1-VNet2" && connection["state"] == "Connected", "{busy}");
        for direction in ["in", "out"] {
            let packets = rate(connection, &format!("packets_{direction}_per_second"))?;
            let bits = rate(connection, &format!("bits_{direction}_per_second"))?;
            // A busy machine sends less, none sends more.
            ensure!(packets > 10.0 && packets < f64::from(RATE) * 1.2, "{direction}: {busy}");
            let per_packet = bits / packets / 8.0;
            ensure!((per_packet - 1000.0).abs() < 20.0, "{per_packet} bytes in each: {busy}");
        }
        let used = rate(&busy["budget"], "used_percent")?;
        ensure!(used > 0.1 && used < 20.0, "{busy}");
        ensure!(rate(&busy, "seconds")? >= 2.0, "{busy}");
        let workers = busy["engine"]["workers"].as_array().context("workers")?;
        if options.engine.as_deref() == Some("xsk") {
            ensure!(rate(&workers[0], "frames_per_second")? > 10.0, "{busy}");
            ensure!(rate(&workers[0], "load_percent")? >= 0.0, "{busy}");
        } else {
            ensure!(workers.is_empty(), "{busy}");
        }
        Ok(agents)
    });
}

#[test]
fn without_a_terminal_pictures_follow_one_another() {
    testbed::scenario("without_a_terminal_pictures_follow_one_another", 2, |lab| {
        let agents = lab.establish(&GatewayOptions::default())?;
        let socket = agents[0].vgw().socket().display();
        let vgw = format!("{} --socket {socket} top VNet1 -i 0.2", vgw_binary()?.display());
        // Ends when nobody reads any more.
        let lines = |options: &str, most: usize| -> Result<String> {
            testbed::run(Command::new("sh").args(["-c", &format!("{vgw} {options} | head -n {most}")]))
        };
        let json = lines("--output json", 3)?;
        ensure!(json.lines().count() == 3, "{json}");
        for line in json.lines() {
            let frame: Value = serde_json::from_str(line)?;
            ensure!(frame["connections"][0]["sas"] == 1, "{line}");
        }
        let text = lines("--sort drops", 14)?;
        ensure!(text.matches("VNet VNet1: Provisioned").count() == 2, "{text}");
        ensure!(text.contains("VNet1-VNet2  Connected") && text.contains("Budget: no limit"), "{text}");

        // With a terminal, q ends it, and the terminal is as before.
        let session = format!("(sleep 2; printf rq) | script -qec '{vgw}' /dev/null");
        let text = testbed::run(Command::new("sh").args(["-c", &session]))?;
        ensure!(text.contains("q quit") && text.contains("rate*"), "{text:?}");
        ensure!(text.contains("\u{1b}[?1049h") && text.contains("\u{1b}[?1049l"), "{text:?}");
        Ok(())
    });
}

/// The number `field` of `value`.
fn rate(value: &Value, field: &str) -> Result<f64> {
    value[field].as_f64().with_context(|| format!("no number {field} in {value}"))
}
