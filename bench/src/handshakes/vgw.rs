//! The gateway's agent as responder: one VNet with as many connections as there are initiators.

use std::fs::{self, DirBuilder, File};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Map, Value, json};
use testbed::{LocalSite, NetCfg, Process, VNet, poll_until, run, vgw_binary};

use super::network::{FIRST_INITIATOR, FIRST_NETWORK, LAN, Network, VNET, WAN};
use super::responder::Responder;

const NAME: &str = "Bench";
/// Loading the programs and setting up thousands of tunnels takes its time.
const START_TIMEOUT: Duration = Duration::from_mins(3);

/// Starts the agent with `connections` connections and waits until all tunnels are set up.
///
/// # Errors
/// The agent does not come up; the error quotes its log.
pub(super) fn start(network: &Network, connections: u32, psk: &str) -> Result<Responder> {
    let directory = network.directory().join(format!("vgw-{connections}"));
    fs::create_dir_all(&directory)?;
    let netcfg = directory.join("netcfg.xml");
    fs::write(&netcfg, configuration(connections).to_xml())?;
    let state = directory.join("state");
    store(&state.join(NAME), connections, psk)?;

    let binary = vgw_binary()?;
    let run_dir = directory.join("run");
    let mut command = network.responder.command(&binary)?;
    command.args(["agent", "--vnet", NAME, "--wan", WAN, "--lan", LAN]);
    for (option, path) in [
        ("--netcfg", &netcfg),
        ("--run-dir", &run_dir),
        ("--state-dir", &state),
        ("--pin-root", &network.scope.pin_root()),
    ] {
        command.arg(option).arg(path);
    }
    command.args(["--max-connections", &connections.max(10).to_string(), "--dpd", "3600"]);
    command.args(["--ike-proposal", "aes256gcm16-prfsha256-x25519", "--esp-proposal", "aes256gcm16"]);
    command.env("VGW_LOG", "warn");
    let log = directory.join("agent.log");
    let mut process = Process::spawn(command, &log)?;
    let socket = run_dir.join(NAME).join("agent.sock");
    let answered = poll_until(START_TIMEOUT, "the agent answers", || {
        if let Some(status) = process.exited()? {
            return Ok(Some(Err(status)));
        }
        run(Command::new(&binary).arg("--socket").arg(&socket).arg("status")).map(|_| Some(Ok(())))
    });
    match answered.with_context(|| format!("the agent's log: {}", process.log()))? {
        Ok(()) => Ok(Responder::new(process, move || connected(&binary, &socket))),
        Err(status) => bail!("the agent ended ({status}): {}", process.log()),
    }
}

/// Connections that the agent shows as connected.
fn connected(binary: &Path, socket: &Path) -> Result<usize> {
    let mut command = Command::new(binary);
    command.arg("--socket").arg(socket).args(["status", "--output", "json"]);
    let status: Value = serde_json::from_str(&run(&mut command)?)?;
    let connections = status["connections"].as_array().context("the status has no connections")?;
    Ok(connections.iter().filter(|connection| connection["state"] == "Connected").count())
}

/// One site per initiator.
fn configuration(connections: u32) -> NetCfg {
    let nth = |first: Ipv4Addr, number: u32| Ipv4Addr::from_bits(first.to_bits() + number);
    let site = |number| LocalSite {
        name: site_name(number),
        prefixes: vec![format!("{}/29", nth(FIRST_NETWORK, 8 * number))],
        gateway_address: nth(FIRST_INITIATOR, number).to_string(),
    };
    let vnet = VNet {
        name: NAME.to_owned(),
        prefixes: vec![VNET.to_owned()],
        subnets: vec![("GatewaySubnet".to_owned(), "10.1.255.0/27".to_owned())],
        connections: (0..connections).map(site_name).collect(),
    };
    NetCfg { local_sites: (0..connections).map(site).collect(), vnets: vec![vnet] }
}

fn site_name(number: u32) -> String {
    format!("Site{number}")
}

/// Stores the shared keys, and that the agent waits for its peers, where it looks for them.
fn store(directory: &Path, connections: u32, psk: &str) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let per_site = |value: Value| -> Map<String, Value> {
        (0..connections).map(|number| (site_name(number), value.clone())).collect()
    };
    write_private(&directory.join("keys.json"), &json!({ "version": 1, "keys": per_site(json!(psk)) }))?;
    let parameters = json!({ "version": 1, "connections": per_site(json!({ "mode": "responder" })) });
    write_private(&directory.join("parameters.json"), &parameters)
}

fn write_private(path: &Path, content: &Value) -> Result<()> {
    let mut file = File::options().create_new(true).write(true).mode(0o600).open(path)?;
    Ok(file.write_all(content.to_string().as_bytes())?)
}
