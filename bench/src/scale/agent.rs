//! A running agent with many connections: its memory, and how fast it follows changes of its configuration.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use testbed::{NetCfg, NetNs, Scope, remove_scope, run};

use super::PREFIXES_EACH;
use super::report::{ChangeRow, Changes, Duration, MemoryRow};
use super::sites::{VNET, configuration};
use crate::agent::{Agent, Launch};
use crate::usage::{bpf_map_kib, cpu_seconds, own_kib};

/// A network namespace and a directory; both are removed when dropped.
struct Place {
    scope: Scope,
    namespace: NetNs,
}

impl Place {
    fn create() -> Result<Self> {
        let scope = Scope::unique();
        fs::create_dir_all(scope.directory()).context("cannot make a directory (root is needed)")?;
        let namespace = NetNs::create(&scope.namespace("gateway"))?;
        for line in [
            "link add wan type veth peer name uplink",
            "link add lan type veth peer name host",
            "link set wan up",
            "link set uplink up",
            "link set lan up",
            "link set host up",
            "address add 192.0.2.1/24 dev wan",
            "address add 10.1.0.1/16 dev lan",
        ] {
            namespace.ip(line)?;
        }
        Ok(Self { scope, namespace })
    }

    /// An agent with room for so many connections, and without any.
    fn start(&self, most: u32) -> Result<Agent> {
        let options = ["--max-connections", &most.to_string(), "--engine", "kernel"];
        Agent::start(&Launch {
            namespace: &self.namespace,
            vnet: VNET,
            wan: "wan",
            lan: "lan",
            directory: &self.scope.directory().join("vgw"),
            pin_root: &self.scope.pin_root(),
            netcfg: &configuration(0, Some),
            psk: "benchmark-key-of-no-other-value",
            mode: Some("responder"),
            options: &options.map(str::to_owned),
        })
    }

    /// Routes of the kernel to the tunnel interface.
    fn routes(&self) -> Result<usize> {
        Ok(self.namespace.ip("route show dev vgw0 proto 202")?.lines().count())
    }

    /// Applies a configuration as an operator does, and returns the seconds that it took until every route was there: by the
    /// clock, and of the agent's processor time.
    fn apply(&self, agent: &Agent, netcfg: &NetCfg) -> Result<Duration> {
        let file = self.scope.directory().join("changed.xml");
        fs::write(&file, netcfg.to_xml())?;
        let (begin, used) = (Instant::now(), cpu_seconds(agent.id())?);
        run(&mut apply_command(agent, &file))?;
        let duration = Duration {
            seconds: begin.elapsed().as_secs_f64(),
            agent_cpu_seconds: cpu_seconds(agent.id())? - used,
        };
        let expected: usize = netcfg.local_sites.iter().map(|site| site.prefixes.len()).sum();
        let routes = self.routes()?;
        ensure!(routes == expected, "{routes} of {expected} prefixes have routes");
        Ok(duration)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = remove_scope(&self.scope) {
            eprintln!("warning: {} is left behind: {error:#}", self.scope.name());
        }
    }
}

fn apply_command(agent: &Agent, file: &Path) -> Command {
    let mut command = agent.client().command();
    command.args(["netcfg", "apply"]).arg(file);
    command
}

/// Memory of an agent that may have so many connections, without any and with all of them.
///
/// # Errors
/// The agent does not come up, or refuses the configuration.
pub(super) fn memory(connections: u32) -> Result<MemoryRow> {
    let place = Place::create()?;
    let agent = place.start(connections)?;
    let map_kib = bpf_map_kib(agent.id())?;
    let agent_kib = own_kib(agent.id())?;
    place.apply(&agent, &configuration(connections, Some))?;
    Ok(MemoryRow {
        connections,
        map_kib,
        agent_kib,
        map_kib_after: bpf_map_kib(agent.id())?,
        agent_kib_after: own_kib(agent.id())?,
    })
}

/// How long an agent takes for changes of thousands of prefixes.
///
/// # Errors
/// The agent does not come up, or refuses a configuration.
pub(super) fn changes(connections: u32) -> Result<Changes> {
    let place = Place::create()?;
    let agent = place.start(connections)?;
    let all = connections * PREFIXES_EACH;
    let is_kept = |number: u32| number % PREFIXES_EACH < PREFIXES_EACH / 2;
    let whole = configuration(connections, Some);
    // Half of the prefixes of every connection are others, behind all that there were.
    let replaced =
        configuration(connections, |number| Some(if is_kept(number) { number } else { number + all }));
    let half = configuration(connections, |number| is_kept(number).then_some(number));
    let mut rows = Vec::new();
    for (what, netcfg, prefixes) in [
        ("the whole configuration, to a gateway without connections", &whole, all),
        ("replace half of the prefixes of every connection", &replaced, all / 2),
        ("remove them", &half, all / 2),
        ("add the first ones again", &whole, all / 2),
    ] {
        let duration = place.apply(&agent, netcfg)?;
        rows.push(ChangeRow { what: what.to_owned(), prefixes, duration });
    }
    Ok(Changes { connections, prefixes: all, xml_bytes: u32::try_from(whole.to_xml().len())?, rows })
}
