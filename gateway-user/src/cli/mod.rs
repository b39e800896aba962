//! The command line: grammar, one request to the agent per command, and its answer for people or programs.
//!
//! Exit codes: 0 done, 1 failed or invalid, 2 wrong usage.

mod agent_options;
mod args;
mod capture;
mod engine;
mod key_input;
mod netcfg;
mod output;
mod parameters;
mod protocol;
mod show;
mod size;
mod table;
mod target;
mod top;
mod trace;

use std::io::Write;
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use serde::Serialize;
use serde::de::DeserializeOwned;

use self::args::{
    Cli, Command, ConnectionCommand, ConnectionName, GatewayCommand, Global, LocalNetworkCommand, Output,
    Read, VnetCommand,
};
use self::output::{print, print_json, print_key};
use self::target::Agent;
use crate::api::client::segment;
use crate::api::types::{
    BandwidthDocument, KeyDocument, LocalNetworkChange, ParametersDocument, Rekey, RekeyDocument,
};
use crate::store::KeyText;
use crate::{agent, worker};

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
    // Before any thread is made: what a worker gives up, all of it gives up.
    if matches!(cli.command, Command::Worker) {
        return worker::main();
    }
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
            agent_options::init_log()?;
            Box::pin(agent::run(agent_options::options(global, *args))).await
        }
        Command::Worker => worker::main(),
        Command::Status(read) => query(global, &read, "status", show::status).await,
        Command::Events(read) => query(global, &read, "events", |events: &Vec<_>| show::events(events)).await,
        Command::Gateway(GatewayCommand::SetBandwidth { vnet, rate, direction }) => {
            let agent = Agent::find(global, Some(&vnet)).await?;
            let document = BandwidthDocument { rate, direction };
            let outcome = agent.client.put_only(&agent.path("bandwidth"), &document).await;
            outcome.map_err(|error| agent.explain(error))
        }
        Command::Gateway(GatewayCommand::Show(read)) => query(global, &read, "gateway", show::gateway).await,
        Command::Vnet(VnetCommand::List(read)) => {
            let agent = Agent::find(global, read.vnet.as_deref()).await?;
            get(&agent, "/v1/vnets", read.format.output, |vnets: &Vec<_>| show::vnets(vnets)).await
        }
        Command::LocalNetwork(command) => local_network(global, command).await,
        Command::Connection(command) => connection(global, command).await,
        Command::Netcfg(command) => netcfg::run(global, command).await,
        Command::Capture(args) => capture::run(global, args).await,
        Command::Top(args) => top::run(global, args).await,
        Command::Trace(args) => trace::run(global, args).await,
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
        ConnectionCommand::Configure { name, parameters } => {
            let agent = find(global, &name).await?;
            let path = agent.connection(&name.site, "/parameters");
            let (reset, document) = (parameters.reset, ParametersDocument::from(*parameters));
            let outcome = if reset {
                agent.client.put_only(&path, &document).await
            } else {
                agent.client.patch_only(&path, &document).await
            };
            outcome.map_err(|error| agent.explain(error))?;
            note_trouble(&agent, &name.site).await;
            Ok(())
        }
        ConnectionCommand::Rekey { name, ike } => {
            let agent = find(global, &name).await?;
            let path = agent.connection(&name.site, "/rekey");
            let document = RekeyDocument { sa: if ike { Rekey::Ike } else { Rekey::Child } };
            agent.client.post_json(&path, &document).await.map_err(|error| agent.explain(error))
        }
        ConnectionCommand::SetKey { name, key_file } => {
            let agent = find(global, &name).await?;
            let key = KeyText(key_input::read_key(key_file.as_deref())?);
            let path = agent.connection(&name.site, "/key");
            let outcome = agent.client.put_only(&path, &KeyDocument { key }).await;
            outcome.map_err(|error| agent.explain(error))?;
            note_trouble(&agent, &name.site).await;
            Ok(())
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

/// Says on standard error what keeps a connection down that was changed just now. The change has been made, so nothing
/// here is a failure.
async fn note_trouble(agent: &Agent, site: &str) {
    let Ok(status) = agent.client.get(&agent.connection(site, "")).await else { return };
    if let Some(note) = show::trouble(&status) {
        // Without a standard error there is nobody to tell.
        let _ = writeln!(std::io::stderr(), "{note}");
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
        Output::Json => print_json(&answer),
    }
}
