//! What a worker may do while it works.

use anyhow::{Context as _, Result, ensure};
use testbed::{GatewayOptions, ping, scenario};

#[test]
fn a_worker_at_work_has_no_privileges() {
    scenario("a_worker_at_work_has_no_privileges", 2, |lab| {
        let options = GatewayOptions { engine: Some("xsk".to_owned()), ..GatewayOptions::default() };
        let agents = lab.establish(&options)?;
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
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(u64::from_str_radix(&field(set)?, 16)?, 0, "{set}");
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
