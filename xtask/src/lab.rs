//! The laboratory: two VNets connected through an internet, all on this machine.

mod measure;
mod summary;

use crate::progress::Step;
use crate::{build, interrupt, setup};
use anyhow::{Context as _, Result, ensure};
use clap::{Args, Subcommand};
use measure::measure;
use std::path::PathBuf;
use summary::Summary;
use testbed::{Agent, GatewayOptions, Lab, Scope, remove_scope, vgw_binary};

/// Pre-shared key of the laboratory's one connection.
const KEY: &str = "A1b2C3D4";

/// Arguments of `cargo xtask lab`.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    /// Write the results to this file, as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Leave the laboratory up, to look around in it.
    #[arg(long)]
    keep: bool,
    /// How long TCP and UDP stream, each.
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// The one ESP proposal of both gateways, for instance aes128gcm16.
    #[arg(long, value_name = "PROPOSAL")]
    esp_proposal: Option<String>,
    /// Engine of both gateways: auto, kernel or xsk.
    #[arg(long, value_name = "ENGINE")]
    engine: Option<String>,
}

#[derive(Subcommand)]
enum Action {
    /// Remove a laboratory that `--keep` left up.
    Down,
}

/// Runs the laboratory, or removes one that was kept.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let scope = Scope::named("lab");
    if let Some(Action::Down) = arguments.action {
        let removed = remove_scope(&scope)?;
        println!(
            "{}",
            if removed.is_empty() { "there is no laboratory".to_owned() } else { removed.join("\n") }
        );
        return Ok(());
    }
    setup::require()?;
    build::vgw()?;
    if !remove_scope(&scope)?.is_empty() {
        println!("    an earlier laboratory was removed");
    }
    interrupt::remove_on_interrupt(&scope);
    let outcome = up_and_measure(&scope, arguments);
    if !arguments.keep {
        remove_scope(&scope)?;
    }
    let summary = outcome?;
    if let Some(path) = &arguments.json {
        std::fs::write(path, format!("{:#}\n", summary.to_json()))
            .with_context(|| format!("cannot write {}", path.display()))?;
    }
    ensure!(summary.plaintext() == 0, "{} packets crossed the internet in the clear", summary.plaintext());
    ensure!(summary.ping_loss_percent() < 100.0, "no ping was answered");
    Ok(())
}

fn up_and_measure(scope: &Scope, arguments: &Arguments) -> Result<Summary> {
    let step = Step::begin("Making two hosts, two gateways and an internet out of network namespaces");
    let mut lab = Lab::builder().scope(scope.clone()).build()?;
    step.end("host1 ── gw1 ── inet ── gw2 ── host2");

    let mut agents = start_agents(&lab, arguments)?;
    let measured = connect(&lab, &agents).and_then(|()| measure(&lab, &agents, arguments.seconds));
    match &measured {
        Ok(summary) => println!("\n{summary}"),
        Err(_) => print_logs(&agents),
    }
    // A laboratory in which something failed is worth a look, too.
    if arguments.keep {
        lab.keep();
        agents.iter_mut().for_each(Agent::detach);
        print_hints(&lab, &agents)?;
    }
    measured
}

fn start_agents(lab: &Lab, arguments: &Arguments) -> Result<Vec<Agent>> {
    let options = GatewayOptions {
        esp_proposal: arguments.esp_proposal.clone(),
        engine: arguments.engine.clone(),
        ..GatewayOptions::default()
    };
    let mut agents = Vec::new();
    for site in lab.sites() {
        let step = Step::begin(&format!("Starting the gateway of {}", site.vnet()));
        let agent = lab.start_agent(site.number(), &options)?;
        step.end(&format!("process {}, {} to {}", agent.id(), site.prefix(), site.wan_address()));
        agents.push(agent);
    }
    Ok(agents)
}

/// What an administrator does: uploads the network configuration, sets the key at both ends, waits.
fn connect(lab: &Lab, agents: &[Agent]) -> Result<()> {
    let step = Step::begin("Uploading the network configuration to both gateways");
    for (site, agent) in lab.sites().iter().zip(agents) {
        let file = lab.write_netcfg(site.number(), &lab.netcfg())?;
        agent.vgw().text(&["netcfg", "apply", &file.display().to_string()])?;
    }
    step.end("accepted");
    let step = Step::begin("Setting the shared key at both ends and waiting for the tunnel");
    lab.set_keys(agents, KEY)?;
    lab.wait_connected(agents)?;
    step.end("Connected");
    Ok(())
}

fn print_logs(agents: &[Agent]) {
    for agent in agents {
        eprintln!("--- log of agent {}\n{}", agent.id(), agent.log());
    }
}

fn print_hints(lab: &Lab, agents: &[Agent]) -> Result<()> {
    let (near, far) = (lab.site(1), lab.site(2));
    let vgw = vgw_binary()?;
    println!("The laboratory stays up. Try:");
    println!("  nsenter --net={} ping {}", near.host.path().display(), far.host_address());
    println!("  nsenter --net={} bash          # a shell on host1", near.host.path().display());
    println!("  nsenter --net={} tcpdump -ni {}  # the wire", lab.inet.path().display(), near.inet_port());
    println!("  {} --socket {} status", vgw.display(), agents[0].vgw().socket().display());
    println!("  cargo xtask lab down                       # remove it");
    Ok(())
}
