//! What has to be true before an agent touches anything.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, anyhow, bail};

use super::certificates::Certificates;
use super::core::own_network;
use super::interface;
use super::key_log::KeyLog;
use super::lock::AgentLock;
use super::profile::CipherPreference;
use super::settings::{Options, Settings};
use crate::datapath::WanAddresses;
use crate::model::{GatewayBandwidth, NetworkConfiguration, is_valid_name};
use crate::netcfg::{self, Limits};
use crate::store::{KeyRing, ParametersBySite, Store};

/// A gateway that may be started.
#[derive(Debug)]
pub(super) struct Prepared {
    pub(super) lock: AgentLock,
    pub(super) settings: Settings,
    pub(super) store: Store,
    pub(super) configuration: NetworkConfiguration,
    /// Whether the configuration came from a file, and is to be stored when it has proved to work.
    pub(super) from_file: bool,
    pub(super) keys: KeyRing,
    /// Sites whose connections were taken down by command.
    pub(super) held: BTreeSet<String>,
    /// Parameters of single connections.
    pub(super) parameters: ParametersBySite,
    /// Bandwidth that was set by command.
    pub(super) bandwidth: Option<GatewayBandwidth>,
    /// What the certificate files hold.
    pub(super) certificates: Certificates,
    /// Where keys are written for decrypting captures.
    pub(super) key_log: Option<KeyLog>,
}

/// Checks the network configuration as a whole, the interfaces and the stored keys; takes the lock. Stores nothing.
pub(super) fn prepare(options: &Options) -> anyhow::Result<Prepared> {
    // The name becomes a directory's name before any configuration has been read.
    if !is_valid_name(&options.vnet) {
        bail!("{:?} is no name of a VNet", options.vnet);
    }
    let new = options.netcfg.as_deref().map(|path| read(path, options)).transpose()?;
    interface::require_all(&options.lan)?;
    let wan_addresses = interface::wan_addresses(&options.wan, &options.wan_addresses)?;
    let certificates = options.certificates.load()?;
    let key_log = options.key_log.as_deref().map(KeyLog::open).transpose()?;
    Ok(Prepared { key_log, ..take(options, new, wan_addresses, certificates)? })
}

/// The part of [`prepare`] that holds the lock.
fn take(
    options: &Options,
    new: Option<NetworkConfiguration>,
    wan_addresses: WanAddresses,
    certificates: Certificates,
) -> anyhow::Result<Prepared> {
    let lock = AgentLock::take(&options.run_dir, &options.state_dir, &options.vnet)?;
    let store = Store::open(&options.state_dir, &options.vnet)?;
    let (keys, held, parameters) = (store.load_keys()?, store.load_held()?, store.load_parameters()?);
    let bandwidth = store.load_bandwidth()?;
    if let Some(new) = &new
        && differs(&store, new)?
    {
        tracing::warn!(
            "the network configuration of --netcfg differs from the stored one and replaces it, with every change \
             that was made by command"
        );
    }
    let from_file = new.is_some();
    let configuration = match new {
        Some(configuration) => configuration,
        None => stored(&store, options)?,
    };
    let settings = Settings {
        vnet: options.vnet.clone(),
        wan_interface: options.wan.clone(),
        wan_addresses,
        lan_interfaces: options.lan.clone(),
        bandwidth: options.bandwidth,
        max_connections: options.max_connections,
        preference: CipherPreference::default(),
        peering: options.peering.clone(),
    };
    Ok(Prepared {
        lock,
        settings,
        store,
        configuration,
        from_file,
        keys,
        held,
        parameters,
        bandwidth,
        certificates,
        key_log: None,
    })
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
    let configuration = netcfg::parse(name, bytes, &limits).map_err(|report| anyhow!(report.message()))?;
    own_network(&options.vnet, &configuration).with_context(|| format!("cannot use {name}"))?;
    Ok(configuration)
}

/// Whether `store` holds a configuration other than this one.
fn differs(store: &Store, configuration: &NetworkConfiguration) -> anyhow::Result<bool> {
    Ok(store.load_netcfg()?.is_some_and(|stored| stored != netcfg::write(configuration)))
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

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
        assert!(refusal(&options).contains("interface lo has no global IPv4 or IPv6 address"));
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
        store.write_netcfg(netcfg_xml(&["192.0.2.2"])).run().unwrap();
        let configuration = stored(&store, &options).unwrap();
        assert_eq!(configuration.connections("VNet1").unwrap()[0].site, "VNet2");
    }

    #[test]
    fn a_new_configuration_is_not_stored_before_it_has_proved_to_work() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options(dir.path());
        // A name that no other test has: there is one agent per name in a network namespace.
        options.vnet = format!("Prepare-{}", std::process::id());
        let xml = netcfg_xml(&["192.0.2.2"]).replace("VNet1", &options.vnet);
        let path = dir.path().join("netcfg.xml");
        std::fs::write(&path, xml).unwrap();
        let prepared = |options: &Options| {
            let new = options.netcfg.as_deref().map(|path| read(path, options).unwrap());
            take(options, new, IpAddr::from([192, 0, 2, 2]).into(), Certificates::default())
        };
        let error = format!("{:#}", prepared(&options).expect_err("nothing is stored"));
        assert!(error.contains("give one with --netcfg"), "{error}");
        options.netcfg = Some(path);
        let Prepared { store, configuration, from_file, .. } = prepared(&options).unwrap();
        assert!(from_file && store.load_netcfg().unwrap().is_none());
        assert!(!differs(&store, &configuration).unwrap(), "there is nothing to replace");
        store.write_netcfg(netcfg::write(&configuration)).run().unwrap();
        assert!(!differs(&store, &configuration).unwrap());
        store.write_netcfg(netcfg_xml(&["192.0.2.3"])).run().unwrap();
        assert!(differs(&store, &configuration).unwrap());
        store.write_netcfg(netcfg::write(&configuration)).run().unwrap();
        options.netcfg = None;
        assert!(!prepared(&options).unwrap().from_file);
    }
}
