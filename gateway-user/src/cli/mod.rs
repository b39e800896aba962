//! The command line: grammar, one request to the agent per command, and its answer for people or programs.
//!
//! Exit codes: 0 done, 1 failed or invalid, 2 wrong usage.

mod args;
mod key_input;
mod show;
mod table;
mod target;

use std::io::{ErrorKind, IsTerminal, Read as _, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tracing_subscriber::EnvFilter;

use self::args::{
    AgentArgs, Cli, Command, ConnectionCommand, ConnectionName, GatewayCommand, Global, LocalNetworkCommand,
    NetcfgCommand, Output, Read, VnetCommand,
};
use self::target::Agent;
use crate::agent::{self, Options, Peering};
use crate::api::client::segment;
use crate::api::types::{KeyDocument, LocalNetworkChange};
use crate::netcfg::{self, Limits};
use crate::store::KeyText;

/// Runs the program `vgw` with the arguments of this process.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a standard error there is nobody to tell.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<()> {
    let mut builder = match cli.command {
        Command::Agent(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder.enable_all().build().context("cannot start the asynchronous runtime")?;
    runtime.block_on(dispatch(&cli.global, cli.command))
}

async fn dispatch(global: &Global, command: Command) -> anyhow::Result<()> {
    match command {
        Command::Agent(args) => {
            init_log()?;
            agent::run(agent_options(global, *args)).await
        }
        Command::Status(read) => query(global, &read, "status", show::status).await,
        Command::Events(read) => query(global, &read, "events", |events: &Vec<_>| show::events(events)).await,
        Command::Gateway(GatewayCommand::Show(read)) => query(global, &read, "gateway", show::gateway).await,
        Command::Vnet(VnetCommand::List(read)) => {
            let agent = Agent::find(global, read.vnet.as_deref()).await?;
            get(&agent, "/v1/vnets", read.format.output, |vnets: &Vec<_>| show::vnets(vnets)).await
        }
        Command::LocalNetwork(command) => local_network(global, command).await,
        Command::Connection(command) => connection(global, command).await,
        Command::Netcfg(command) => network_configuration(global, command).await,
    }
}

async fn local_network(global: &Global, command: LocalNetworkCommand) -> anyhow::Result<()> {
    match command {
        LocalNetworkCommand::List(read) => {
            let agent = Agent::find(global, read.vnet.as_deref()).await?;
            get(&agent, "/v1/local-networks", read.format.output, |sites: &Vec<_>| {
                show::local_networks(sites)
            })
            .await
        }
        LocalNetworkCommand::Set { name, gateway_address, target } => {
            let agent = Agent::find(global, target.vnet.as_deref()).await?;
            let path = format!("/v1/local-networks/{}", segment(&name));
            let change = LocalNetworkChange { gateway_address };
            let report = agent.client.put(&path, &change).await.map_err(|error| agent.explain(error))?;
            print(&show::applied(&report))
        }
    }
}

async fn connection(global: &Global, command: ConnectionCommand) -> anyhow::Result<()> {
    match command {
        ConnectionCommand::List { vnet, format } => {
            let agent = Agent::find(global, vnet.as_deref()).await?;
            let path = agent.path("connections");
            get(&agent, &path, format.output, |connections: &Vec<_>| show::connections(connections)).await
        }
        ConnectionCommand::Show { name, format } => {
            let agent = find(global, &name).await?;
            get(&agent, &agent.connection(&name.site, ""), format.output, show::connection).await
        }
        ConnectionCommand::Connect(name) => post(global, &name, "/connect").await,
        ConnectionCommand::Disconnect(name) => post(global, &name, "/disconnect").await,
        ConnectionCommand::SetKey { name, key_file } => {
            let agent = find(global, &name).await?;
            let key = KeyText(key_input::read_key(key_file.as_deref())?);
            let path = agent.connection(&name.site, "/key");
            agent.client.put_only(&path, &KeyDocument { key }).await.map_err(|error| agent.explain(error))
        }
        ConnectionCommand::GetKey(name) => {
            let agent = find(global, &name).await?;
            let path = agent.connection(&name.site, "/key");
            let document: KeyDocument =
                agent.client.get(&path).await.map_err(|error| agent.explain(error))?;
            print_key(&document)
        }
        ConnectionCommand::ResetKey(name) => {
            let agent = find(global, &name).await?;
            let path = agent.connection(&name.site, "/key/reset");
            let document: KeyDocument =
                agent.client.post(&path).await.map_err(|error| agent.explain(error))?;
            print_key(&document)
        }
    }
}

async fn network_configuration(global: &Global, command: NetcfgCommand) -> anyhow::Result<()> {
    match command {
        NetcfgCommand::Check { file, max_connections } => {
            let (name, bytes) = read_file(&file)?;
            let configuration = netcfg::parse(&name, &bytes, &Limits { max_connections })
                .map_err(|report| anyhow::anyhow!("{name} is no valid network configuration:\n{report}"))?;
            let (vnets, sites) =
                (configuration.virtual_networks.len(), configuration.local_network_sites.len());
            print(&format!("{name} is valid: VNets {vnets}, local networks {sites}\n"))
        }
        NetcfgCommand::Apply { file, target } => {
            let agent = Agent::find(global, target.vnet.as_deref()).await?;
            let (name, bytes) = read_file(&file)?;
            let xml = String::from_utf8(bytes).with_context(|| format!("{name} is not UTF-8"))?;
            let report = agent.client.put_xml("/v1/netcfg", xml).await;
            let report = report
                .map_err(|error| agent.explain(error))
                .with_context(|| format!("cannot apply {name}"))?;
            print(&show::applied(&report))
        }
        NetcfgCommand::Export(target) => {
            let agent = Agent::find(global, target.vnet.as_deref()).await?;
            let xml = agent.client.get_text("/v1/netcfg").await.map_err(|error| agent.explain(error))?;
            print(&xml)
        }
    }
}

async fn find(global: &Global, name: &ConnectionName) -> anyhow::Result<Agent> {
    Agent::find(global, Some(&name.vnet)).await
}

async fn post(global: &Global, name: &ConnectionName, rest: &str) -> anyhow::Result<()> {
    let agent = find(global, name).await?;
    let path = agent.connection(&name.site, rest);
    agent.client.post_only(&path).await.map_err(|error| agent.explain(error))
}

/// Prints what the agent answers to `GET` below its VNet.
async fn query<T: DeserializeOwned + Serialize>(
    global: &Global,
    read: &Read,
    rest: &str,
    table: impl Fn(&T) -> String,
) -> anyhow::Result<()> {
    let agent = Agent::find(global, read.vnet.as_deref()).await?;
    get(&agent, &agent.path(rest), read.format.output, table).await
}

async fn get<T: DeserializeOwned + Serialize>(
    agent: &Agent,
    path: &str,
    output: Output,
    table: impl Fn(&T) -> String,
) -> anyhow::Result<()> {
    let answer: T = agent.client.get(path).await.map_err(|error| agent.explain(error))?;
    match output {
        Output::Table => print(&table(&answer)),
        Output::Json => {
            let json = serde_json::to_string_pretty(&answer).context("cannot write the answer as JSON")?;
            print(&format!("{json}\n"))
        }
    }
}

fn print_key(document: &KeyDocument) -> anyhow::Result<()> {
    print(document.key.0.expose())?;
    print("\n")
}

/// Prints to standard output. A reader that has seen enough (`vgw events | head`) is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot write the output"),
        _ => Ok(()),
    }
}

/// The name for messages and the content of a file, or of standard input for `-`.
fn read_file(path: &Path) -> anyhow::Result<(String, Vec<u8>)> {
    if path.as_os_str() == "-" {
        let mut bytes = Vec::new();
        // One byte beyond the limit makes the file's own check refuse it.
        let mut limited = std::io::stdin().take(netcfg::MAX_BYTES as u64 + 1);
        limited.read_to_end(&mut bytes).context("cannot read standard input")?;
        return Ok(("standard input".to_owned(), bytes));
    }
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok((path.display().to_string(), bytes))
}

fn agent_options(global: &Global, args: AgentArgs) -> Options {
    Options {
        vnet: args.vnet,
        netcfg: args.netcfg,
        wan: args.wan,
        lan: args.lan,
        bandwidth: args.bandwidth,
        run_dir: global.run_dir.clone(),
        state_dir: args.state_dir,
        pin_root: args.pin_root,
        max_connections: args.max_connections,
        peering: Peering {
            child_lifetime: args.child_lifetime,
            dpd_interval: args.dpd,
            ike_proposals: args.ike_proposal.into_iter().map(|token| token.0).collect(),
            esp_proposals: args.esp_proposal.into_iter().map(|token| token.0).collect(),
            force_udp_encapsulation: args.force_udp_encapsulation,
        },
    }
}

/// Logs to standard error, one line per event; `VGW_LOG` says what, in the syntax of `tracing_subscriber`'s `EnvFilter`.
fn init_log() -> anyhow::Result<()> {
    const VARIABLE: &str = "VGW_LOG";
    let filter = match std::env::var(VARIABLE) {
        Ok(text) => {
            EnvFilter::try_new(&text).with_context(|| format!("{VARIABLE}={text:?} is no log filter"))?
        }
        // The agent logs the state changes of connections itself, by name.
        Err(_) => EnvFilter::new("info,ike::endpoint::peer=warn"),
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .try_init()
        .map_err(|error| anyhow::anyhow!("cannot start the log: {error}"))
}
