//! What has to be true before an agent touches anything.

use std::path::Path;

use anyhow::{Context, anyhow, bail};

use super::core::own_network;
use super::interface;
use super::lock::AgentLock;
use super::settings::{Options, Settings};
use crate::model::NetworkConfiguration;
use crate::netcfg::{self, Limits};
use crate::store::{KeyRing, Store};

/// A gateway that may be started.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) lock: AgentLock,
    pub(super) settings: Settings,
    pub(super) store: Store,
    pub(super) configuration: NetworkConfiguration,
    pub(super) keys: KeyRing,
}

/// Checks the network configuration as a whole, the interfaces and the stored keys; takes the lock; stores a new
/// configuration last.
pub(super) fn prepare(options: &Options) -> anyhow::Result<Prepared> {
    require_path_component(&options.vnet)?;
    let new = options.netcfg.as_deref().map(|path| read(path, options)).transpose()?;
    interface::require_all(&options.lan)?;
    let wan_address = interface::wan_address(&options.wan)?;
    let lock = AgentLock::take(&options.run_dir, &options.vnet)?;
    let store = Store::open(&options.state_dir, &options.vnet)?;
    let keys = store.load_keys()?;
    let configuration = match new {
        Some(configuration) => {
            store.save_netcfg(&netcfg::write(&configuration))?;
            configuration
        }
        None => stored(&store, options)?,
    };
    let settings = Settings {
        vnet: options.vnet.clone(),
        wan_interface: options.wan.clone(),
        wan_address,
        lan_interfaces: options.lan.clone(),
        bandwidth: options.bandwidth,
        max_connections: options.max_connections,
        peering: options.peering.clone(),
    };
    Ok(Prepared { lock, settings, store, configuration, keys })
}

fn read(path: &Path, options: &Options) -> anyhow::Result<NetworkConfiguration> {
    let bytes = std::fs::read(path)
        .with_context(|| format!("cannot read the network configuration {}", path.display()))?;
    parse(&path.display().to_string(), &bytes, options)
}

fn stored(store: &Store, options: &Options) -> anyhow::Result<NetworkConfiguration> {
    let path = store.netcfg_path();
    let Some(text) = store.load_netcfg()? else {
        bail!("no network configuration is stored in {}: give one with --netcfg", path.display());
    };
    parse(&path.display().to_string(), text.as_bytes(), options)
}

fn parse(name: &str, bytes: &[u8], options: &Options) -> anyhow::Result<NetworkConfiguration> {
    let limits = Limits { max_connections: options.max_connections as usize };
    let configuration = netcfg::parse(name, bytes, &limits)
        .map_err(|report| anyhow!("{name} is no valid network configuration:\n{report}"))?;
    own_network(&options.vnet, &configuration).with_context(|| format!("cannot use {name}"))?;
    Ok(configuration)
}

/// The VNet's name becomes a directory's name before any configuration has been read.
fn require_path_component(vnet: &str) -> anyhow::Result<()> {
    if vnet.is_empty() || vnet.contains('/') || vnet.starts_with('.') {
        bail!("{vnet:?} is no name of a VNet");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::test_support::{netcfg_xml, options};
    use super::*;

    fn refusal(options: &Options) -> String {
        format!("{:#}", prepare(options).expect_err("must be refused"))
    }

    #[test]
    fn wrong_files_are_refused_before_anything_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        let path = dir.path().join("netcfg.xml");
        options.netcfg = Some(path.clone());
        assert!(refusal(&options).contains("cannot read the network configuration"));

        let broken = netcfg_xml(&["192.0.2.2"])
            .replace("10.2.0.0/16", "10.1.128.0/17")
            .replace("10.1.0.0/24", "banana");
        std::fs::write(&path, broken).unwrap();
        let message = refusal(&options);
        assert!(message.contains("banana") && message.contains("10.1.128.0/17"), "all at once: {message}");

        std::fs::write(&path, netcfg_xml(&["192.0.2.2"])).unwrap();
        options.vnet = "VNet9".to_owned();
        let message = refusal(&options);
        assert!(message.contains("no VNet VNet9") && message.contains("VNet1"), "{message}");
        options.vnet = "../VNet1".to_owned();
        assert!(refusal(&options).contains("no name of a VNet"));
        assert!(!options.run_dir.exists() && !options.state_dir.exists(), "nothing was touched");
    }

    #[test]
    fn interfaces_are_checked_before_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        let path = dir.path().join("netcfg.xml");
        std::fs::write(&path, netcfg_xml(&["192.0.2.2"])).unwrap();
        options.netcfg = Some(path);
        // The loopback interface is the one that exists everywhere, and has no global address.
        assert!(refusal(&options).contains("interface lo has no global IPv4 address"));
        options.lan = vec!["vgw-none".to_owned()];
        assert!(refusal(&options).contains("no interface vgw-none"));
        assert!(!options.run_dir.exists());
    }

    #[test]
    fn stored_configuration_is_needed_and_used_without_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let options = options(dir.path());
        let store = Store::open(&options.state_dir, "VNet1").unwrap();
        let message = format!("{:#}", stored(&store, &options).unwrap_err());
        assert!(message.contains("give one with --netcfg"), "{message}");
        store.save_netcfg(&netcfg_xml(&["192.0.2.2"])).unwrap();
        let configuration = stored(&store, &options).unwrap();
        assert_eq!(configuration.connections("VNet1").unwrap()[0].site, "VNet2");
    }
}
