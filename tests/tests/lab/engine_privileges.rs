//! What a worker may do while it works.

use anyhow::{Context as _, Result, ensure};
use testbed::{GatewayOptions, HandOver, ping, scenario};

/// Bit of CAP_BPF (`linux/capability.h`).
const CAP_BPF: u64 = 1 << 39;

#[test]
fn a_worker_at_work_may_run_a_program_and_nothing_else() {
    let options = GatewayOptions { engine: Some("xsk".to_owned()), ..GatewayOptions::default() };
    privileges("a_worker_at_work_may_run_a_program_and_nothing_else", &options, CAP_BPF);
}

#[test]
fn a_worker_that_exchanges_nothing_has_no_privileges() {
    let options = GatewayOptions {
        engine: Some("xsk".to_owned()),
        hand_over: HandOver::Sockets,
        ..GatewayOptions::default()
    };
    privileges("a_worker_that_exchanges_nothing_has_no_privileges", &options, 0);
}

/// The worker works, and of all capabilities has `left` alone.
fn privileges(name: &str, options: &GatewayOptions, left: u64) {
    scenario(name, 2, |lab| {
        let agents = lab.establish(options)?;
        let report = ping(&lab.site(1).host, &format!("-c 3 -i 0.2 {}", lab.site(2).host_address()))?;
        ensure!(report.received == 3, "{}", report.text);
        let status = agents[0].vgw().status()?;
        let worker = &status["engine"]["workers"][0];
        let handed_over = |lane: &serde_json::Value| lane["handed_over"].as_u64().unwrap_or(0);
        let lanes = worker["lanes"].as_array().context("lanes")?;
        ensure!(lanes.iter().map(handed_over).sum::<u64>() >= 6, "the worker works: {status}");

        let pid = worker["pid"].as_u64().context("process id")?;
        let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let field = |name: &str| -> Result<String> {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            Ok(line.with_context(|| format!("no {name} in {text}"))?.trim().to_owned())
        };
        for (set, left) in [("CapInh", 0), ("CapPrm", left), ("CapEff", left), ("CapBnd", 0), ("CapAmb", 0)] {
            assert_eq!(u64::from_str_radix(&field(set)?, 16)?, left, "{set}");
        }
        // 2 stands for a filter of system calls (proc_pid_status(5)).
        assert_eq!((&*field("Seccomp")?, &*field("NoNewPrivs")?, &*field("Threads")?), ("2", "1", "1"));
        assert_eq!(field("Name")?, "vgw-worker");
        let limits = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
        let core = limits.lines().find(|line| line.starts_with("Max core file size")).context("core")?;
        assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
        Ok(())
    });
}
