//! Configurations that several tests use.

use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::certificates::CertificateFiles;
use super::profile::CipherPreference;
use super::settings::{Options, Peering, Settings};
use crate::datapath::EngineConfig;
use crate::model::{GatewayBandwidth, MssClamp};

/// Settings of the gateway at 192.0.2.1, the `n`th VNet's at 192.0.2.n.
pub(super) fn settings(vnet: &str) -> Settings {
    let number = vnet.trim_start_matches("VNet").parse().expect("test VNets are numbered");
    Settings {
        vnet: vnet.to_owned(),
        wan_interface: "wan0".to_owned(),
        wan_addresses: IpAddr::from([192, 0, 2, number]).into(),
        lan_interfaces: vec!["lan0".to_owned()],
        bandwidth: GatewayBandwidth::default(),
        max_connections: 3,
        preference: CipherPreference::default(),
        peering: peering(),
    }
}

/// Options of an agent that can start nowhere, because its interfaces are the loopback interface.
pub(super) fn options(directory: &Path) -> Options {
    Options {
        vnet: "VNet1".to_owned(),
        netcfg: None,
        wan: "lo".to_owned(),
        wan_addresses: Vec::new(),
        lan: vec!["lo".to_owned()],
        bandwidth: GatewayBandwidth::default(),
        run_dir: directory.join("run"),
        state_dir: directory.join("state"),
        pin_root: directory.join("pins"),
        max_connections: 3,
        certificates: CertificateFiles::default(),
        key_log: None,
        engine: EngineConfig::default(),
        mss_clamp: MssClamp::Auto,
        peering: peering(),
    }
}

fn peering() -> Peering {
    Peering {
        ike_lifetime: None,
        child_lifetime: None,
        dpd_interval: None,
        ike_proposals: Vec::new(),
        esp_proposals: Vec::new(),
        cookie_threshold: None,
        fragment_size: None,
        force_udp_encapsulation: false,
        udp_port_entropy: false,
        child_sas: 1,
    }
}

/// A configuration with VNet1 (10.1.0.0/16) connected to VNet2, VNet3, … (10.2.0.0/16, …) with these gateway addresses, and
/// VNet2 connected back to VNet1 at 192.0.2.1.
pub(super) fn netcfg_xml(gateway_addresses: &[&str]) -> String {
    let mut sites = site("VNet1", "10.1.0.0/16", "192.0.2.1");
    let mut references = String::new();
    for (index, address) in gateway_addresses.iter().enumerate() {
        let number = index + 2;
        sites += &site(&format!("VNet{number}"), &format!("10.{number}.0.0/16"), address);
        references.extend(["<LocalNetworkSiteRef name=\"", &format!("VNet{number}"), "\"/>"]);
    }
    format!(
        r#"<NetworkConfiguration xmlns="http://schemas.microsoft.com/ServiceHosting/2011/07/NetworkConfiguration">
<VirtualNetworkConfiguration>
<LocalNetworkSites>{sites}</LocalNetworkSites>
<VirtualNetworkSites>{}{}</VirtualNetworkSites>
</VirtualNetworkConfiguration></NetworkConfiguration>"#,
        vnet("VNet1", "10.1", &references),
        vnet("VNet2", "10.2", r#"<LocalNetworkSiteRef name="VNet1"/>"#),
    )
}

fn site(name: &str, prefix: &str, address: &str) -> String {
    format!(
        r#"<LocalNetworkSite name="{name}"><AddressSpace><AddressPrefix>{prefix}</AddressPrefix></AddressSpace>
<VPNGatewayAddress>{address}</VPNGatewayAddress></LocalNetworkSite>"#
    )
}

fn vnet(name: &str, start: &str, references: &str) -> String {
    format!(
        r#"<VirtualNetworkSite name="{name}" Location="here">
<AddressSpace><AddressPrefix>{start}.0.0/16</AddressPrefix></AddressSpace>
<Subnets>
<Subnet name="Front"><AddressPrefix>{start}.0.0/24</AddressPrefix></Subnet>
<Subnet name="GatewaySubnet"><AddressPrefix>{start}.255.0/27</AddressPrefix></Subnet>
</Subnets>
<Gateway><ConnectionsToLocalNetwork>{references}</ConnectionsToLocalNetwork></Gateway>
</VirtualNetworkSite>"#
    )
}

/// An authority of its own, and a certificate of `name` by it, in files of this directory.
pub(super) fn write_certificates(directory: &Path, name: &str) -> CertificateFiles {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let (authority_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let root = authority.self_signed(&authority_key).unwrap();
    let own = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let own = own.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
    let paths = ["ca.pem", "gateway.pem", "key.pem"].map(|file| directory.join(file));
    for (path, content) in paths.iter().zip([root.pem(), own.pem(), key.serialize_pem()]) {
        std::fs::write(path, content).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    let [ca, chain, key] = paths;
    CertificateFiles { own: Some((chain, key)), authorities: vec![ca], revocation_lists: Vec::new() }
}
