//! The commands on the network configuration as a whole.

use std::io::Read as _;
use std::path::Path;

use anyhow::{Context, anyhow, bail};

use super::args::{Global, NetcfgCommand};
use super::output::print;
use super::show;
use super::target::Agent;
use crate::netcfg::{self, Limits};

/// Carries out a command.
pub(super) async fn run(global: &Global, command: NetcfgCommand) -> anyhow::Result<()> {
    match command {
        NetcfgCommand::Check { file, max_connections } => {
            let (name, bytes) = read_file(&file)?;
            let configuration = netcfg::parse(&name, &bytes, &Limits { max_connections })
                .map_err(|report| anyhow!(report.message()))?;
            let (vnets, sites) =
                (configuration.virtual_networks.len(), configuration.local_network_sites.len());
            print(&format!("{name} is valid: VNets {vnets}, local networks {sites}\n"))
        }
        NetcfgCommand::Apply { file, target } => {
            let agent = Agent::find(global, target.vnet.as_deref()).await?;
            let (name, bytes) = read_file(&file)?;
            check_size(&name, &bytes)?;
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

/// The agent takes no more than it would read.
fn check_size(name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    if bytes.len() > netcfg::MAX_BYTES {
        bail!("{name} is larger than the {} bytes that a network configuration may have", netcfg::MAX_BYTES);
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_not_sent() {
        assert!(check_size("a.xml", &vec![b' '; netcfg::MAX_BYTES]).is_ok());
        let error = check_size("a.xml", &vec![b' '; netcfg::MAX_BYTES + 1]).unwrap_err().to_string();
        assert!(error.contains("a.xml is larger than the 33554432 bytes"), "{error}");
    }
}
